"""
## nightly: from the landing files of a day to its published lists

Builds every table of one day, `ds`, in the order **ingest → features → candidates → publish → audit**,
and moves the pointer of what is served if the day is the newest. Each task builds one group of tables and
updates their assets. A day whose checks fail is not published: readers keep the release before it.

| parameter | meaning |
|---|---|
| `ds` | the day of the data, as `2024-03-14`; empty: the day that the schedule gives |
| `market` | the market; default: `NIGHTJAR_MARKET`, else `demo` |

**Run or rerun a day**: *Trigger*, with `ds`. Or clear a failed task of the run: all after it runs again. Any
order of days is right: missing days before it are built first, and what an older day brings is carried on to all later
ones. A day that is not the newest becomes a release of kind `backfill`, never the current one.

**Backfill**: *Trigger → Run Backfill*, or
`airflow backfill create --dag-id nightly --from-date 2024-03-01 --to-date 2024-03-07 --max-active-runs 1`;
both days are included, and days that ran already need `--reprocess-behavior completed`. For months,
`nightjar run bronze.events+ --from … --to …` is faster: it builds ranges of days.

**Schedule**: when a day ends in UTC the run of it starts, and waits for the day's files. It does nothing unless
the installation says `NIGHTJAR_SCHEDULE=on`, so that an installation with simulated data has no failing nights.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import (
    Asset,
    CronDataIntervalTimetable,
    Param,
    PokeReturnValue,
    TriggerRule,
    dag,
    get_current_context,
    task,
    task_group,
)
from airflow.sdk.exceptions import AirflowSkipException

MANIFEST = Path(os.environ.get("NIGHTJAR_HOME", ".nightjar")) / "manifest.json"
if not MANIFEST.exists():
    raise FileNotFoundError(f"There is no manifest at {MANIFEST}: write it with `nightjar manifest`.")
CATALOG: dict[str, Any] = json.loads(MANIFEST.read_text())
GROUPS: dict[str, dict[str, Any]] = {group["name"]: group for group in CATALOG["groups"]}
OWNER = "platform"
# One Spark-heavy task at a time, whatever runs: the engine's memory is for one.
HEAVY = "heavy"


def attempt() -> dict[str, Any]:
    """What identifies this try of this task; a retry takes over the Spark session of the try before it."""
    context = get_current_context()
    ti = context["ti"]
    return {
        "market": context["params"]["market"],
        "run_id": context["run_id"],
        "task_id": ti.task_id,
        "try_number": ti.try_number,
    }


def assets(group: str) -> list[Asset]:
    """One asset for each table and artifact of a group."""
    return [
        Asset(name=name, uri=f"nightjar://{name.replace('.', '/', 1)}", group=name.split(".", 1)[0])
        for name in GROUPS[group]["nodes"]
    ]


def announce(group: str, day: str, rows: dict[str, int], **facts: Any) -> None:
    """Say in the events of a group's assets which day was made, for which market, with how many rows."""
    context = get_current_context()
    for asset in assets(group):
        extra = {"ds": day, "market": context["params"]["market"], **facts}
        context["outlet_events"][asset].extra = extra | ({"rows": rows[asset.name]} if asset.name in rows else {})


def about(group: str) -> dict[str, Any]:
    """What the manifest says of a group, as arguments of its task."""
    nodes = {name: CATALOG["nodes"][name] for name in GROUPS[group]["nodes"]}
    lines = [f"- `{name}`: {node['description']}" for name, node in nodes.items()]
    return {
        "doc_md": "\n".join([GROUPS[group]["description"], "", *lines]),
        "owner": ", ".join(sorted({node["owner"] for node in nodes.values()})) or OWNER,
    }


def failed(context: Any) -> None:
    """When a task has failed for good: the report of what there is, and a page to the task's owner."""
    from jobs import steps

    params, ti = context["params"], context["ti"]
    day = steps.resolve_ds(params, context.get("ds"))
    error = " ".join(str(context.get("exception") or "no reason given").split())[:500]
    steps.task_failed(day, params["market"], ti.task_id, context["task"].owner, error, context["run_id"])


@task.sensor(mode="reschedule", poke_interval=60, timeout=24 * 3600, execution_timeout=timedelta(minutes=5))
def landing_ready(params: dict[str, Any] | None = None, ds: str | None = None) -> PokeReturnValue:
    """Resolve the day and wait until its files are complete; feeds that are not needed are gone without in time."""
    from jobs import steps

    context = get_current_context()
    run = context["dag_run"]
    if run.run_type == "scheduled" and os.environ.get("NIGHTJAR_SCHEDULE", "off") != "on":
        raise AirflowSkipException("The schedule is off: start nightly by hand, or set NIGHTJAR_SCHEDULE=on.")
    day = steps.resolve_ds(params or {}, ds)
    return PokeReturnValue(steps.landing_complete(day, context["params"]["market"]), day)


@task(pool=HEAVY, execution_timeout=timedelta(hours=4))
def build(group: str, day: str, publishes: bool) -> str:
    """Build the tables of a group; a group with a gate stays staged."""
    from jobs import steps

    rows = steps.run_group(group, day, **attempt())
    if publishes:
        announce(group, day, rows)
    return day


