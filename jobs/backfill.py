"""A managed backfill: days are rebuilt aside, checked and compared with what is live, then swapped in, or not.

Nothing that readers see changes before the swap. The swap is one commit a table, and `restore` puts the days
back as they were before it: the files that they had are still there until the table is vacuumed.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs import ops
from jobs.catalog import GROUPS, Catalog
from jobs.contract import DayRange, Table
from jobs.errors import ContractError, PublishError
from jobs.lake import Lake
from jobs.locks import exclusive
from jobs.planning import REBUILT, targets, touched_days
from jobs.publishing import now_ms
from jobs.releases import row_hash
from jobs.runner import Runner
from jobs.scan import published
from jobs.settings import Settings
from jobs.stages import Staged

STAGE = "backfill"
NUMBERS = ("int", "bigint", "double", "float")


def ranges_of(lake: Lake, catalog: Catalog, tables: Iterable[str], days: DayRange) -> dict[str, DayRange]:
    """The tables of a backfill with their days: ``TABLE`` for ``days``, readers of ``TABLE+`` for the days touched.

    Raises
    ------
    ContractError
        A table is not rebuilt by backfills: published lists stay as they were served.
    """
    found: dict[str, DayRange] = {}
    for target in tables:
        node = targets(catalog, target)[0]
        if node.contract.group not in REBUILT or not isinstance(node.contract, Table):
            raise ContractError(
                f"A backfill does not rebuild {node.name}: it rebuilds tables of the groups {list(REBUILT)}. "
                "Lists of an older day are released by running `nightly` for it."
            )
        reach = touched_days(lake, catalog, target, days) if target.endswith("+") else {node.name: days}
        for name, of in reach.items():
            found[name] = DayRange.covering([of, found.get(name, of)])
    return {name: found[name] for name in catalog.order if name in found}


def stage(runner: Runner, tables: Sequence[str], days: DayRange) -> list[dict[str, Any]]:
    """Build the days aside, run the declared checks of their groups, and compare them with the live rows.

    Returns
    -------
    list of dict
        The rows of ``ops.backfill``: per table and day what would be added, removed and changed.

    Raises
    ------
    CheckFailed
        The rebuilt rows do not reconcile, or fail a check; nothing was published.
    """
    from quality.gate import run_gate as expectations

    ranges = ranges_of(runner.lake, runner.catalog, tables, days)
    # what is compared and may be replaced is what the days hold before anything is read
    whole = DayRange.covering(ranges.values())
    before = {name: runner.lake.live(runner.catalog.table(name), whole) for name in ranges}
    made: list[Staged] = []
    for group in GROUPS:
        nodes = [node for node in runner.catalog.group(group.name) if node.name in ranges]
        if not nodes:
            continue
        wide = DayRange.covering(ranges[n.name] for n in nodes)
        built = runner.build_group(nodes, wide, publish=False)
        if group.gate:
            expectations(runner, built, group.name, wide.last)
        made += [replace(staged, replaces=before[staged.table]) for staged in built]
    runner.save_stage(STAGE, made)
    rows = [row for staged in made for row in difference(runner, staged)]
    runner.lake.append(ops.BACKFILL, rows)
    return rows


def difference(runner: Runner, staged: Staged) -> list[dict[str, Any]]:
    """Staged rows against live ones, day by day, by key (by whole row where a table has no key)."""
    contract = runner.catalog.table(staged.table)
    new = runner.stages.frame(contract, staged.attempt)
    live = published(runner.spark, runner.lake, contract, staged.days)
    old = new.limit(0) if live is None else live
    found = {row["ds"]: row.asDict() for row in compared(contract, old, new).collect()}
    empty = {"live": 0, "staged": 0, "added": 0, "removed": 0, "changed": 0}
    rows = []
    for day in staged.days:
        row = empty | {k: v for k, v in found.get(day, {}).items() if v is not None}
        sums = {c: [row.get(f"{c}_live", 0), row.get(f"{c}_staged", 0)] for c in figures(contract)}
        rows.append(
            {
                "ds": day,
                "backfill_id": runner.run_id,
                "table": contract.name,
                "rows_live": row["live"],
                "rows_staged": row["staged"],
                "rows_added": row["added"],
                "rows_removed": row["removed"],
                "rows_changed": row["changed"],
                "changed_share": round(
                    (row["added"] + row["removed"] + row["changed"]) / max(1, row["live"], row["staged"]), 6
                ),
                "figures": json.dumps({c: pair for c, pair in sums.items() if pair[0] != pair[1]}, default=str),
                "at_ms": now_ms(),
            }
        )
    return rows


def figures(contract: Table) -> list[str]:
    """The columns whose sums are compared: numbers that are no keys, no ids and no points in time."""
    return [
        c.name
        for c in contract.columns
        if c.type in NUMBERS and c.name not in contract.keys and not c.name.endswith(("_id", "at_ms"))
    ]


def compared(contract: Table, old: DataFrame, new: DataFrame) -> DataFrame:
    """Per day the rows live and staged, those added, removed and changed, and the sums of the numbers."""
    key = [*contract.partitions, *[k for k in contract.keys if k not in contract.partitions]]
    content = row_hash(contract)
    if not contract.keys:
        # without a key a row is its content; equal rows are told apart by their number alone
        key = ["ds", "_content"]
    numbers = figures(contract)

    def side(frame: DataFrame, name: str) -> DataFrame:
        sums = [F.sum(c).alias(f"{c}_{name}") for c in numbers]
        hashed = frame.withColumn("_content", content)
        return hashed.groupBy(*key).agg(
            F.count(F.lit(1)).alias(f"n_{name}"), F.sum(F.col("_content").cast("decimal(38,0)")).alias(name), *sums
        )

    def total(condition: Column, value: Column) -> Column:
        return F.sum(F.when(condition, value).otherwise(0))

    both = side(old, "live").join(side(new, "staged"), key, "full").fillna(0, ["n_live", "n_staged"])
    more, fewer = F.col("n_staged") > F.col("n_live"), F.col("n_staged") < F.col("n_live")
    return both.groupBy("ds").agg(
        F.sum("n_live").alias("live"),
        F.sum("n_staged").alias("staged"),
        total(more, F.col("n_staged") - F.col("n_live")).alias("added"),
        total(fewer, F.col("n_live") - F.col("n_staged")).alias("removed"),
        total((F.col("n_live") == F.col("n_staged")) & (F.col("live") != F.col("staged")), F.col("n_live")).alias(
            "changed"
        ),
        *[F.sum(f"{c}_{name}").alias(f"{c}_{name}") for c in numbers for name in ("live", "staged")],
    )


def swap(runner: Runner) -> dict[str, int]:
    """Publish what this run staged; returns the rows of each table.

    Raises
    ------
    PublishError
        A day was published by another run since this one began to build: stage again.
    """
    made = runner.load_stage(STAGE)
    runner.publish(made)
    runner.stage_file(STAGE).unlink()
    return {staged.table: sum(staged.rows.values()) for staged in made}


def discard(runner: Runner) -> bool:
    """Delete what this run staged and did not publish; True where there was something."""
    path = runner.stage_file(STAGE)
    if not path.exists():
        return False
    for staged in runner.load_stage(STAGE):
        runner.lake.sweep(runner.catalog.table(staged.table), staged.attempt)
    path.unlink()
    return True


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The comparison by table, for a person to decide on: sums over the days, and the day that changes most."""
    made = []
    for table in dict.fromkeys(row["table"] for row in rows):
        of = [row for row in rows if row["table"] == table]
        most = max(of, key=lambda row: (row["changed_share"], row["ds"]))
        moved = {c: pair for row in of for c, pair in json.loads(row["figures"]).items()}
        made.append(
            {
                "table": table,
                "days": len(of),
                **{name: sum(row[f"rows_{name}"] for row in of) for name in ("live", "staged")},
                **{name: sum(row[f"rows_{name}"] for row in of) for name in ("added", "removed", "changed")},
                "most changed day": f"{most['ds']} ({most['changed_share']:.1%})",
                "sums that moved": ", ".join(sorted(moved)[:5]) or "none",
            }
        )
    return made


