"""A month of real data, completejourney, built as ranges from bronze to features."""

from __future__ import annotations

import datetime as dt

from bench.features import UP_TO_FEATURES, Watch
from bench.meter import Meter, engine
from bench.worlds import import_shop
from jobs import steps
from jobs.contract import DayRange
from jobs.report.night import Night
from jobs.report.sections import left_out
from jobs.settings import load_settings

MONTH = DayRange(dt.date(2017, 1, 1), dt.date(2017, 1, 31))
LIMIT_S = 600


def bench(source: str | None = None) -> None:
    """Import the year, then build its first month; gates are not part of it."""
    meter = Meter("completejourney")
    with engine() as pids:
        watch = Watch(pids)
        import_shop(source)
        meter.figure("import", watch.cost().wall, "s")
        total = Watch(pids)
        with steps.opened("completejourney", "bench") as runner:
            for group in UP_TO_FEATURES:
                watch.restart()
                made = runner.build_group(runner.catalog.group(group), MONTH)
                cost = watch.cost()
                rows = sum(sum(staged.rows.values()) for staged in made)
                meter.figure(f"month.{group}", cost.wall, "s", f"{cost.cpu:.0f} processor seconds, {rows} rows")
            cost = total.cost()
            meter.figure("month", cost.wall, "s", f"limit {LIMIT_S} s on 2 cores")
            meter.figure("month.cpu", cost.cpu, "processor seconds")
            for sentence in left_out.gather(Night(load_settings("completejourney"), MONTH.last)):
                print(sentence, flush=True)