@task(pool=HEAVY, execution_timeout=timedelta(hours=1))
def check(group: str, day: str) -> str:
    """Run the declared checks of a group in Great Expectations on what is staged, then publish it."""
    from jobs import steps

    announce(group, day, steps.run_gate(group, day, **attempt()))
    return day


@task(pool=HEAVY, execution_timeout=timedelta(hours=1))
def release(day: str) -> str:
    """Check the lists, publish them as a release, and move the pointer to it if no newer day is served."""
    from jobs import steps

    made = steps.publish_release(day, **attempt())
    announce("serving", day, made["rows"], release_id=made["release_id"], kind=made["kind"])
    return day


@task(
    execution_timeout=timedelta(minutes=30),
    # Training that is not due is skipped; training that failed stops the night.
    trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
)
def pin_model(day: str) -> str:
    """Decide which model the day uses; every rerun of the day uses the same."""
    from jobs import steps

    context = get_current_context()
    steps.pin_model(day, context["params"]["market"], context["run_id"])
    return day


@task(execution_timeout=timedelta(minutes=15))
def report(day: str) -> str:
    """Write the night's report; returns where it is."""
    from jobs import steps

    context = get_current_context()
    return steps.write_report(day, context["params"]["market"], context["run_id"])


class TrainIfDue(TriggerDagRunOperator):
    """Run the DAG `training` for the day and wait for it, without a worker; skipped where it is not due.

    The run's id is fixed by market and day, so a retry or a rerun repeats that run and makes no second one.

    Parameters
    ----------
    day
        The day of the data; examples up to it are trained on.
    """

    template_fields = (*TriggerDagRunOperator.template_fields, "day")

    def __init__(self, *, day: Any, **kwargs: Any) -> None:
        super().__init__(
            trigger_dag_id="training",
            logical_date=None,
            reset_dag_run=True,
            wait_for_completion=True,
            deferrable=True,
            poke_interval=3,
            fail_when_dag_is_paused=True,
            **kwargs,
        )
        self.day = day

    def execute(self, context: Any) -> None:
        from jobs import steps

        market = context["params"]["market"]
        if not steps.training_due(self.day, market):
            raise AirflowSkipException(f"The model in use is young enough on {self.day}.")
        self.trigger_run_id = f"nightly__{market}__{self.day}"
        self.conf = {"ds": self.day, "market": market}
        # a person may take days to decide: the night goes on with the champion
        self.wait_for_completion = steps.promotion_mode(market) != "manual"
        super().execute(context)


def built(group: str, day: Any) -> Any:
    """The task that builds a group, named after it."""
    publishes = not GROUPS[group]["gate"]
    outlets = assets(group) if publishes else []
    return build.override(task_id=group, outlets=outlets, **about(group))(group, day, publishes)


def checked(group: str, day: Any) -> Any:
    """The task that checks and publishes a group."""
    return check.override(task_id=f"{group}_gate", outlets=assets(group), owner=about(group)["owner"])(group, day)


@task_group
def ingest() -> Any:
    """What landed, taken in, typed, quarantined where a rule refuses it."""
    return checked("silver", built("silver", built("bronze", landing_ready())))


@task_group
def features(day: Any) -> Any:
    """What is known of users and items at the end of the day, and the rows to train on."""
    return built("examples", checked("features", built("features", day)))


@task_group
def candidates(day: Any) -> Any:
    """The models of the day, and what they recall."""
    trained = TrainIfDue(
        task_id="train",
        day=day,
        execution_timeout=timedelta(hours=6),
        doc_md="Run the DAG `training` and wait for it, where no model exists or the newest is old.",
    )
    pinned = pin_model(day)
    trained >> pinned
    return built("candidates", built("fit", pinned))


@task_group
def publish(day: Any) -> Any:
    """Lists, checked and released."""
    lists = release.override(outlets=assets("serving"), owner=about("serving")["owner"])
    return lists(built("serving", day))


@task_group
def audit(day: Any) -> None:
    """What was published, measured, and the report on the night."""
    report(built("audit", day))


@dag(
    # Midnight, although the files come later: a backfill names its days by midnights, its last day included.
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    # Long ago: Airflow makes no tasks for a run by hand whose logical date is earlier than this.
    start_date=datetime(2000, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={
        "ds": Param(
            None, type=["null", "string"], format="date", title="Day", description="The day of the data; or empty."
        ),
        "market": Param(
            os.environ.get("NIGHTJAR_MARKET", "demo"), type="string", pattern="^[A-Za-z_][A-Za-z0-9_]*$", title="Market"
        ),
    },
    default_args={
        "owner": OWNER,
        "retries": 1,
        "retry_delay": timedelta(seconds=20),
        "on_failure_callback": failed,
    },
    tags=["nightjar", "nightly"],
    description="From the landing files of a day to its published lists.",
    doc_md=__doc__,
    is_paused_upon_creation=False,
)
def nightly() -> None:
    audit(publish(candidates(features(ingest()))))


nightly()