def markdown(rows: list[dict[str, Any]]) -> str:
    """A summary as the Markdown table that the approval shows."""
    import pandas as pd

    return pd.DataFrame(rows).to_markdown(index=False) if rows else "Nothing would change."


def restore(settings: Settings, catalog: Catalog, run_id: str) -> list[dict[str, Any]]:
    """Put the days that a run published back as they were before it.

    Returns
    -------
    list of dict
        The rows logged: one a table and day.

    Raises
    ------
    PublishError
        The run published nothing, another run has published the same days since, or files are gone.
    """
    lake = Lake(settings)
    log = [r for r in lake.rows(ops.RUN.name, through=False).to_pylist() if r["status"] == "published"]
    mine = [r for r in log if r["run_id"] == run_id and r["version"] is not None]
    if not mine:
        raise PublishError(f"Run {run_id!r} published no table: `nightjar show ops.run` has the runs.")
    last = {(r["table"], r["ds"]): r for r in sorted(log, key=lambda r: r["at_ms"])}
    for row in mine:
        newest = last[row["table"], row["ds"]]
        if newest["run_id"] != run_id:
            raise PublishError(
                f"{row['table']} of {row['ds']} was published again by run {newest['run_id']}: restore that one first."
            )
    rows = []
    for table in dict.fromkeys(r["table"] for r in mine):
        days = sorted(r["ds"] for r in mine if r["table"] == table)
        contract = catalog.table(table)
        version = _put_back(lake, contract, days, run_id)
        if contract.rejects:
            _put_back(lake, ops.QUARANTINE, days, run_id, slices=[table])
        rows += [_as_before(log, table, day, run_id, version) for day in days]
    lake.append(ops.RUN, rows)
    return rows


def _put_back(
    lake: Lake, contract: Table, days: list[dt.date], run_id: str, slices: list[str] | None = None
) -> int | None:
    """Commit the files that the days had before the first commit of a run; None where the run committed none."""
    before = lake.version_before(contract.name, run_id)
    if before is None:
        return None
    files = lake.files_at(contract, before, days, slices)
    with exclusive(lake.settings.locks, contract.name) as token:
        said = {"run_id": f"restore-{run_id}"}
        return lake.publish(contract, files, days, token, said, slices)


def _as_before(log: list[dict[str, Any]], table: str, day: dt.date, run_id: str, version: int | None) -> dict[str, Any]:
    """The log row of a restored day: that of the build which it holds again, or of a day that was not built."""
    earlier = [r for r in log if r["table"] == table and r["ds"] == day and r["run_id"] != run_id]
    known = max(earlier, key=lambda r: r["at_ms"]) if earlier else {"ds": day, "table": table, "rows": 0}
    return {
        **known,
        "run_id": f"restore-{run_id}",
        "attempt": f"restore-{run_id}",
        "status": "published",
        "seconds": None,
        "version": version,
        "at_ms": now_ms(),
    }
