"""Feedback of the day: what people did since the current release was made, held against what is served.

Files that landed after the day of the release are read through the same builds as at night, so that a row counts
by the same rules. What people no longer want to see (blocks, purchases that do not repeat, withdrawn consent) and
what was taken down leaves the lists by a patch; the full profile follows in the night.
"""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame

from jobs import ops, releases
from jobs.contract import DayRange, ddl, digest
from jobs.lake import Lake
from jobs.landing import INTRADAY, LandedFile, day_folder, landed_days, landed_files
from jobs.patches import Exclusions, no_pairs, nobody, patch
from jobs.publishing import now_ms
from jobs.quarantine import deliver
from jobs.runner import Runner
from jobs.scan import published
from jobs.settings import Settings
from jobs.takedown import taken_down

FACTS, CONSENT = ("events", "orders"), "consent"
FEEDS = (*FACTS, CONSENT)


def land(settings: Settings, events: Path) -> int:
    """Land feedback (JSON lines in the columns of the feed ``events``) as a delivery of the day after the release."""
    served = releases.required(Lake(settings))
    return deliver(settings, "silver.events", served["ds"] + dt.timedelta(days=1), events, part=INTRADAY)


def arrived(settings: Settings, ds: dt.date) -> dict[str, list[LandedFile]]:
    """Files by feed that landed for the days after ``ds``."""
    market = settings.market.name
    return {
        feed: [
            file
            for day in landed_days(settings.landing, market, feed)
            if day > ds
            for file in landed_files(day_folder(settings.landing, market, feed, day))
        ]
        for feed in FEEDS
    }


def fingerprint(files: dict[str, list[LandedFile]], items: tuple[int, ...]) -> str:
    """Hash of what a look reads: the landed files and the items that are down."""
    return digest([[str(file.path), file.sha256] for feed in FEEDS for file in files[feed]] + [list(items)])


def is_known(lake: Lake, release: dict[str, Any], read: str) -> bool:
    """True where the newest look read just this and led to the release that is served."""
    looks = lake.rows(ops.FEEDBACK.name, ["release_id", "read", "at_ms"], ds=release["ds"]).to_pylist()
    newest = max(looks, key=lambda r: r["at_ms"], default=None)
    return newest is not None and (newest["release_id"], newest["read"]) == (release["release_id"], read)


def apply(runner: Runner, reason: str, target: dict[str, Any] | None = None) -> dict[str, Any]:
    """Patch what is served by all feedback since it was made; logs the look in ``ops.feedback``.

    Parameters
    ----------
    target
        A release to go back to instead, by all feedback since that one was made.

    Returns
    -------
    dict
        The row of ``ops.feedback``.
    """
    started = time.monotonic()
    release, items = target or releases.required(runner.lake), taken_down(runner.lake)
    files = arrived(runner.settings, release["ds"])
    out = Exclusions(*told(runner, release["ds"], files), items)
    served, users = patch(runner, release, out, reason, "rollback" if target else "patch")
    _remember(runner, release, out)
    row = {
        "ds": release["ds"],
        "run_id": runner.run_id,
        "base_release_id": releases.base_of(release),
        "release_id": served["release_id"],
        "read": fingerprint(files, items),
        "files": sum(map(len, files.values())),
        "takedowns": len(items),
        "blocks": out.blocked.num_rows,
        "withdrawn": out.withdrawn.num_rows,
        "users": users,
        "seconds": round(time.monotonic() - started, 3),
        "at_ms": now_ms(),
    }
    runner.lake.append(ops.FEEDBACK, [row])
    return row


def _remember(runner: Runner, release: dict[str, Any], out: Exclusions) -> None:
    """Add to ``ops.withheld`` what no look has found before, so that an explanation can tell it."""
    common = {"ds": release["ds"], "base_release_id": releases.base_of(release)}
    known = runner.lake.rows(ops.WITHHELD.name, ["user_id", "item_id"], **common).to_pylist()
    wanted = out.blocked.to_pylist() + [{**row, "item_id": None} for row in out.withdrawn.to_pylist()]
    new = {(r["user_id"], r["item_id"]): r for r in wanted}
    for row in known:
        new.pop((row["user_id"], row["item_id"]), None)
    runner.lake.append(
        ops.WITHHELD, [{**common, **row, "run_id": runner.run_id, "at_ms": now_ms()} for row in new.values()]
    )


def told(runner: Runner, ds: dt.date, files: dict[str, list[LandedFile]]) -> tuple[pa.Table, pa.Table]:
    """Pairs that people no longer want to see, and users who withdrew consent, by the landed ``files``."""
    days = {feed: sorted({day_of(file) for file in files[feed]}) for feed in FEEDS}
    acted = [day for feed in FACTS for day in days[feed]]
    blocked = _blocked(runner, ds, DayRange(min(acted), max(acted))) if acted else no_pairs()
    asked = days[CONSENT]
    withdrawn = _withdrawn(runner, DayRange(ds + dt.timedelta(days=1), asked[-1])) if asked else nobody()
    return blocked, withdrawn


def day_of(file: LandedFile) -> dt.date:
    return dt.date.fromisoformat(file.path.parent.name.removeprefix("ds="))


def _blocked(runner: Runner, ds: dt.date, arrivals: DayRange) -> pa.Table:
    from models.fused import excluded

    node, market = runner.catalog.node("silver.user_item_daily"), runner.settings.market
    # a row that is delivered late belongs to its own day
    days = DayRange(arrivals.first - dt.timedelta(days=market.late_days), arrivals.last)
    events, orders = (_typed(runner, feed, arrivals, days) for feed in FACTS)
    nothing_shown = runner.spark.createDataFrame([], ddl(runner.table("silver.impressions").schema))
    acted = node.build(events, orders, nothing_shown, days=days, params=runner.params(node), market=market)
    items = published(runner.spark, runner.lake, runner.table("silver.items"), [ds])
    pairs = excluded(acted, events, items, days, market)
    return pairs.select("user_id", "item_id").distinct().toArrow()


def _withdrawn(runner: Runner, days: DayRange) -> pa.Table:
    """Users who refuse by the last of the days: what the night knew, and what arrived since."""
    known = published(runner.spark, runner.lake, runner.table("silver.consent"), [days.first - dt.timedelta(days=1)])
    if known is None:
        known = runner.spark.createDataFrame([], ddl(runner.table("silver.consent").schema))
    now = _typed(runner, CONSENT, days, days, yesterday=known).where(f"ds = DATE'{days.last}'")
    return now.where("purpose = 'personalisation' AND NOT granted").select("user_id").distinct().toArrow()


def _typed(runner: Runner, feed: str, arrivals: DayRange, days: DayRange, **more: DataFrame) -> DataFrame:
    """Accepted rows of what landed on ``arrivals``, as bronze and silver would have them at night."""
    bronze, silver = runner.catalog.node(f"bronze.{feed}"), runner.catalog.node(f"silver.{feed}")
    market = runner.settings.market
    landed = runner.read_landing(runner.spark, runner.settings, feed, arrivals)
    delivered = bronze.build(**{feed: landed}, days=arrivals, params=runner.params(bronze), market=market)
    typed = silver.build(delivered, **more, days=days, params=runner.params(silver), market=market)
    return typed.where("_reject IS NULL")
