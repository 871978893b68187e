"""The model of the day and the figures of its gate."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from jobs import ops
from jobs.report.night import Night
from jobs.report.page import table
from jobs.report.section import Section
from jobs.report.terminal import number, plain, wrapped


def gather(night: Night) -> dict[str, Any] | None:
    """The model pinned for the day with the figures of its gate; without a name popularity was used."""
    pins = [p for p in night.read(ops.MODEL_PIN.name) if p["role"] == "ranker"]
    if not pins:
        return None
    pin = max(pins, key=lambda p: p["at_ms"])
    verdict = Path(pin["path"] or "", "gate.json")
    facts = json.loads(verdict.read_text()) if pin["path"] and verdict.is_file() else {}
    return {
        "model": pin["model"] or "",
        "version": pin["version"] or "",
        "reason": pin["reason"],
        "days": [facts[k] for k in ("first_day", "last_day") if k in facts],
        "metrics": facts.get("lines", []),
    }


def html(model: dict[str, Any] | None) -> str:
    if model is None:
        return "<p>No model was pinned.</p>"
    if not model["model"]:
        return "<p>Scored by popularity: no model existed yet.</p>"
    rows = [
        [
            m["metric"],
            number(m["value"], 4),
            number(m["threshold"], 4),
            verdict(m),
            m.get("why", ""),
        ]
        for m in model["metrics"]
    ]
    head = ["metric", "value", "limit", "verdict", "meaning"]
    said = f"<p>{escape(model['model'])} version {escape(model['version'])}{escape(fitted(model))}.</p>"
    return said + (table("Figures of the model's gate", head, rows, (1, 2)) if rows else "")


def text(model: dict[str, Any] | None) -> list[str]:
    if model is None:
        return ["  none was pinned"]
    if not model["model"]:
        return ["  popularity: no model existed yet"]
    lines = [f"  {plain(model['model'])} version {plain(model['version'])}{fitted(model)}"]
    for line in model["metrics"]:
        said = f"{line['metric']} {number(line['value'], 4)}, limit {number(line['threshold'], 4)}: {verdict(line)}"
        lines += wrapped(said, "    ")
    return lines


def verdict(line: dict[str, Any]) -> str:
    """What a line of the gate came to; one that stops no promotion warns."""
    return "passed" if line["passed"] else "failed" if line.get("fails", True) else "warn"


def fitted(model: dict[str, Any]) -> str:
    return f", fitted on {' to '.join(model['days'])}" if model["days"] else ""


SECTION = Section("Model", 30, gather, html, text)
