"""Sizes of the simulated worlds that benchmarks run on."""

from __future__ import annotations

from typing import Any

WORLDS: dict[str, dict[str, Any]] = {
    "tiny": {"users": 300, "items": 300, "creators": 30, "days": 5},
    "small": {"users": 2000, "items": 1500, "creators": 150, "days": 14},
    "medium": {"users": 50_000, "items": 20_000, "creators": 2_000, "days": 30},
    # lists are judged on it alone: nothing is tuned on it
    "judged": {"users": 2000, "items": 1500, "creators": 150, "days": 28, "seed": 2026},
}

SERVICES: dict[str, dict[str, str]] = {
    "tiny": {},
    "small": {},
    "judged": {},
    "medium": {"NIGHTJAR_SPARK_MEMORY": "7g", "NIGHTJAR_SPARK_JIT": "full", "NIGHTJAR_SHUFFLE_PARTITIONS": "8"},
}
"""Variables of an installation that suit a world; docs/operations.md says what each is for."""
