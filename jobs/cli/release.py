"""What is served: releases, and changing them."""

from __future__ import annotations

import argparse
import datetime as dt
from pathlib import Path
from typing import Any

from jobs.cli.common import as_text, load, new_run, show


def register(add: Any) -> None:
    add("releases", do_releases, "Every release; the current one is marked.", "releases")
    made = add(
        "rollback",
        do_rollback,
        "Move the release pointer back: lists, index and model together.",
        'rollback --reason "wrong prices"',
        'rollback --to 2024-03-14-0c81f7a0d2b4 --reason "wrong prices"',
    )
    made.add_argument("--to", help="release id (default: the night's before)")
    made.add_argument("--reason", required=True)
    made = add(
        "takedown",
        do_takedown,
        "Take an item off every list that is served, and of the nights to come.",
        'takedown p0000042 --reason "recalled"',
        'takedown p0000042 --reason "it is safe" --lift',
    )
    made.add_argument("item", metavar="ITEM", help="the source's id")
    made.add_argument("--reason", required=True)
    made.add_argument("--lift", action="store_true", help="let it come back, from the next night on")
    made = add(
        "feedback",
        do_feedback,
        "Look for feedback since the current release, and patch what is served.",
        "feedback",
        "feedback --events events.jsonl",
    )
    made.add_argument("--events", type=Path, help="JSON lines of the feed events, to land first")
    made = add(
        "export",
        do_export,
        "The current lists of every user, as files that a service loads.",
        "export --to lists",
        "export --to lists --as sqlite",
    )
    made.add_argument("--to", type=Path, required=True, metavar="DIR", help="a folder that is not there yet")
    made.add_argument("--as", dest="form", choices=("parquet", "jsonl", "sqlite"), default="parquet")
    made = add(
        "explain",
        do_explain,
        "Why an item is in a user's list or is not: channels, ranks, rules.",
        "explain --user u0000001",
        "explain --user u0000001 --item p0000042",
    )
    made.add_argument("--user", required=True, help="the source's id")
    made.add_argument("--item", help="the source's id (default: the whole list)")
    made.add_argument("--surface", default="feed")


def do_releases(options: argparse.Namespace) -> None:
    from jobs.lake import Lake
    from jobs.releases import current, history

    lake = Lake(load())
    now = current(lake)
    rows = [
        {
            "current": "*" if now and r["sequence"] == now["sequence"] else "",
            "release": r["release_id"],
            "ds": r["ds"],
            "kind": r["kind"],
            "model": r["model_version"] or "popularity",
            "reason": r["reason"] or "",
            "at": dt.datetime.fromtimestamp(r["at_ms"] / 1000, dt.UTC).isoformat(timespec="seconds"),
        }
        for r in history(lake)
    ]
    show(options, rows, as_text(rows))


def do_rollback(options: argparse.Namespace) -> None:
    from jobs import steps

    row = steps.rollback(load().market.name, new_run("rollback"), options.to, options.reason)
    show(options, row, f"Current is {row['release_id']}, with the model and index of {row['ds']}.")


def do_takedown(options: argparse.Namespace) -> None:
    from jobs import steps

    made = steps.take_down(load().market.name, new_run("takedown"), options.item, options.reason, options.lift)
    said = f"{options.item} may come back with the next night." if options.lift else f"{options.item} is taken down."
    if made["release_id"]:
        said += f" Served is {made['release_id']}; the lists of {made['users']} users changed."
    show(options, made, said)


def do_feedback(options: argparse.Namespace) -> None:
    from jobs import feedback, steps

    settings = load()
    landed = feedback.land(settings, options.events) if options.events else 0
    made = {"landed": landed, **steps.apply_feedback(settings.market.name, new_run("feedback"))}
    said = f"The lists of {made['users']} users changed" if made["new"] else "Nothing is new"
    show(options, made, f"{landed} rows landed. {said}; served is {made['release_id'] or 'nothing yet'}.")


def do_export(options: argparse.Namespace) -> None:
    from jobs.export import export

    made = export(load(), options.to, options.form)
    rows = [{"file": f["name"], "rows": f["rows"], "bytes": f["bytes"]} for f in made["files"]]
    show(options, made, f"Release {made['release_id']} for {made['users']} users in {options.to}.\n{as_text(rows)}")


def do_explain(options: argparse.Namespace) -> None:
    from jobs.explain import as_sentences, explain

    found = explain(load(), options.user, options.item, options.surface)
    show(options, found, "\n".join(as_sentences(found)))
