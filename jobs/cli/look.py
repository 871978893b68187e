"""Looking at what was built."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from jobs.cli.common import as_text, day, days_of, load, new_run, show


def register(add: Any) -> None:
    made = add(
        "show",
        do_show,
        "Rows of a table with original ids and titles.",
        "show ops.run --ds 2024-03-15",
        'show features.user_activity --ds 2024-03-15 --where "active_days_7d > 3" --limit 50',
    )
    made.add_argument("table")
    made.add_argument("--ds")
    made.add_argument("--where", help="a pandas query on the shown columns")
    made.add_argument("--limit", type=int, default=20)
    add(
        "tables", do_tables, "The dictionary: every table with its columns.", "tables", "tables serving.recommendations"
    ).add_argument("table", nargs="?")
    add("lineage", do_lineage, "What a table reads and what reads it.", "lineage silver.events").add_argument("table")
    made = add("report", do_report, "The report of a night.", "report --ds 2024-03-15")
    made.add_argument("--ds", type=day, required=True)
    made = add(
        "quarantine",
        do_quarantine,
        "Rows that a rule refused: list, show, or replay them after a repair.",
        "quarantine --ds 2024-03-15",
        "quarantine show --table silver.events --ds 2024-03-14 --rule out_of_range:dwell_ms",
        "quarantine replay --table silver.events --ds 2024-03-14 --repaired rows.jsonl",
    )
    made.add_argument("action", nargs="?", choices=("list", "show", "replay"), default="list")
    made.add_argument("--ds", type=day)
    made.add_argument("--from", dest="first", type=day)
    made.add_argument("--to", dest="last", type=day)
    made.add_argument("--table", help="silver.FEED; needed for replay")
    made.add_argument("--rule", help="rows of this rule alone")
    made.add_argument("--repaired", type=Path, help="replay: corrected rows as JSON lines, delivered on --ds")
    made.add_argument("--limit", type=int, default=20)


def do_show(options: argparse.Namespace) -> None:
    from jobs import steps
    from jobs.lake import Lake
    from jobs.show import rows

    frame = rows(Lake(load()), steps.catalog(), options.table, options.ds, options.where, options.limit)
    if options.format == "json":
        print(frame.to_json(orient="records", date_format="iso", default_handler=str, indent=1))
    else:
        print(frame.to_string(index=False, max_colwidth=60))


def do_tables(options: argparse.Namespace) -> None:
    from jobs import steps
    from jobs.show import dictionary, reads

    described = steps.catalog().manifest()["nodes"]
    if options.table:
        contract = steps.catalog().node(options.table).contract
        said = [
            f"{contract.name}: {contract.description}",
            f"owner: {contract.owner}",
            *[f"reads: {each}" for each in reads(contract)],
            as_text(dictionary(contract), width=None),
        ]
        show(options, described[contract.name], "\n".join(said))
        return
    show(
        options,
        described,
        as_text(
            [
                {"table": name, "group": n["group"], "owner": n["owner"], "description": n["description"]}
                for name, n in described.items()
            ]
        ),
    )


def do_lineage(options: argparse.Namespace) -> None:
    from jobs import steps
    from jobs.show import lineage

    lines = lineage(steps.catalog(), options.table)
    show(options, lines, "\n".join(lines))


def do_report(options: argparse.Namespace) -> None:
    from jobs.report import night_report, render_text, write_report

    settings = load()
    report = night_report(settings, options.ds)
    path = write_report(settings, report)
    show(options, report, f"{render_text(report)}\n{path}")


def do_quarantine(options: argparse.Namespace) -> None:
    from jobs import quarantine
    from jobs.lake import Lake

    if options.action == "replay":
        do_replay(options)
        return
    days = days_of(options) if options.ds or options.first else None
    rows = quarantine.refused(Lake(load()), options.table, days)
    rows = [r for r in rows if options.rule in (None, r["rule"])]
    found = quarantine.counts(rows) if options.action == "list" else rows[: options.limit]
    show(options, found, as_text(found))


def do_replay(options: argparse.Namespace) -> None:
    from jobs import quarantine, steps
    from jobs.errors import SettingsError

    if not options.table:
        raise SettingsError("Say which table's rows to replay: --table silver.FEED.")
    with steps.opened(load().market.name, new_run("replay")) as runner:
        made = quarantine.replay(runner, options.table, days_of(options), options.repaired)
    said = [
        f"{made['delivered']} repaired rows delivered.",
        f"Refused before:\n{as_text(made['before'])}",
        f"Refused now:\n{as_text(made['after'])}",
        f"Rebuilt:\n{as_text([{'table': t, 'rows': n} for t, n in made['rows'].items()])}",
    ]
    show(options, made, "\n\n".join(said))
