"""What the lists were worth to the people who got them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.report.night import Night
from jobs.report.page import table
from jobs.report.section import Section
from jobs.report.terminal import grid, interval, number

EVALUATED = ("ndcg@10", "recall@20", "recall@100")
FURTHER = ("hit_rate@10", "map@10", "mrr@10")
SPREAD = ("coverage@10", "gini@10")
NOT_YET = "Not known yet: it takes lists, and a day after them."


def gather(night: Night) -> list[dict[str, Any]]:
    """Evaluation folded to a row a subject: the lists first, then baselines, then candidates."""

    def place(key: tuple[str, int, str]) -> tuple[Any, ...]:
        list_ds, horizon, subject = key
        kind = 0 if subject.startswith("served") else (1 if subject.startswith("baseline:") else 2)
        return horizon, list_ds, kind, subject

    found: dict[tuple[str, int, str], dict[str, Any]] = {}
    for row in night.audited("audit.evaluation"):
        subject, group = row["subject"], row["group"]
        if group != "all" and subject != "served":
            continue
        key = (row["list_ds"], row["horizon_days"], subject if group == "all" else f"{subject}, {group}")
        new = {"list_ds": key[0], "horizon_days": key[1], "subject": key[2], "n": row["n"], "figures": {}}
        figures = found.setdefault(key, new)["figures"]
        figures[f"{row['metric']}@{row['k']}"] = {name: row[name] for name in ("value", "lo", "hi")}
    return [found[key] for key in sorted(found, key=place)]


def horizons(subjects: list[dict[str, Any]]) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Evaluated subjects by day of the lists and horizon in words."""
    keys = dict.fromkeys((s["list_ds"], s["horizon_days"]) for s in subjects)
    for list_ds, horizon in keys:
        days = "next day" if horizon == 1 else f"next {horizon} days"
        yield list_ds, days, [s for s in subjects if (s["list_ds"], s["horizon_days"]) == (list_ds, horizon)]


def html(subjects: list[dict[str, Any]]) -> str:
    if not subjects:
        return f"<p>{NOT_YET}</p>"
    head = ["subject", "users", *EVALUATED, *FURTHER, *SPREAD]
    made = ""
    for list_ds, days, of in horizons(subjects):
        rows = [[s["subject"], number(s["n"]), *[interval(s["figures"].get(m)) for m in head[2:]]] for s in of]
        made += table(f"Lists of {list_ds}, what their users took in the {days}; 95 % intervals", head, rows, (1,))
    return made


def text(subjects: list[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for list_ds, days, of in horizons(subjects):
        lines.append(f"  Lists of {list_ds} against what their users took in the {days}, 95 % intervals")
        rows = [
            [
                s["subject"],
                number(s["n"]),
                *[interval(s["figures"].get(m)) for m in EVALUATED],
                *[number((s["figures"].get(m) or {}).get("value")) for m in SPREAD],
            ]
            for s in of
        ]
        lines += grid(["subject", "users", *EVALUATED, *SPREAD], rows, (1, 5, 6))
    return lines or [f"  {NOT_YET}"]


SECTION = Section("What the lists were worth", 100, gather, html, text)
