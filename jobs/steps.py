"""The steps of a night, each one function: Airflow's tasks and the command line call the same ones.

A step takes names and days only, opens its own session, and returns plain data.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from jobs import healing, landing, ops, releases
from jobs.catalog import GATES, GROUPS, Catalog, discover
from jobs.contract import DayRange, Node, Table, digest
from jobs.errors import ContractError, LandingError, SettingsError
from jobs.lake import Lake
from jobs.landing import incomplete
from jobs.landing_reader import read_landing
from jobs.locks import exclusive
from jobs.planning import REBUILT
from jobs.runner import Runner, run_folder
from jobs.session import connect, interrupt
from jobs.settings import Settings, load_settings
from jobs.stages import Staged

log = logging.getLogger(__name__)
_catalog: Catalog | None = None


def catalog() -> Catalog:
    """Every node, discovered once a process."""
    global _catalog
    if _catalog is None:
        _catalog = discover()
    return _catalog


def resolve_ds(params: Mapping[str, Any], ds: str | None) -> str:
    """The day of the data: the run's ``ds`` parameter, else the day that Airflow gives it.

    Raises
    ------
    SettingsError
        There is neither, or it is no day.
    """
    chosen = params.get("ds") or ds
    if not chosen:
        raise SettingsError("The run has no day: trigger it with the parameter ds, as 2024-03-14.")
    try:
        return str(dt.date.fromisoformat(chosen))
    except ValueError:
        raise SettingsError(f"The parameter ds is {chosen!r}, which is no day: write it as 2024-03-14.") from None


def landing_complete(ds: str, market: str, wait: bool = True, now: dt.datetime | None = None) -> bool:
    """True when every feed in use has landed for ``ds``, or the time of those that have not is over.

    A feed's time is counted from the end of the day, so the night of an older day goes on at once.

    Raises
    ------
    LandingError
        A needed feed has not landed in its time.
    """
    settings, day = load_settings(market), dt.date.fromisoformat(ds)
    missing, waits = incomplete(settings.landing, settings.market.name, day), landing.waits(settings.market)
    hours = ((now or dt.datetime.now(dt.UTC)) - settings.market.end_of(day)).total_seconds() / 3600
    coming = [feed for feed in missing if wait and hours < waits[feed].wait_hours]
    over = [feed for feed in missing if feed not in coming]
    if needed := [feed for feed in over if waits[feed].needed]:
        raise LandingError(
            f"The needed feeds {needed} have not landed for {ds} in time: deliver them and run the night again, "
            "or say in the market's file how long it waits for them (feeds: wait_hours), or goes without (needed)."
        )
    if coming:
        log.info("Waiting for the feeds %s of %s.", coming, ds)
        return False
    if over:
        log.warning("Going without the feeds %s of %s.", over, ds)
    return True


def open_model(settings: Settings, pin: Mapping[str, Any]) -> Path:
    """The folder of a pinned model, proved to hold what was pinned."""
    from models import registry

    return registry.open_pin(settings, pin)


@contextmanager
def opened(
    market: str, run_id: str, task_id: str = "cli", try_number: int = 1, spark: SparkSession | None = None
) -> Iterator[Runner]:
    """A runner for one attempt of a task.

    An attempt leaves a note of its Spark session and its stage while it works. The next attempt that finds
    one knows that the writer is dead: it interrupts what still runs in that session and sweeps the stage.
    """
    settings = load_settings(market)
    note = run_folder(settings, run_id) / f"{task_id}.attempt.json"
    dead = json.loads(note.read_text()) if spark is None and note.exists() else None
    if dead:
        interrupt(settings, dead["session"])
    session = str(uuid.uuid4())
    attempt = f"{digest([run_id, task_id])}-{try_number}-{session[:8]}"
    own = spark is None
    if own:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps({"session": session, "attempt": attempt}))
        spark = connect(settings, session)
    runner = Runner(settings, catalog(), spark, run_id, read_landing, open_model, attempt=attempt)
    try:
        if dead:
            runner.sweep(dead["attempt"])
        yield runner
    finally:
        if own:
            spark.stop()
            note.unlink(missing_ok=True)


def run_group(
    group: str,
    ds: str,
    market: str,
    run_id: str,
    task_id: str = "cli",
    try_number: int = 1,
    spark: SparkSession | None = None,
    until: str | None = None,
) -> dict[str, int]:
    """Build a group for ``ds`` (or for the range to ``until``); publish it unless it has a gate.

    Returns
    -------
    dict
        Rows per table.
    """
    days = DayRange(dt.date.fromisoformat(ds), dt.date.fromisoformat(until or ds))
    with opened(market, run_id, task_id, try_number, spark) as runner:
        ranges = healing.night_ranges(runner.lake, runner.catalog, group, days)
        made = runner.build_group(runner.catalog.group(group), days, publish=group not in GATES, ranges=ranges)
        if group in GATES:
            runner.save_stage(group, made)
        return {staged.table: sum(staged.rows.values()) for staged in made}


def run_gate(
    group: str,
    ds: str,
    market: str,
    run_id: str,
    task_id: str = "gate",
    try_number: int = 1,
    spark: SparkSession | None = None,
) -> dict[str, int]:
    """Run a group's declared checks on what is staged, then publish it.

    Raises
    ------
    CheckFailed
        A check with verdict FAIL did not hold; nothing is published.
    """
    from quality.gate import run_gate as expectations

    with opened(market, run_id, task_id, try_number, spark) as runner:
        made = runner.load_stage(group)
        expectations(runner, made, group, dt.date.fromisoformat(ds))
        if group == "serving":
            _release(runner, made, dt.date.fromisoformat(ds))
        else:
            runner.publish(made)
        runner.stage_file(group).unlink()
        return {staged.table: sum(staged.rows.values()) for staged in made}


def publish_release(
    ds: str, market: str, run_id: str, task_id: str = "release", try_number: int = 1, spark: SparkSession | None = None
) -> dict[str, Any]:
    """Check the staged lists and publish them as the release of ``ds``."""
    rows = run_gate("serving", ds, market, run_id, task_id, try_number, spark)
    newest = [r for r in releases.history(Lake(load_settings(market))) if str(r["ds"]) == ds][-1]
    return {"release_id": newest["release_id"], "kind": newest["kind"], "rows": rows}


def _release(runner: Runner, made: list[Staged], day: dt.date) -> None:
    """Publish lists; what was taken down after their items were chosen leaves them at once.

    An order is on record before it patches what is served: one that is not seen here finds the new release itself.
    """
    from jobs import feedback, patches
    from jobs.takedown import taken_down

    releases.publish_release(runner, made, day)
    served = releases.required(runner.lake)
    if patches.serves(runner.lake, patches.served_tables(runner, served), served, taken_down(runner.lake)):
        with exclusive(runner.settings.locks, ops.FEEDBACK.name):
            feedback.apply(runner, "taken down while the lists were made")


# -- intraday -----------------------------------------------------------------------------------


def apply_feedback(
    market: str, run_id: str, task_id: str = "feedback", try_number: int = 1, reason: str = "feedback"
) -> dict[str, Any]:
    """Take what feedback and takedowns exclude out of what is served; a look that finds nothing new opens no Spark.

    Returns
    -------
    dict
        ``release_id`` that is served (None before the first night), ``users`` whose lists changed, and whether
        anything was ``new``.
    """
    from jobs import feedback
    from jobs.takedown import taken_down

    settings = load_settings(market)
    lake = Lake(settings)
    # one look at a time: a takedown by hand waits for the scheduled one, and then changes what that one made
    with exclusive(settings.locks, ops.FEEDBACK.name):
        release = releases.current(lake)
        if release is None:
            return {"release_id": None, "users": 0, "new": False}
        read = feedback.fingerprint(feedback.arrived(settings, release["ds"]), taken_down(lake))
        if feedback.is_known(lake, release, read):
            return {"release_id": release["release_id"], "users": 0, "new": False}
        with opened(market, run_id, task_id, try_number) as runner:
            row = feedback.apply(runner, reason)
    return {"release_id": row["release_id"], "users": row["users"], "new": True}


def take_down(market: str, run_id: str, item: str, reason: str, lift: bool = False) -> dict[str, Any]:
    """Order an item off every list, and patch what is served at once; a lifted one may return with the next night."""
    from jobs import takedown

    settings = load_settings(market)
    order = takedown.order(settings, item, reason, run_id, active=not lift)
    if lift:
        return {"item": order["original_id"], "release_id": None, "users": 0}
    made = apply_feedback(market, run_id, "takedown", reason=f"takedown of {item}: {reason}")
    return {"item": order["original_id"], "release_id": made["release_id"], "users": made["users"]}


def rollback(market: str, run_id: str, to: str | None, reason: str) -> dict[str, Any]:
    """Make the champion that a release was made with champion again, and move the pointer back to the release.

    The pointer moves last: what fails before leaves everything to the same command again, which then has the same
    target. What people refused and what was taken down since stays away, so such a release returns patched.

    Raises
    ------
    PublishError
        There is no such release, or its model cannot be made champion.
    """
    from models import registry

    settings = load_settings(market)
    lake = Lake(settings)
    with exclusive(settings.locks, ops.FEEDBACK.name):
        target = releases.rollback_target(releases.history(lake), to)
        if target["model_version"]:
            registry.restore_champion(settings, target["model_version"], reason)
        return _released_again(settings, run_id, target, reason)


def _released_again(settings: Settings, run_id: str, target: dict[str, Any], reason: str) -> dict[str, Any]:
    """Serve a release without what people refused and what was taken down since it was made."""
    from jobs import feedback
    from jobs.takedown import taken_down

    lake = Lake(settings)
    files, items = feedback.arrived(settings, target["ds"]), taken_down(lake)
    nothing = not items and not any(files.values())
    if nothing or feedback.is_known(lake, target, feedback.fingerprint(files, items)):
        return releases.rollback(settings, target, reason)
    with opened(settings.market.name, run_id, "rollback") as runner:
        feedback.apply(runner, reason, target)
    return releases.required(lake)


# -- models -------------------------------------------------------------------------------------


def training_due(ds: str, market: str) -> bool:
    """True where no model exists, the newest is a week old, or features drifted; a private lake uses what there is."""
    from models import training

    settings = load_settings(market)
    return settings.read_through is None and training.training_due(settings, dt.date.fromisoformat(ds))


def fit_rankers(ds: str, market: str, run_id: str, warm: bool = False) -> dict[str, Any]:
    """Fit, measure and register a challenger on the examples up to ``ds``; ``warm``: going on from the champion."""
    from models import training

    made = training.train(load_settings(market), dt.date.fromisoformat(ds), run_id, warm)
    return {"version": made["version"], "passed": made["passed"], "mlflow_run": made["mlflow_run"]}


def model_card(market: str, version: str) -> str:
    """The model card of a version, with its gate: what a reviewer decides on."""
    from models import registry

    return registry.card_of(load_settings(market), version)


def promotion_mode(market: str, chosen: str | None = None) -> str:
    """Who promotes what passed its gate: as chosen for one run, else as the installation says."""
    settings = load_settings(market)
    # what a private lake was trained on is nobody else's data
    return "dry_run" if settings.read_through is not None else chosen or settings.promotion


def promote(
    market: str,
    version: str,
    passed: bool,
    mode: str | None = None,
    reason: str = "passed its gate",
    approver: str | None = None,
) -> dict[str, Any]:
    """Make the challenger champion, if it passed and the mode lets it; a refusal leaves the champion.

    Parameters
    ----------
    mode
        As chosen for this run; default: that of the installation. ``manual`` needs an ``approver``.
    approver
        The person who said so; default: the gate decides.
    """
    from models import registry

    mode = promotion_mode(market, mode)
    waits = mode == "manual" and approver is None
    if not passed or mode == "dry_run" or waits:
        why = "its gate refused it" if not passed else "it waits for `nightjar promote`" if waits else mode
        log.warning("Version %s is not promoted (%s); the champion stays.", version, why)
        return {"champion": None, "refused": not passed}
    return registry.promote(load_settings(market), version, reason, approver or "gate")


def reject_model(market: str, version: str, reason: str, approver: str) -> dict[str, Any]:
    """Keep the champion, and the reason with the version."""
    from models import registry

    return registry.reject(load_settings(market), version, reason, approver)


def pin_model(ds: str, market: str, run_id: str) -> dict[str, Any]:
    """Decide the model of the day and the weights of its objectives, once."""
    from jobs import objectives
    from models import registry
    from models.variants import pipelines

    settings, day = load_settings(market), dt.date.fromisoformat(ds)
    weights = objectives.pin(settings, day, run_id)
    made = registry.pin(settings, day, run_id)
    if any(pipeline.ranker == registry.CHALLENGER for pipeline in pipelines(settings.market, day)):
        registry.pin(settings, day, run_id, registry.CHALLENGER)
    moved = sorted(row["content_type"] for row in weights if row["moved_ds"] == day)
    return {"model": made["model"], "version": made["version"], "weights_moved": moved}


def reset_objectives(ds: str, market: str, content_type: str, reason: str, run_id: str) -> dict[str, Any]:
    """Give a content type the first weights of its objectives again, on purpose and on record."""
    from jobs import objectives

    day = dt.date.fromisoformat(ds)
    made = objectives.reset(load_settings(market), day, content_type, reason, run_id)
    return {"ds": ds, **{name: made[name] for name in ("content_type", "ctr", "cvr", "dwell", "reason")}}


def repin_model(ds: str, market: str, version: str, reason: str, run_id: str, force: bool = False) -> dict[str, Any]:
    """Give a day another version of the model, on purpose and on record."""
    from models import registry

    made = registry.repin(load_settings(market), dt.date.fromisoformat(ds), version, reason, run_id, force)
    return {"ds": ds, "model": made["model"], "version": made["version"], "reason": reason}


# -- whole nights -------------------------------------------------------------------------------


def night(ds: str, market: str, run_id: str, say=log.info) -> dict[str, Any]:
    """The night without Airflow: the same steps in the same order, in one process and session."""
    settings = load_settings(market)
    spark = connect(settings)
    try:
        landing_complete(ds, market, wait=False)
        build_days(ds, ds, market, run_id, spark, say)
        if training_due(ds, market):
            say("train")
            challenger = fit_rankers(ds, market, run_id)
            promote(market, challenger["version"], challenger["passed"])
        say("pin the model")
        pin_model(ds, market, run_id)
        for group in ("fit", "candidates", "serving"):
            say(group)
            run_group(group, ds, market, run_id, spark=spark)
        say("release")
        release = publish_release(ds, market, run_id, spark=spark)
        say("audit")
        run_group("audit", ds, market, run_id, spark=spark)
    finally:
        spark.stop()
    write_report(ds, market, run_id)
    return release


def build_days(
    first: str,
    last: str,
    market: str,
    run_id: str,
    spark: SparkSession | None = None,
    say=log.info,
) -> None:
    """Bronze, silver, features and examples of a range of days, each table in one go."""
    for group in REBUILT:
        build_range(group, first, last, market, run_id, spark, say)


def build_range(
    group: str,
    first: str,
    last: str,
    market: str,
    run_id: str,
    spark: SparkSession | None = None,
    say=log.info,
) -> None:
    """Build and publish a group for a range of days, through its gate where it has one."""
    say(group)
    run_group(group, first, market, run_id, spark=spark, until=last)
    if group in GATES:
        say(f"{group} gate")
        run_gate(group, last, market, run_id, spark=spark)


def write_report(ds: str, market: str, run_id: str) -> str:
    """Write the report of a night that is done and send its alerts, owed ones too; returns the report's path."""
    from jobs import alerts, report

    settings = load_settings(market)
    made = report.night_report(settings, ds, run_id)
    path = report.write_report(settings, made)
    alerts.alert_night(settings, made)
    alerts.send_owed(settings)
    return str(path)


