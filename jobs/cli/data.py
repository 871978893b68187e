"""Bringing data in."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from jobs.cli.common import day, show


def register(add: Any) -> None:
    made = add(
        "import",
        do_import,
        "Bring tabular data into the landing zone by a mapping file.",
        "import --mapping mappings/completejourney.yaml --source data/ --dry-run",
        "import --mapping mappings/completejourney.yaml --source data/",
    )
    made.add_argument("--mapping", type=Path, required=True)
    made.add_argument("--source", type=Path, required=True)
    made.add_argument("--dry-run", action="store_true", help="count and reject, write nothing")
    made = add(
        "simulate",
        do_simulate,
        "Land a seeded small world, or its next days.",
        "simulate --users 2000 --days 14",
        "simulate --from 2024-03-15 --to 2024-03-15 --policy released",
    )
    made.add_argument("--users", type=int)
    made.add_argument("--items", type=int)
    made.add_argument("--creators", type=int)
    made.add_argument("--days", type=int)
    made.add_argument("--seed", type=int)
    made.add_argument("--from", dest="first", type=day)
    made.add_argument("--to", dest="last", type=day)
    made.add_argument(
        "--policy",
        choices=("logging", "released"),
        default="logging",
        help="released: the day reacts to the published lists",
    )


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
    show(
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
    from jobs.settings import default_market, home_dir, load_settings, save_market
    from jobs.simulator import demo_market, simulate, world_of

    given = {k: getattr(options, k) for k in ("users", "items", "creators", "days", "seed")}
    config = world_of(home_dir() / "truth", default_market(), **given)
    settings = load_settings(save_market(demo_market(config)).name)
    released = None
    if options.policy == "released":
        from jobs.published import lists_for_simulator

        released = lists_for_simulator(settings)
    landed = simulate(config, settings.landing, settings.home / "truth", options.first, options.last, released)
    show(options, landed, "\n".join(f"{day}: {sum(feeds.values())} rows landed" for day, feeds in landed.items()))
