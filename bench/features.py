"""Feature tables one by one: rows a second beside DuckDB, growth, the cost of a late day, files.

DuckDB computes the same rows from the same Parquet files in the same process: what one machine without a server, a
lake and checks would take. Rows are held against each other before a time counts. Besides seconds on the wall, which
others who use the machine lengthen, processor seconds are given.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from bench.meter import Meter, engine, engine_seconds
from bench.worlds import WORLDS, land
from jobs import steps
from jobs.catalog import GROUPS, Catalog
from jobs.contract import DayRange, Node, Table
from jobs.errors import CheckFailed
from jobs.lake import Lake
from jobs.planning import touched_days
from jobs.runner import Runner
from jobs.simulator import WorldConfig

SQL = Path(__file__).parent / "sql"
BESIDE = tuple(sorted(f"features.{path.stem}" for path in SQL.glob("*.sql")))
UP_TO_FEATURES = ("bronze", "silver", "features")
LATE = "bronze.events"
GROWTH = {
    "users": lambda config: replace(config, users=2 * config.users),
    "events": lambda config: replace(config, requests_per_user_day=2 * config.requests_per_user_day),
    "days": lambda config: replace(config, days=2 * config.days),
}


@dataclass(frozen=True)
class Cost:
    """Seconds on the wall, and of the processors in this process and the engine's."""

    wall: float
    cpu: float


@dataclass
class Watch:
    """Measures what happens between two looks at it."""

    pids: list[int]

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._wall, self._cpu = time.monotonic(), engine_seconds(self.pids)

    def cost(self) -> Cost:
        return Cost(time.monotonic() - self._wall, engine_seconds(self.pids) - self._cpu)


def bench(size: str = "small") -> None:
    """All figures of a world of one of the sizes of `bench.worlds`."""
    config = WorldConfig(**WORLDS[size])
    meter = Meter(size)
    with engine() as pids:
        _of_one_world(meter, config, pids)
        _growth(meter, config, pids)


def _of_one_world(meter: Meter, config: WorldConfig, pids: list[int]) -> None:
    days = _land(config, "features")
    with steps.opened("features", "bench") as runner:
        _build(runner, runner.catalog, DayRange(days.first, days.last - dt.timedelta(days=1)))
        watch = Watch(pids)
        _build(runner, runner.catalog, DayRange.day(days.last))
        night = watch.cost()
        for node in runner.catalog.group("features"):
            if isinstance(node.contract, Table):
                table(meter, runner, node, days.last, pids)
        _late_day(meter, runner, days, night, pids)
        _files(meter, runner, days.last)


def _land(config: WorldConfig, market: str) -> DayRange:
    """Simulate a world as a market of its own; returns its days."""
    config = replace(config, market=market)
    land(config)
    return DayRange(config.date(0), config.date(config.days - 1))


def _build(runner: Runner, catalog: Catalog, days: DayRange) -> None:
    """Bronze to features, without the gates: they cost the same whatever the tables hold."""
    for group in UP_TO_FEATURES:
        runner.build_group(catalog.group(group), days)


def table(meter: Meter, runner: Runner, node: Node, ds: dt.date, pids: list[int]) -> None:
    """Rows a second of one table for one day, beside DuckDB; the second build counts, as the first one compiles."""
    day = DayRange.day(ds)
    runner.stage(node, day)
    watch = Watch(pids)
    staged = runner.stage(node, day)
    cost, rows = watch.cost(), sum(staged.rows.values())
    runner.staged.pop(node.name)
    if not rows:
        return
    beside = None
    if node.name in BESIDE:
        found, other = by_sql(runner.lake, runner.catalog, node, ds)
        hold_equal(node.contract, runner.stages.frame(node.contract, staged.attempt).toArrow().to_pylist(), found)
        beside = (
            f"DuckDB, the same rows: {rows / other.wall:.0f} rows/s; processor seconds {cost.cpu:.2f} against "
            f"{other.cpu:.3f}"
        )
    meter.figure(f"{node.name}.rows_per_second", rows / cost.wall, "rows/s", beside or f"{rows} rows")