def task_failed(ds: str, market: str, task: str, owner: str, error: str, run_id: str) -> str:
    """Write the report of a night that a task stopped, and page the task's owner too; returns the report's path.

    The digest waits until the night is done.
    """
    from jobs import alerts, report

    settings = load_settings(market)
    failure = alerts.of_failure(settings, ds, task, owner, error)
    try:
        made = report.night_report(settings, ds, run_id)
        path = report.write_report(settings, made)
    except Exception:
        # the report may be what failed: its owner is told all the same
        alerts.deliver(settings, dt.date.fromisoformat(ds), alerts.PAGE, [failure])
        raise
    alerts.page_night(settings, made, [failure])
    return str(path)


def run_failed(dag: str, ds: str | None, market: str, task: str, owner: str, error: str) -> int:
    """Page the owner of a task that failed for good in another DAG than `nightly`; returns the pages sent.

    ``ds`` is the day that the run is about; None: it has none, and today is named.
    """
    from jobs import alerts

    settings, day = load_settings(market), dt.date.fromisoformat(ds) if ds else dt.datetime.now(dt.UTC).date()
    return alerts.deliver(settings, day, alerts.PAGE, [alerts.of_failure(settings, str(day), task, owner, error, dag)])


def watch(market: str) -> int:
    """Send pages that are owed, and warn where the newest night that is due has no release; returns how many."""
    from jobs import alerts

    settings = load_settings(market)
    return alerts.send_owed(settings) + alerts.alert_late(settings, dt.datetime.now(dt.UTC))


