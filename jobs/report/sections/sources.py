"""What came in and by which way items came into the lists: a feed that fell silent, a channel that is dead."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from jobs.landing import FEEDS, GONE_WITHOUT, waits
from jobs.report.night import Night
from jobs.report.page import table
from jobs.report.section import FAIL, WARN, Problem, Section
from jobs.report.terminal import grid, number

WEEK, LEAST_DAYS = 7, 2
LEAST_ROWS = 7
"""Rows a day below which none may come by chance: of 7 on average it does on one day in a thousand (Poisson)."""
RECALL = "candidates.recall"


def gather(night: Night) -> dict[str, Any]:
    """Rows of each feed by day of arrival and of each channel, against the week before; empty before the first."""
    feeds = {feed.name: night.lake.counts(f"bronze.{feed.name}") for feed in FEEDS}
    rows = {"feeds": of_day(night.day, feeds), "channels": of_day(night.day, channels(night))}
    missed = {run["table"] for run in night.runs if run["ds"] == str(night.day) and run["message"] == GONE_WITHOUT}
    for row in rows["feeds"]:
        wait = waits(night.settings.market)[row["name"]]
        row["needed"] = wait.needed
        row["missed"] = wait.wait_hours > 0 and f"bronze.{row['name']}" in missed
    owners = {"feeds": night.owner("bronze.events"), "channels": night.owner(RECALL)}
    return {**rows, "owners": owners} if any(rows.values()) else {}


def of_day(day: dt.date, counts: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """Rows of the day and their mean of the week before, by name; what never brought anything is left out.

    ``silent`` is what brought nothing, although it brought more than a few rows a day, and some on each of the days
    before that have anything at all.
    """
    week = [str(day - dt.timedelta(days=n)) for n in range(1, WEEK + 1)]
    nights = [ds for ds in week if any(ds in of for of in counts.values())]
    rows = []
    for name, of in sorted(counts.items()):
        before = [of[ds] for ds in nights if ds in of]
        always = len(before) == len(nights) >= LEAST_DAYS
        rows.append(
            {
                "name": name,
                "rows": of.get(str(day), 0),
                "mean": sum(before) / len(before) if before else None,
                "silent": str(day) not in of and always and sum(before) >= LEAST_ROWS * len(before),
            }
        )
    return [row for row in rows if row["rows"] or row["mean"]]


def channels(night: Night) -> dict[str, dict[str, int]]:
    """Candidates of each channel by day, from the log of their table, which has a partition for each."""
    opened = night.lake.open(RECALL)
    found: dict[str, dict[str, int]] = {}
    for action in pa.table(opened.get_add_actions(flatten=True)).to_pylist() if opened is not None else []:
        of = found.setdefault(action["partition.channel"], {})
        ds = str(action["partition.ds"])
        of[ds] = of.get(ds, 0) + action["num_records"]
    return found


def cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [[r["name"], number(r["rows"]), number(r["mean"], 0), state(r)] for r in rows]


def state(row: dict[str, Any]) -> str:
    return "not landed" if row.get("missed") else "silent" if row["silent"] else ""


TITLES = {"feeds": "Feeds: rows that arrived", "channels": "Channels: candidates"}


def html(data: dict[str, Any]) -> str:
    head = ["name", "this night", "mean of the week before", ""]
    return "".join(table(title, head, cells(data[part]), (1, 2)) for part, title in TITLES.items() if data.get(part))


def text(data: dict[str, Any]) -> list[str]:
    head = ["name", "this night", "week before", ""]
    return [line for part in TITLES if data.get(part) for line in grid(head, cells(data[part]), (1, 2))]


def problems(data: dict[str, Any]) -> Iterator[Problem]:
    for part, what in (("channels", "Channel"), ("feeds", "Feed")):
        for row in data.get(part, ()):
            if row["silent"] or row.get("missed"):
                severity = FAIL if part == "channels" or row["needed"] else WARN
                why = "had not landed, and was gone without" if row.get("missed") else "brought nothing"
                usual = f"{number(row['mean'], 0)} rows"
                said = f"{what} {row['name']} {why}; the mean of the week before is {usual}."
                owner = data["owners"][part]
                subject, found = f"{part[:-1]} {row['name']}", f"{row['rows']:,} rows"
                yield Problem(severity, subject, said, owner, found, usual, f"{part} brought nothing")


SECTION = Section("What came in, and by which channel", 15, gather, html, text, problems)
