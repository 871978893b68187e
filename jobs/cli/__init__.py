"""The command line: ``nightjar COMMAND``, a module a group of commands.

Heavy libraries are imported by the command that needs them.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import Any

from jobs.cli import audit, build, data, look, model, release, services
from jobs.errors import NightjarError

EXAMPLES = """examples:
  nightjar simulate --users 2000 --days 14            land a seeded small world
  nightjar import --mapping m.yaml --source data/     land your own data
  nightjar nightly --ds 2024-03-15                    the whole night through Airflow
  nightjar night --ds 2024-03-15                      the same night without Airflow
  nightjar run features.user_activity+ --from 2024-03-01 --to 2024-03-14
  nightjar show serving.recommendations --ds 2024-03-14 --where "user_id == 'u0000001'"
  nightjar releases; nightjar rollback --reason "wrong prices"
  nightjar explain --user u0000001 --item p0000042     why it is in the list, or is not
  nightjar export --to lists --as sqlite              what a service loads
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

    def add(name: str, command: Any, help: str, *examples: str) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name,
            help=help,
            description=help,
            parents=[common],
            epilog="\n".join(["examples:", *(f"  nightjar {each}" for each in examples)]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(command=command)
        return made

    for group in (data, build, model, release, look, services, audit):
        group.register(add)
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