def review(ds: str, market: str, kind: str) -> list[dict[str, Any]]:
    """Make findings of what the audits saw up to ``ds``; returns the new ones."""
    from jobs import reviews

    def owner_of(table: str) -> str:
        return catalog().node(table).contract.owner

    return reviews.review(load_settings(market), dt.date.fromisoformat(ds), kind, owner_of)


def stage_backfill(
    tables: Sequence[str], first: str, last: str, market: str, run_id: str, task_id: str = "cli", try_number: int = 1
) -> str:
    """Rebuild days aside and compare them with what is live; returns the comparison as a Markdown table."""
    from jobs import backfill

    days = DayRange(dt.date.fromisoformat(first), dt.date.fromisoformat(last))
    with opened(market, run_id, task_id, try_number) as runner:
        return backfill.markdown(backfill.summary(backfill.stage(runner, tables, days)))


def swap_backfill(market: str, run_id: str, task_id: str = "cli", try_number: int = 1) -> dict[str, int]:
    """Publish what a backfill staged; returns the rows of each table."""
    from jobs import backfill

    with opened(market, run_id, task_id, try_number) as runner:
        return backfill.swap(runner)


def discard_backfill(market: str, run_id: str) -> bool:
    """Delete what a backfill staged and did not publish; True where there was something."""
    from jobs import backfill

    with opened(market, run_id, "discard") as runner:
        return backfill.discard(runner)


