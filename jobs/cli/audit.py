"""What people do about audits: waive, hold, flag, answer, review, export."""

from __future__ import annotations

import argparse
import datetime as dt
from pathlib import Path
from typing import Any

from jobs.cli.common import as_text, day, days_of, load, show


def register(add: Any) -> None:
    def reasoned(name: str, command: Any, help: str, example: str) -> argparse.ArgumentParser:
        made = add(name, command, help, example)
        made.add_argument("--reason", required=True)
        made.add_argument("--person", help="who answers for it (default: the login)")
        return made

    made = reasoned(
        "waive",
        do_waive,
        "Let one failed check of one table pass, from a night to another.",
        'waive "rows_between(low=1)" --table silver.items --ds 2024-03-15 --until 2024-03-17 --reason "no new items"',
    )
    made.add_argument("check", metavar="CHECK", help="its name, as the report and audit.data_quality give it")
    made.add_argument("--table", required=True)
    made.add_argument("--ds", type=day, required=True, help="the night in which it failed")
    made.add_argument("--until", type=day, required=True, help="last night on which the failure passes")
    reasoned(
        "hold",
        do_hold,
        "Stop publishing releases: readers keep the lists that they have.",
        'hold --reason "wrong prices"',
    )
    reasoned("resume", do_resume, "Publish releases again.", 'resume --reason "prices are right"')
    _finding_commands(add)


def _finding_commands(add: Any) -> None:
    made = add(
        "flag",
        do_flag,
        "Say that lists treat somebody unfairly; it is tracked to an answer.",
        'flag "no local news" --subject "feed, region north"',
    )
    made.add_argument("said", metavar="TEXT", help="what was seen, in words")
    made.add_argument("--subject", required=True, help="what it is about: a list, a group, a category")
    made.add_argument("--person", help="who says it (default: the login)")
    made = add(
        "findings", do_findings, "Findings of reviews and flags; open ones unless --all.", "findings", "findings --all"
    )
    made.add_argument("--all", action="store_true")
    made = add("answer", do_answer, "Answer a finding.", 'answer 1f0c9a6be512 "the place feed had not landed"')
    made.add_argument("finding", metavar="ID")
    made.add_argument("text", metavar="TEXT")
    made.add_argument("--person")
    made = add(
        "review",
        do_review,
        "Make findings of what the audits of the last days saw.",
        "review --ds 2024-03-15",
        "review --ds 2024-03-31 --kind quarterly",
    )
    made.add_argument("--ds", type=day, required=True)
    made.add_argument("--kind", choices=("weekly", "quarterly"), default="weekly")
    made = add(
        "ethics",
        do_ethics,
        "Ethics reviews of model versions: list, or record an outcome.",
        "ethics",
        'ethics --model demo-ranker --version 3 --decision passed --reason "gaps within limits"',
    )
    made.add_argument("--model")
    made.add_argument("--version")
    made.add_argument("--decision", choices=("passed", "refused"))
    made.add_argument("--reason")
    made.add_argument("--person")
    made = add(
        "audit",
        do_audit,
        "A bundle for an outside auditor: tables, definitions, versions, checksums.",
        "audit export --from 2024-03-01 --to 2024-03-14",
    )
    made.add_argument("action", choices=("export",))
    made.add_argument("--ds", type=day)
    made.add_argument("--from", dest="first", type=day)
    made.add_argument("--to", dest="last", type=day)
    made.add_argument("--file", type=Path, help="the bundle (default: a new one in <home>/exports)")


def _lake():
    from jobs.lake import Lake

    return Lake(load())


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


def do_waive(options: argparse.Namespace) -> None:
    from jobs.waivers import waive

    row = waive(_lake(), options.table, options.check, options.ds, options.until, options.reason, options.person)
    show(options, row, f"{row['table']}: {row['check']} may fail until {row['until']}. Clear the gate's task.")


def do_hold(options: argparse.Namespace) -> None:
    from jobs.holds import hold

    row = hold(_lake(), options.reason, options.person)
    show(options, row, "Publishing is on hold: nights fail at their release until `nightjar resume`.")


def do_resume(options: argparse.Namespace) -> None:
    from jobs.holds import resume

    row = resume(_lake(), options.reason, options.person)
    show(options, row, "Publishing goes on: clear the task `publish.release` of the nights that it stopped.")


def do_flag(options: argparse.Namespace) -> None:
    from jobs.reviews import flag

    row = flag(_lake(), _today(), options.subject, options.said, options.person)
    show(options, row, f"Finding {row['finding']} is open, to be answered by {row['due']}.")


def do_findings(options: argparse.Namespace) -> None:
    from jobs.reviews import OPEN, current

    kept = ("finding", "status", "severity", "owner", "due", "subject", "said", "answer")
    found = sorted(current(_lake()).values(), key=lambda r: (r["due"], r["finding"]))
    rows = [{name: r[name] for name in kept} for r in found if options.all or r["status"] == OPEN]
    show(options, rows, as_text(rows))


def do_answer(options: argparse.Namespace) -> None:
    from jobs.reviews import answer

    row = answer(_lake(), _today(), options.finding, options.text, options.person)
    show(options, row, f"Finding {row['finding']} is answered.")


def do_review(options: argparse.Namespace) -> None:
    from jobs import steps

    rows = steps.review(str(options.ds), load().market.name, options.kind)
    shown = [{name: r[name] for name in ("finding", "severity", "owner", "due", "said")} for r in rows]
    show(options, rows, as_text(shown))


def do_ethics(options: argparse.Namespace) -> None:
    from jobs.errors import SettingsError
    from jobs.reviews import decide, reviewed

    if options.decision:
        if not (options.model and options.version and options.reason):
            raise SettingsError("An outcome needs --model, --version and --reason.")
        passed = options.decision == "passed"
        row = decide(_lake(), _today(), options.model, options.version, passed, options.reason, options.person)
        show(options, row, f"{row['model']} {row['version']}: {row['status']}.")
        return
    kept = ("model", "version", "status", "person", "reason")
    rows = [{name: r[name] for name in kept} for _, r in sorted(reviewed(_lake()).items())]
    show(options, rows, as_text(rows))


def do_audit(options: argparse.Namespace) -> None:
    from jobs import steps
    from jobs.audit_export import default_target, export

    settings, days = load(), days_of(options)
    target = options.file or default_target(settings, days)
    manifest = export(settings, steps.catalog(), days, target)
    tables = [{name: t[name] for name in ("table", "rows", "version")} for t in manifest["tables"]]
    show(options, manifest | {"bundle": target}, f"{as_text(tables)}\n\n{target}")
