"""The command line: ``nightjar COMMAND``. Heavy libraries are imported by the command that needs them."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import logging
import os
import sys
import uuid
from pathlib import Path
from typing import Any

from jobs.errors import NightjarError

EXAMPLES = """examples:
  nightjar simulate --users 2000 --days 14            land a seeded small world
  nightjar import --mapping m.yaml --source data/     land your own data
  nightjar nightly --ds 2024-03-15                    the whole night through Airflow
  nightjar night --ds 2024-03-15                      the same night without Airflow
  nightjar run features.user_activity+ --from 2024-03-01 --to 2024-03-14
  nightjar show serving.recommendations --ds 2024-03-14 --where "user_id == 'u0000001'"
  nightjar releases; nightjar rollback --reason "wrong prices"
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; a mendable error is printed as one sentence and gives exit code 1."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(message)s")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    if options.market:
        os.environ["NIGHTJAR_MARKET"] = options.market
    _choose_lake(options)
    try:
        return options.command(options) or 0
    except NightjarError as error:
        print(f"nightjar: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """The parser, with a sub-parser a command."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--market", help="the market (default: NIGHTJAR_MARKET, else demo)")
    common.add_argument("--lake", help="a private lake for development: a name, or a folder")
    common.add_argument(
        "--read-through", help="the lake that the private one reads for what it did not build: production, or a folder"
    )
    common.add_argument("--format", choices=("text", "json"), default="text", help="json for machines")
    common.add_argument("--verbose", action="store_true", help="say what is built")
    top = argparse.ArgumentParser(
        prog="nightjar",
        description="A batch recommendation pipeline: from landed files to published lists.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Any, help: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help, description=help, parents=[common])
        made.set_defaults(command=command)
        return made

    _data_commands(add)
    _build_commands(add)
    _look_commands(add)
    _service_commands(add)
    return top


def _choose_lake(options: argparse.Namespace) -> None:
    from jobs.settings import home_dir

    production = os.environ.get("NIGHTJAR_LAKE") or str(home_dir() / "lake")
    if options.lake:
        is_path = os.sep in options.lake
        os.environ["NIGHTJAR_LAKE"] = options.lake if is_path else str(home_dir() / "lakes" / options.lake)
    if options.read_through:
        behind = production if options.read_through == "production" else options.read_through
        os.environ["NIGHTJAR_READ_THROUGH"] = behind


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; write it as 2024-03-14") from None


def _data_commands(add: Any) -> None:
    made = add("import", do_import, "Bring tabular data into the landing zone by a mapping file.")
    made.add_argument("--mapping", type=Path, required=True)
    made.add_argument("--source", type=Path, required=True)
    made.add_argument("--dry-run", action="store_true", help="count and reject, write nothing")
    made = add("simulate", do_simulate, "Land a seeded small world, or its next days.")
    made.add_argument("--users", type=int)
    made.add_argument("--items", type=int)
    made.add_argument("--creators", type=int)
    made.add_argument("--days", type=int)
    made.add_argument("--seed", type=int)
    made.add_argument("--from", dest="first", type=_day)
    made.add_argument("--to", dest="last", type=_day)
    made.add_argument(
        "--policy",
        choices=("logging", "released"),
        default="logging",
        help="released: the day reacts to the published lists",
    )


def _build_commands(add: Any) -> None:
    made = add("nightly", do_nightly, "Everything: services, data, history, nights through Airflow, report.")
    made.add_argument("--ds", type=_day)
    made.add_argument("--mapping", type=Path)
    made.add_argument("--source", type=Path)
    made.add_argument("--users", type=int)
    made.add_argument("--days", type=int)
    made = add("night", do_night, "One night without Airflow.")
    made.add_argument("--ds", type=_day, required=True)
    for name, command, help in (
        ("run", do_run, "Build a table (TABLE+: and all that reads it) for a day or a range."),
        ("plan", do_plan, "What `run` would build, without running it."),
    ):
        made = add(name, command, help)
        made.add_argument("table")
        made.add_argument("--ds", type=_day)
        made.add_argument("--from", dest="first", type=_day)
        made.add_argument("--to", dest="last", type=_day)
        made.add_argument(
            "--touched",
            action="store_true",
            help="TABLE+: readers for every day that a change of these days touches, up to their newest",
        )
    made = add("backfill", do_backfill, "Rebuild days aside, show what would change, and swap them in with --yes.")
    made.add_argument("tables", nargs="+", metavar="TABLE", help="a table, or TABLE+ with all that reads it")
    made.add_argument("--from", dest="first", type=_day, required=True)
    made.add_argument("--to", dest="last", type=_day, required=True)
    made.add_argument("--yes", action="store_true", help="swap the rebuilt days in; without it they are discarded")
    made = add("restore", do_restore, "Put the days that a run published back as they were before it.")
    made.add_argument("run_id", help="the run, as in ops.run")
    made = add("train", do_train, "Fit and register a ranker; promote it if it passes its gate.")
    made.add_argument("--ds", type=_day, required=True)
    made.add_argument(
        "--mode",
        choices=("auto", "manual", "dry_run"),
        default="auto",
        help="manual: leave the decision to `nightjar promote` or `nightjar reject`",
    )
    made = add("promote", do_promote, "Make a challenger that passed its gate the champion.")
    made.add_argument("version", help="version in the registry")
    made.add_argument("--reason", required=True)
    made = add("reject", do_reject, "Refuse a challenger; the reason stays with it.")
    made.add_argument("version", help="version in the registry")
    made.add_argument("--reason", required=True)
    made = add("repin", do_repin, "Give a day another version of the model, on record; reruns of the day use it.")
    made.add_argument("--ds", type=_day, required=True)
    made.add_argument("--version", required=True, help="version in the registry, or popularity for none")
    made.add_argument("--reason", required=True)
    made = add("rollback", do_rollback, "Move the release pointer back: lists, index and model together.")
    made.add_argument("--to", help="release id (default: the one before)")
    made.add_argument("--reason", required=True)
    add("manifest", do_manifest, "Compile the contracts to the manifest that DAGs read.")
    add("migrate", do_migrate, "Bring existing tables to their changed contracts.")


def _look_commands(add: Any) -> None:
    made = add("show", do_show, "Rows of a table with original ids and titles.")
    made.add_argument("table")
    made.add_argument("--ds")
    made.add_argument("--where", help="a pandas query on the shown columns")
    made.add_argument("--limit", type=int, default=20)
    add("tables", do_tables, "The dictionary: every table with its columns.").add_argument("table", nargs="?")
    add("lineage", do_lineage, "What a table reads and what reads it.").add_argument("table")
    made = add("report", do_report, "The report of a night.")
    made.add_argument("--ds", type=_day, required=True)
    add("releases", do_releases, "Every release; the current one is marked.")
    made = add("quarantine", do_quarantine, "Rows that a rule refused: list, show, or replay them after a repair.")
    made.add_argument("action", nargs="?", choices=("list", "show", "replay"), default="list")
    made.add_argument("--ds", type=_day)
    made.add_argument("--from", dest="first", type=_day)
    made.add_argument("--to", dest="last", type=_day)
    made.add_argument("--table", help="silver.FEED; needed for replay")
    made.add_argument("--rule", help="rows of this rule alone")
    made.add_argument("--repaired", type=Path, help="replay: corrected rows as JSON lines, delivered on --ds")
    made.add_argument("--limit", type=int, default=20)


def _service_commands(add: Any) -> None:
    add("up", do_up, "Start the embedded services; prints addresses and the generated login.")
    add("down", do_down, "Stop the embedded services.")
    add("doctor", do_doctor, "What is missing on this machine and how to mend it.")


def _settings():
    from jobs.settings import load_settings

    return load_settings()


def _run_id(command: str) -> str:
    return f"{command}-{uuid.uuid4().hex[:12]}"


def _print(options: argparse.Namespace, plain: Any, text: str) -> None:
    print(json.dumps(plain, indent=1, default=str, ensure_ascii=False) if options.format == "json" else text)


def _table(rows: list[dict[str, Any]]) -> str:
    import pandas as pd

    if not rows:
        return "(nothing)"
    return pd.DataFrame(rows).to_string(index=False, max_colwidth=60)


def do_import(options: argparse.Namespace) -> None:
    from jobs.importer import import_data
    from jobs.services import up
    from jobs.session import connect
    from jobs.settings import Market, Settings, home_dir

    home = home_dir()
    if "NIGHTJAR_SPARK" not in os.environ:
        up(["spark"])
    spark = connect(Settings(home, home / "lake", home / "landing", Market("import"), os.environ.get("NIGHTJAR_SPARK")))
    result = import_data(spark, home, options.mapping, options.source, dry_run=options.dry_run)
    spark.stop()
    _print(
        options,
        {
            "market": result.market,
            "first": result.first,
            "last": result.last,
            "feeds": {f.name: {"read": f.read, "written": f.written, "rejected": f.rejected} for f in result.feeds},
        },
        result.summary(),
    )


def do_simulate(options: argparse.Namespace) -> None:
    from jobs.settings import load_settings, save_market
    from jobs.simulator import WorldConfig, demo_market, simulate

    given = {k: getattr(options, k) for k in ("users", "items", "creators", "days", "seed", "market")}
    config = WorldConfig(**{k: v for k, v in given.items() if v is not None})
    settings = load_settings(save_market(demo_market(config)).name)
    released = None
    if options.policy == "released":
        from jobs.published import lists_for_simulator

        released = lists_for_simulator(settings)
    landed = simulate(config, settings.landing, settings.home / "truth", options.first, options.last, released)
    _print(options, landed, "\n".join(f"{day}: {sum(feeds.values())} rows landed" for day, feeds in landed.items()))


def do_nightly(options: argparse.Namespace) -> int:
    from jobs.nightly import Request, nightly

    return nightly(Request(options.ds, options.mapping, options.source, options.market, options.users, options.days))


def do_night(options: argparse.Namespace) -> None:
    from jobs import steps

    release = steps.night(
        str(options.ds), _settings().market.name, _run_id("night"), say=lambda m: print(m, file=sys.stderr)
    )
    _print(options, release, f"Release {release['release_id']} ({release['kind']}) is published.")


def _days(options: argparse.Namespace):
    from jobs.contract import DayRange
    from jobs.errors import SettingsError

    if options.ds:
        return DayRange(options.ds, options.ds)
    if options.first and options.last:
        return DayRange(options.first, options.last)
    raise SettingsError("Say which days: --ds DAY, or --from DAY --to DAY.")


def do_run(options: argparse.Namespace) -> None:
    from jobs import steps
    from jobs.planning import targets, touched_days

    settings, days = _settings(), _days(options)
    with steps.opened(settings.market.name, _run_id("run")) as runner:
        if options.touched:
            ranges = touched_days(runner.lake, runner.catalog, options.table, days)
            rows = steps.run_ranges(runner, ranges)
        else:
            rows = steps.run_nodes(runner, targets(runner.catalog, options.table), days)
    _print(options, rows, "\n".join(f"{table}: {count} rows" for table, count in rows.items()))


def do_plan(options: argparse.Namespace) -> None:
    from jobs import steps
    from jobs.lake import Lake
    from jobs.planning import plan, totals

    planned = plan(Lake(_settings()), steps.catalog(), options.table, _days(options), options.touched)
    rows, sums = [p.to_row() for p in planned], totals(planned)
    said = f"{sums['tables']} tables, about {sums['estimated_rows']:,} rows, {sums['estimated_seconds']:,} s"
    if sums["without_history"]:
        said += f"; never built, so not estimated: {', '.join(sums['without_history'])}"
    _print(options, {"plan": rows, "total": sums}, f"{_table(rows)}\n\n{said}")


def do_backfill(options: argparse.Namespace) -> None:
    from jobs import backfill, steps
    from jobs.contract import DayRange

    run_id, days = _run_id("backfill"), DayRange(options.first, options.last)
    with steps.opened(_settings().market.name, run_id) as runner:
        rows = backfill.stage(runner, options.tables, days)
        print(_table(backfill.summary(rows)), file=sys.stderr)
        if options.yes:
            backfill.swap(runner)
        else:
            backfill.discard(runner)
    said = f"Swapped in; `nightjar restore {run_id}` undoes it." if options.yes else "Nothing was changed: add --yes."
    _print(options, {"backfill_id": run_id, "swapped": options.yes, "days": rows}, said)


def do_restore(options: argparse.Namespace) -> None:
    from jobs import steps
    from jobs.backfill import restore

    rows = restore(_settings(), steps.catalog(), options.run_id)
    _print(options, rows, _table([{"table": r["table"], "ds": r["ds"], "rows": r["rows"]} for r in rows]))


def do_train(options: argparse.Namespace) -> None:
    from jobs import steps

    market = _settings().market.name
    made = steps.fit_rankers(str(options.ds), market, _run_id("train"))
    if options.mode != "manual":
        made |= steps.promote(market, made["version"], made["passed"], options.mode)
    _print(options, made, f"Version {made['version']}: gate {'passed' if made['passed'] else 'refused'}.")


def do_promote(options: argparse.Namespace) -> None:
    from jobs import steps

    made = steps.promote(_settings().market.name, options.version, True, "manual", options.reason, _person())
    _print(options, made, f"Version {options.version} is champion.")


def do_reject(options: argparse.Namespace) -> None:
    from jobs import steps

    made = steps.reject_model(_settings().market.name, options.version, options.reason, _person())
    _print(options, made, f"Version {options.version} is rejected; the champion stays.")


def _person() -> str:
    import getpass

    return getpass.getuser()


def do_repin(options: argparse.Namespace) -> None:
    from jobs import steps

    made = steps.repin_model(
        str(options.ds), _settings().market.name, options.version, options.reason, _run_id("repin")
    )
    _print(options, made, f"{options.ds} uses {made['version'] or 'popularity'} from now on; lists stay as served.")


def do_rollback(options: argparse.Namespace) -> None:
    from jobs import steps

    row = steps.rollback(_settings().market.name, options.to, options.reason)
    _print(options, row, f"Current is {row['release_id']} again, with its model and index.")


def do_manifest(options: argparse.Namespace) -> None:
    from jobs import steps
    from jobs.catalog import write_manifest
    from jobs.settings import home_dir

    path = home_dir() / "manifest.json"
    write_manifest(steps.catalog(), path)
    _print(
        options, {"path": path, "nodes": len(steps.catalog().nodes)}, f"{len(steps.catalog().nodes)} nodes -> {path}"
    )


def do_migrate(options: argparse.Namespace) -> None:
    from jobs import steps
    from jobs.lake import Lake
    from jobs.migrate import migrate

    rows = migrate(Lake(_settings()), steps.catalog())
    _print(options, rows, _table(rows))


def do_show(options: argparse.Namespace) -> None:
    from jobs import steps
    from jobs.lake import Lake
    from jobs.show import rows

    frame = rows(Lake(_settings()), steps.catalog(), options.table, options.ds, options.where, options.limit)
    if options.format == "json":
        print(frame.to_json(orient="records", date_format="iso", default_handler=str, indent=1))
    else:
        print(frame.to_string(index=False, max_colwidth=60))


def do_tables(options: argparse.Namespace) -> None:
    from jobs import steps

    described = steps.catalog().manifest()["nodes"]
    if options.table:
        node = described[steps.catalog().node(options.table).name]
        text = f"{options.table}: {node['description']}\n" + _table(
            [{k: c[k] for k in ("name", "type", "unit", "description")} for c in node["columns"]]
        )
        _print(options, node, text)
        return
    _print(
        options,
        described,
        _table(
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
    _print(options, lines, "\n".join(lines))


def do_report(options: argparse.Namespace) -> None:
    from jobs.report import night_report, render_text, write_report

    settings = _settings()
    report = night_report(settings, options.ds)
    path = write_report(settings, options.ds)
    _print(options, report, f"{render_text(report)}\n{path}")


def do_releases(options: argparse.Namespace) -> None:
    from jobs.lake import Lake
    from jobs.releases import current, history

    lake = Lake(_settings())
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
    _print(options, rows, _table(rows))


def do_quarantine(options: argparse.Namespace) -> None:
    from jobs import quarantine
    from jobs.lake import Lake

    if options.action == "replay":
        do_replay(options)
        return
    days = _days(options) if options.ds or options.first else None
    rows = quarantine.refused(Lake(_settings()), options.table, days)
    rows = [r for r in rows if options.rule in (None, r["rule"])]
    found = quarantine.counts(rows) if options.action == "list" else rows[: options.limit]
    _print(options, found, _table(found))


def do_replay(options: argparse.Namespace) -> None:
    from jobs import quarantine, steps
    from jobs.errors import SettingsError

    if not options.table:
        raise SettingsError("Say which table's rows to replay: --table silver.FEED.")
    with steps.opened(_settings().market.name, _run_id("replay")) as runner:
        made = quarantine.replay(runner, options.table, _days(options), options.repaired)
    said = [
        f"{made['delivered']} repaired rows delivered.",
        f"Refused before:\n{_table(made['before'])}",
        f"Refused now:\n{_table(made['after'])}",
        f"Rebuilt:\n{_table([{'table': t, 'rows': n} for t, n in made['rows'].items()])}",
    ]
    _print(options, made, "\n\n".join(said))


def do_up(options: argparse.Namespace) -> None:
    from jobs import steps
    from jobs.catalog import write_manifest
    from jobs.nightly import ready
    from jobs.services import airflow, mlflow, up
    from jobs.services.state import State
    from jobs.settings import home_dir

    write_manifest(steps.catalog(), home_dir() / "manifest.json")
    up(on_event=lambda message: print(message, file=sys.stderr))
    ready(home_dir())
    state = State(home_dir())
    rows = {
        "airflow": airflow.url(state),
        "login": "admin",
        "password": airflow.password(state),
        "mlflow": mlflow.url(state),
    }
    _print(
        options,
        rows,
        f"Airflow  {rows['airflow']}  login {rows['login']}  password {rows['password']}\n"
        f"MLflow   {rows['mlflow']}\nStop them with: make down",
    )


def do_down(options: argparse.Namespace) -> None:
    from jobs.services import down

    down()


def do_doctor(options: argparse.Namespace) -> int:
    from jobs.doctor import main as doctor

    return doctor()


if __name__ == "__main__":
    sys.exit(main())