def run_nodes(
    runner: Runner, nodes: list[Node], days: DayRange, ranges: Mapping[str, DayRange] | None = None
) -> dict[str, int]:
    """Build and publish chosen nodes; a group with a gate passes it here too, and lists become a release.

    ``ranges``: what is built for more than ``days``; by default what landed asks for (`jobs.healing`).
    """
    from quality.gate import run_gate as expectations

    rows: dict[str, int] = {}
    for group in GROUPS:
        chosen = [node for node in nodes if node.contract.group == group.name]
        if not chosen:
            continue
        wider = healing.night_ranges(runner.lake, runner.catalog, group.name, days) if ranges is None else ranges
        made = runner.build_group(chosen, days, publish=not group.gate, ranges=wider)
        if group.gate:
            expectations(runner, made, group.name, days.last)
            served = [s for s in made if runner.catalog.table(s.table).append]
            if served:
                _refuse_partial_release(runner, made, days)
                _release(runner, made, days.last)
            else:
                runner.publish(made)
        rows |= {staged.table: sum(staged.rows.values()) for staged in made}
    return rows


def run_as_arrived(runner: Runner, target: str, days: DayRange) -> dict[str, int]:
    """Build a table and all that it is made from, day by day, from what had arrived by the end of each: a replay.

    As in a night, silver goes back as far as rows may come late. Bronze, which is kept by arrival, is read as it is.

    Returns
    -------
    dict
        Rows per table of the last build.

    Raises
    ------
    SettingsError
        The lake is not a private one: what is served knows the late rows.
    """
    if runner.settings.read_through is None:
        raise SettingsError(
            "Days as they had arrived are a replay, and would replace what is known of them now: give the replay a "
            "lake of its own (--lake NAME --read-through production)."
        )
    runner.catalog = runner.catalog.as_arrived()
    nodes = [runner.catalog.node(name) for name in runner.catalog.upstream(target)]
    nodes = [node for node in nodes if node.contract.group != "bronze"]
    silver = [node.name for node in nodes if node.contract.group == "silver"]
    late = dt.timedelta(days=runner.settings.market.late_days)
    rows: dict[str, int] = {}
    for day in days:
        rows |= run_nodes(runner, nodes, DayRange.day(day), dict.fromkeys(silver, DayRange(day - late, day)))
    return rows


def run_ranges(runner: Runner, ranges: Mapping[str, DayRange]) -> dict[str, int]:
    """Build and publish tables, each for its own days: those of a group together, widened to its longest range."""
    rows: dict[str, int] = {}
    for group in GROUPS:
        nodes = [node for node in runner.catalog.group(group.name) if node.name in ranges]
        if nodes:
            days = DayRange.covering(ranges[n.name] for n in nodes)
            rows |= run_nodes(runner, nodes, days)
    return rows


def _refuse_partial_release(runner: Runner, made: list[Staged], days: DayRange) -> None:
    wanted = {n.name for n in runner.catalog.group("serving") if isinstance(n.contract, Table) and n.contract.append}
    missing = wanted - {staged.table for staged in made}
    if missing or len(days) != 1:
        raise ContractError(
            f"Served lists are released together, a day at a time: build {sorted(wanted)} with one --ds "
            "(`nightjar run candidates.ranked+ --ds DAY`)."
        )
