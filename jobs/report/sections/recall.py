"""What each channel found of what people took, and what no other channel found."""

from __future__ import annotations

from typing import Any

from jobs.report.night import Night
from jobs.report.page import table
from jobs.report.section import Section
from jobs.report.terminal import grid, number


def gather(night: Night) -> list[dict[str, Any]]:
    """Recall by subject and budget: a row a subject, a figure a budget."""
    found: dict[tuple[str, int, str], dict[str, Any]] = {}
    for r in sorted(night.read("audit.recall"), key=lambda r: (r["horizon_days"], r["subject"], r["k"])):
        key = (r["list_ds"], r["horizon_days"], r["subject"])
        row = found.setdefault(key, {"list_ds": key[0], "horizon_days": key[1], "subject": key[2], "recall": {}})
        row["recall"][str(r["k"])] = r["recall"]
        # budgets grow, so the last one stays
        row |= {"n": r["n"], "hits": r["hits"], "unique_hits": r["unique_hits"]}
    return list(found.values())


def budgets(rows: list[dict[str, Any]]) -> list[str]:
    return sorted({k for r in rows for k in r["recall"]}, key=int)


def cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            r["subject"],
            f"{r['list_ds']}, {r['horizon_days']} d",
            number(r["n"]),
            *[number(r["recall"].get(k)) for k in budgets(rows)],
            number(r["hits"]),
            number(r["unique_hits"]),
        ]
        for r in rows
    ]


def head(rows: list[dict[str, Any]]) -> list[str]:
    return ["subject", "lists, horizon", "users", *[f"recall@{k}" for k in budgets(rows)], "hits", "its alone"]


def html(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    return table("Recall of channels and of the fused list", head(rows), cells(rows), tuple(range(2, len(head(rows)))))


def text(rows: list[dict[str, Any]]) -> list[str]:
    return grid(head(rows), cells(rows), tuple(range(2, len(head(rows))))) if rows else []


SECTION = Section("What channels found", 98, gather, html, text)