def by_sql(lake: Lake, catalog: Catalog, node: Node, ds: dt.date) -> tuple[list[dict[str, Any]], Cost]:
    """The rows of a table for a day by its SQL in DuckDB, over the files that a build would read."""
    database = duckdb.connect()
    for each in node.table_inputs:
        version = lake.version(each.table)
        files = lake.files_at(catalog.table(each.table), version, each.window(DayRange.day(ds)))
        paths = [str(lake.path(each.table) / file.path) for file in files]
        database.register(each.argument, database.read_parquet(paths, hive_partitioning=True))
    text = (SQL / f"{node.name.removeprefix('features.')}.sql").read_text()
    watch = Watch([])
    found = database.sql(text, params={"ds": str(ds)}).to_arrow_table()
    return found.to_pylist(), watch.cost()


def hold_equal(contract: Table, ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> None:
    """Raise unless both hold the same rows; numbers may differ by one in the last declared decimal."""

    def by_key(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[Any, ...], Mapping[str, Any]]:
        return {tuple(row[key] for key in contract.keys): row for row in rows}

    left, right = by_key(ours), by_key(theirs)
    if left.keys() != right.keys() or len(left) != len(ours) or len(right) != len(theirs):
        raise CheckFailed(f"{contract.name}: DuckDB finds {len(theirs)} rows, of other keys than our {len(ours)}.")
    for column in contract.columns:
        close = 0.0 if column.digits is None else 1.01 * 10**-column.digits
        for key, row in left.items():
            one, two = row[column.name], right[key][column.name]
            same = one == two if not close or None in (one, two) else abs(one - two) <= close
            if not same:
                raise CheckFailed(f"{contract.name}, {key}: {column.name} is {one!r}, DuckDB says {two!r}.")


def _late_day(meter: Meter, runner: Runner, days: DayRange, night: Cost, pids: list[int]) -> None:
    """All that a delivery for a day three days ago touches, against a night's build of bronze to features."""
    late = DayRange.day(days.last - dt.timedelta(days=3))
    ranges = touched_days(runner.lake, runner.catalog, f"{LATE}+", late)
    watch = Watch(pids)
    for group in GROUPS:
        nodes = [node for node in runner.catalog.group(group.name) if node.name in ranges]
        if nodes:
            runner.build_group(nodes, DayRange.covering(ranges[node.name] for node in nodes))
    cost = watch.cost()
    compared = f"a night's bronze to features: {night.wall:.1f} s, {night.cpu:.1f} processor seconds"
    meter.figure("late_day", cost.wall, "s", compared)
    meter.figure("late_day.cpu", cost.cpu, "processor seconds", compared)


def _files(meter: Meter, runner: Runner, ds: dt.date) -> None:
    log = runner.lake.rows("ops.run", ["table", "files", "at_ms", "status"], ds=ds).to_pylist()
    newest = {r["table"]: r["files"] for r in sorted(log, key=lambda r: r["at_ms"]) if r["files"] is not None}
    meter.figure("files_per_day", sum(newest.values()), "files", f"{len(newest)} tables")
    meter.figure("files_per_day.most", max(newest.values()), "files", max(newest, key=lambda t: (newest[t], t)))


def _growth(meter: Meter, config: WorldConfig, pids: list[int]) -> None:
    """Processor seconds of the compared tables, and all that they are made from, when the world doubles."""
    base = _whole(config, "base", pids)
    for name, doubled in GROWTH.items():
        cost = _whole(doubled(config), f"twice_{name}", pids)
        meter.figure(f"growth.{name}", cost.cpu / (2 * base.cpu), "times linear", "aim: 1.15 at most")


def _whole(config: WorldConfig, market: str, pids: list[int]) -> Cost:
    days = _land(config, market)
    with steps.opened(market, "bench") as runner:
        wanted = set(BESIDE)
        for name in reversed(runner.catalog.order):
            wanted |= set(runner.catalog.node(name).upstream) if name in wanted else set()
        part = Catalog({name: node for name, node in runner.catalog.nodes.items() if name in wanted})
        watch = Watch(pids)
        _build(runner, part, days)
        return watch.cost()
