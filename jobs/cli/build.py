"""Building tables and days."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from jobs.cli.common import as_text, day, days_of, load, new_run, show


def register(add: Any) -> None:
    made = add(
        "nightly",
        do_nightly,
        "Everything: services, data, history, nights through Airflow, report.",
        "nightly --ds 2024-03-15",
        "nightly --mapping mappings/completejourney.yaml --source data/",
        "nightly --users 2000 --days 14",
    )
    made.add_argument("--ds", type=day)
    made.add_argument("--mapping", type=Path)
    made.add_argument("--source", type=Path)
    made.add_argument("--users", type=int)
    made.add_argument("--days", type=int)
    made = add("night", do_night, "One night without Airflow.", "night --ds 2024-03-15")
    made.add_argument("--ds", type=day, required=True)
    for name, command, help in (
        ("run", do_run, "Build a table (TABLE+: and all that reads it) for a day or a range."),
        ("plan", do_plan, "What `run` would build, without running it."),
    ):
        made = add(
            name,
            command,
            help,
            f"{name} silver.events --ds 2024-03-14",
            f"{name} features.user_activity+ --from 2024-03-01 --to 2024-03-14",
            f"{name} silver.events+ --ds 2024-03-14 --touched",
        )
        made.add_argument("table")
        made.add_argument("--ds", type=day)
        made.add_argument("--from", dest="first", type=day)
        made.add_argument("--to", dest="last", type=day)
        of_days = made.add_mutually_exclusive_group()
        of_days.add_argument(
            "--touched",
            action="store_true",
            help="TABLE+: readers for every day that a change of these days touches, up to their newest",
        )
        if name == "run":
            of_days.add_argument(
                "--as-arrived",
                action="store_true",
                help="in a private lake: TABLE and all it is made from, each day from what had arrived by its end",
            )
    made = add(
        "backfill",
        do_backfill,
        "Rebuild days aside, show what would change, and swap them in with --yes.",
        "backfill silver.events+ --from 2024-03-01 --to 2024-03-14",
        "backfill silver.events+ --from 2024-03-01 --to 2024-03-14 --yes",
    )
    made.add_argument("tables", nargs="+", metavar="TABLE", help="a table, or TABLE+ with all that reads it")
    made.add_argument("--from", dest="first", type=day, required=True)
    made.add_argument("--to", dest="last", type=day, required=True)
    made.add_argument("--yes", action="store_true", help="swap the rebuilt days in; without it they are discarded")
    made = add(
        "restore",
        do_restore,
        "Put the days that a run published back as they were before it.",
        "restore backfill-0c81f7a0d2b4",
    )
    made.add_argument("run_id", help="the run, as in ops.run")
    add("manifest", do_manifest, "Compile the contracts to the manifest that DAGs read.", "manifest")
    made = add(
        "migrate",
        do_migrate,
        "Bring existing tables to their changed contracts.",
        "migrate",
        "migrate --renew silver.events",
    )
    made.add_argument(
        "--renew",
        metavar="TABLE",
        action="append",
        default=[],
        help="begin a new version of a table with a retyped column; the old one is kept",
    )


def do_nightly(options: argparse.Namespace) -> int:
    from jobs.nightly import Request, nightly

    return nightly(Request(options.ds, options.mapping, options.source, options.market, options.users, options.days))


def do_night(options: argparse.Namespace) -> None:
    from jobs import steps

    release = steps.night(
        str(options.ds), load().market.name, new_run("night"), say=lambda m: print(m, file=sys.stderr)
    )
    show(options, release, f"Release {release['release_id']} ({release['kind']}) is published.")


def do_run(options: argparse.Namespace) -> None:
    from jobs import steps
    from jobs.planning import targets, touched_days

    settings, days = load(), days_of(options)
    with steps.opened(settings.market.name, new_run("run")) as runner:
        if options.touched:
            ranges = touched_days(runner.lake, runner.catalog, options.table, days)
            rows = steps.run_ranges(runner, ranges)
        elif options.as_arrived:
            rows = steps.run_as_arrived(runner, options.table, days)
        else:
            rows = steps.run_nodes(runner, targets(runner.catalog, options.table), days)
    show(options, rows, "\n".join(f"{table}: {count} rows" for table, count in rows.items()))


def do_plan(options: argparse.Namespace) -> None:
    from jobs import steps
    from jobs.lake import Lake
    from jobs.planning import plan, totals

    planned = plan(Lake(load()), steps.catalog(), options.table, days_of(options), options.touched)
    rows, sums = [p.to_row() for p in planned], totals(planned)
    said = f"{sums['tables']} tables, about {sums['estimated_rows']:,} rows, {sums['estimated_seconds']:,} s"
    if sums["without_history"]:
        said += f"; never built, so not estimated: {', '.join(sums['without_history'])}"
    show(options, {"plan": rows, "total": sums}, f"{as_text(rows)}\n\n{said}")


def do_backfill(options: argparse.Namespace) -> None:
    from jobs import backfill, steps
    from jobs.contract import DayRange

    run_id, days = new_run("backfill"), DayRange(options.first, options.last)
    with steps.opened(load().market.name, run_id) as runner:
        rows = backfill.stage(runner, options.tables, days)
        print(as_text(backfill.summary(rows)), file=sys.stderr)
        if options.yes:
            backfill.swap(runner)
        else:
            backfill.discard(runner)
    said = f"Swapped in; `nightjar restore {run_id}` undoes it." if options.yes else "Nothing was changed: add --yes."
    show(options, {"backfill_id": run_id, "swapped": options.yes, "days": rows}, said)


def do_restore(options: argparse.Namespace) -> None:
    from jobs import steps
    from jobs.backfill import restore

    rows = restore(load(), steps.catalog(), options.run_id)
    show(options, rows, as_text([{"table": r["table"], "ds": r["ds"], "rows": r["rows"]} for r in rows]))


def do_manifest(options: argparse.Namespace) -> None:
    from jobs import steps
    from jobs.catalog import write_manifest
    from jobs.settings import home_dir

    path = home_dir() / "manifest.json"
    write_manifest(steps.catalog(), path)
    show(options, {"path": path, "nodes": len(steps.catalog().nodes)}, f"{len(steps.catalog().nodes)} nodes -> {path}")


def do_migrate(options: argparse.Namespace) -> None:
    from jobs import steps
    from jobs.lake import Lake
    from jobs.migrate import migrate

    rows = migrate(Lake(load()), steps.catalog(), options.renew)
    show(options, rows, as_text(rows))
