"""The main job of the README: services, data, history, then the last nights through Airflow's scheduler."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import steps
from jobs.catalog import write_manifest
from jobs.contract import Table
from jobs.errors import LandingError, NightjarError
from jobs.healing import WINDOWED, Record
from jobs.lake import Lake
from jobs.landing import first_landed
from jobs.landing import landed_days as days_of_feed
from jobs.planning import REBUILT
from jobs.session import connect
from jobs.settings import DEMO, Settings, default_market, home_dir, landing_root, load_settings, save_market

if TYPE_CHECKING:
    from jobs.services.airflow_api import AirflowClient

FEATURE_DAYS = 30
"""Days before the first night that features and training rows are built for: what a ranker is trained on, and what
drift is held against. Facts are built from the first landed day on: who a user is may have been told then alone."""
WEEK_OF_EVALUATION = 35
"""With so many days of history the first of the two nights is a week before the second, so that its lists can
be held against a whole week; with fewer it is the day before."""


@dataclass
class Progress:
    """Prints what happens with the seconds since the start."""

    started: float

    def __call__(self, message: str) -> None:
        print(f"[{time.monotonic() - self.started:6.1f} s] {message}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Request:
    """What `nightjar nightly` was asked for; ``None`` leaves the choice to it."""

    ds: dt.date | None = None
    mapping: Path | None = None
    source: Path | None = None
    market: str | None = None
    users: int | None = None
    days: int | None = None


def nightly(request: Request) -> int:
    """Bring the system up, land data where there is none, build history, run the nights, print the report.

    Returns
    -------
    int
        0 when every night was published, 1 when one failed.
    """
    from jobs.services import up

    say = Progress(time.monotonic())
    write_manifest(steps.catalog(), home_dir() / "manifest.json")
    up(["spark"], on_event=say)
    market = land(request, say)
    settings = load_settings(market)
    nights = plan_nights(settings, request.ds)
    # the other services start while history is built: both wait for the same two cores, but not all the time
    up(on_event=say)
    build_history(settings, nights[0], say)
    failed = run_nights(settings, nights, say)
    print_report(settings, failed or nights[-1])
    return 1 if failed else 0


def land(request: Request, say: Callable[[str], None]) -> str:
    """Import what a mapping names; simulate where the market is a simulated one; returns the market.

    A market is simulated where it has a truth, which imported data never have, or where it is the demo that a new
    installation begins with. Its days that have landed are not landed again; later ones are where they are asked for.
    Any other market's nights run on what its sources have landed.
    """
    home, market = home_dir(), request.market or default_market()
    if request.mapping is not None:
        return _import(request, say)
    simulated = (home / "truth" / market).is_dir()
    new_demo = market == DEMO and first_landed(landing_root(home), market) is None
    asked = any(each is not None for each in (request.ds, request.users, request.days))
    if new_demo or (simulated and asked):
        _simulate(request, market, say)
    return market


def _import(request: Request, say: Callable[[str], None]) -> str:
    from jobs.importer import import_data, read_mapping
    from jobs.settings import Market, Settings

    if request.source is None:
        raise NightjarError("A mapping needs its source: give --source DIR (make nightly MAPPING=… SOURCE=…).")
    home = home_dir()
    declared = read_mapping(request.mapping).market
    spark = connect(Settings(home, home / "lake", landing_root(home), Market(declared.name)))
    say(f"importing {request.source} by {request.mapping}")
    result = import_data(spark, home, request.mapping, request.source)
    spark.stop()
    print(result.summary(), file=sys.stderr)
    return declared.name


def _simulate(request: Request, market: str, say: Callable[[str], None]) -> None:
    """Land the market's world, a small one where it is new; later days asked for are the logging policy's next days."""
    from jobs.simulator import demo_market, simulate, world_of

    config = world_of(home_dir() / "truth", market, users=request.users, days=request.days)
    settings = load_settings(save_market(demo_market(config)).name)
    landed = landed_days(settings)
    whole = landed[-1] if landed and request.days is None else config.date(config.days - 1)
    last = max(request.ds or whole, whole)
    begin = landed[-1] + dt.timedelta(days=1) if landed else config.first_day
    if begin <= last:
        say(f"simulating {config.users} users from {begin} to {last}")
        simulate(config, settings.landing, settings.home / "truth", begin, last)


def landed_days(settings: Settings) -> list[dt.date]:
    """Days for which the items feed (which every market has) has landed."""
    return days_of_feed(settings.landing, settings.market.name, "items")


def plan_nights(settings: Settings, ds: dt.date | None) -> list[dt.date]:
    """The nights to run: on a new lake two, of which the first trains; later the one asked for.

    Raises
    ------
    LandingError
        Nothing has landed for the day.
    """
    landed = landed_days(settings)
    last = ds or (landed[-1] if landed else None)
    if last is None or last not in landed:
        raise LandingError(
            f"Nothing has landed for {last} in market {settings.market.name}; landed are {landed[0]} to {landed[-1]}."
            if landed
            else f"Nothing has landed in market {settings.market.name}."
        )
    if Lake(settings).days("ops.release"):
        return [last]
    back = 7 if (last - landed[0]).days >= WEEK_OF_EVALUATION else 1
    return [d for d in (last - dt.timedelta(days=back), last) if d >= landed[0]]


def build_history(settings: Settings, first_night: dt.date, say: Callable[[str], None]) -> None:
    """Build, as one range a group, the days before the first night that are not there yet."""
    todo = history(settings, first_night)
    if not todo:
        return
    last = first_night - dt.timedelta(days=1)
    say(f"building history to {last}: {', '.join(f'{group} from {begin}' for group, begin in todo.items())}")
    spark = connect(settings)
    for group, begin in todo.items():
        run_id, said = f"history-{last}", lambda message: say(f"history: {message}")
        steps.build_range(group, str(begin), str(last), settings.market.name, run_id, spark, said)
    spark.stop()


def history(settings: Settings, first_night: dt.date) -> dict[str, dt.date]:
    """The groups that lack days before the first night, each with the first of them: a history may have stopped."""
    record, landed = Record.of(Lake(settings)), landed_days(settings)[0]
    found = {}
    for group in REBUILT:
        tables = [n.name for n in steps.catalog().group(group) if isinstance(n.contract, Table)]
        # windows look back over silver's aggregates, so a long past costs no features of days that nobody reads
        least = max(landed, first_night - dt.timedelta(days=FEATURE_DAYS)) if group in WINDOWED else landed
        begin = max(least, record.missing(tables, first_night) or least)
        if begin < first_night:
            found[group] = begin
    return found


def ready(home: Path) -> AirflowClient:
    """Airflow's client, once it has read the DAGs and has the pool that serialises Spark-heavy tasks."""
    from jobs.services import airflow_api

    api = airflow_api.connect(home)
    api.ensure_pool("heavy", 1, "Spark-heavy tasks, one at a time")
    for dag in ("nightly", "training", "backfill", "feedback", "audit_review", "watch"):
        api.wait_for_dag(dag)
        api.unpause(dag)
    return api


def run_nights(settings: Settings, nights: list[dt.date], say: Callable[[str], None]) -> dt.date | None:
    """Run nights through Airflow, a day at a time, up to the first that fails; returns that one."""
    from jobs.services.airflow_api import RunFailed

    api = ready(settings.home)
    for at, ds in enumerate(nights):
        if at:
            build_history(settings, ds, say)
        say(f"night of {ds} through Airflow")
        run_id = api.trigger("nightly", str(ds), {"market": settings.market.name})
        try:
            api.wait("nightly", run_id, on_change=lambda task, state: say(f"  {task}: {state}"))
        except RunFailed as error:
            print(f"nightjar: {error}", file=sys.stderr)
            for task, state in api.tasks("nightly", run_id).items():
                if state == "failed":
                    print(api.log("nightly", run_id, task, try_number=2)[-4000:], file=sys.stderr)
            return ds
    return None


def print_report(settings: Settings, ds: dt.date) -> None:
    from jobs.report import night_report, render_text

    print(render_text(night_report(settings, ds)))
