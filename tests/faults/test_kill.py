"""Killed processes: the old day stays, a rerun heals, nothing of the dead attempt goes on."""

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from jobs import releases, steps
from jobs.catalog import Catalog
from jobs.contract import Column, DayRange, Node, Table, TableInput
from jobs.errors import PublishError
from jobs.lake import Lake
from jobs.locks import exclusive
from jobs.session import interrupt
from jobs.settings import load_settings, save_market
from jobs.simulator import WorldConfig, demo_market, simulate
from tests.faults.test_any_order import part_of

ROOT = Path(__file__).resolve().parents[2]
DAY, LAST = "2024-03-01", "2024-03-03"
NAMES = ("bronze.events", "bronze.users", "silver.events", "silver.users")
LISTS = Table(
    name="serving.lists",
    group="serving",
    owner="test",
    description="A list of everybody.",
    columns=[
        Column("release_id", "string", "Release."),
        Column("user_id", "bigint", "User.", subject=True),
        Column("rank", "int", "Place."),
    ],
    keys=["user_id"],
    inputs=[TableInput("silver.users")],
    replace_by="release_id",
    append=True,
)


def lists(users, *, days, params):
    return users.select("ds", "user_id", F.lit(1).alias("rank"))


@pytest.fixture
def landed(home, spark_server):
    # without late rows a day is the same whether or not the next one is known
    config = WorldConfig(users=60, items=240, creators=24, days=3, seed=5, late_rate=0.0, too_late_rate=0.0)
    save_market(demo_market(config))
    settings = replace(load_settings("demo"), spark=spark_server)
    simulate(config, settings.landing, home / "truth")
    return settings


CHILD = """
import os, signal, sys
from jobs import steps
from jobs.lake import Lake
from jobs.runner import Runner
from jobs.stages import Stages
point = sys.argv[1]
if point == "stage":
    real = Stages.check
    Stages.check = lambda self, *a: os.kill(os.getpid(), signal.SIGKILL)
else:
    real = Lake.publish
    count = [0]
    def publish(self, *a, **k):
        count[0] += 1
        if count[0] == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, *a, **k)
    Lake.publish = publish
steps.run_group("bronze", "{day}", "demo", "run", "bronze", 1)
""".replace("{day}", DAY)


@pytest.mark.parametrize("point", ["stage", "publish"])
def test_a_killed_task_is_healed_by_its_next_try(landed, point):
    child = subprocess.run(
        [sys.executable, "-c", CHILD, point],
        env={**os.environ, "NIGHTJAR_SPARK": landed.spark},
        capture_output=True,
        timeout=180,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()[-2000:]
    lake = Lake(landed)
    whole = [t for t in ("bronze.users", "bronze.items", "bronze.events") if lake.days(t)]
    assert len(whole) < 3  # it died before it was done

    steps.run_group("bronze", DAY, "demo", "run", "bronze", 2)
    for feed in ("users", "items", "events"):
        assert [str(d) for d in lake.days(f"bronze.{feed}")] == [DAY]
        live = {str(p) for p in lake.open(f"bronze.{feed}").file_uris()}
        on_disk = {str(p) for p in lake.path(f"bronze.{feed}").rglob("*.parquet")}
        assert on_disk == {p.removeprefix("file://") for p in live}  # the dead try's files are swept


def test_what_an_attempt_left_running_is_interrupted_through_its_session(landed):
    session = str(uuid.uuid4())
    code = (
        "import sys; from jobs.session import connect; from jobs.settings import load_settings; "
        "s = connect(load_settings('demo'), sys.argv[1]); print('begun', flush=True); "
        "s.range(0, 10**12, 1, 2).selectExpr('sum(hash(id) % 7)').collect()"
    )
    env = {**os.environ, "NIGHTJAR_SPARK": landed.spark}
    with subprocess.Popen(
        [sys.executable, "-c", code, session], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdout.readline() == b"begun\n"
        time.sleep(3)
        interrupt(landed, session)
        # a query of hours ends at once: its server dropped it
        assert child.wait(timeout=60) != 0


def test_a_zombie_cannot_publish(tmp_path):
    with exclusive(tmp_path, "silver.events") as zombie:
        zombie.verify()
    with exclusive(tmp_path, "silver.events") as newer:
        newer.verify()
        with pytest.raises(PublishError, match="took over"):
            zombie.verify()


def test_a_lock_is_waited_for_and_then_refused(tmp_path):
    with (
        exclusive(tmp_path, "t"),
        pytest.raises(PublishError, match="being written by another run"),
        exclusive(tmp_path, "t", timeout_s=0.2),
    ):
        raise AssertionError("two holders")


# -- a few tables, built as by a night, a backfill and commands --------------------------------------


def choose_few() -> None:
    """Steps work on a few tables and their lists, and do not wait for the declared checks."""
    import quality.gate

    few = Catalog({**part_of(["silver.events", "silver.users"]).nodes, LISTS.name: Node(LISTS, lists)})
    steps._catalog = few
    quality.gate.run_gate = lambda *about: None


@pytest.fixture
def few(landed, monkeypatch):
    """The lake of a few tables."""
    import quality.gate

    monkeypatch.setenv("NIGHTJAR_SPARK", landed.spark)
    monkeypatch.setattr(steps, "_catalog", None)
    monkeypatch.setattr(quality.gate, "run_gate", None)
    choose_few()
    return Lake(landed)


def build(run_id: str, first: str, last: str) -> None:
    with steps.opened("demo", run_id) as runner:
        for group in ("bronze", "silver"):
            days = DayRange(dt.date.fromisoformat(first), dt.date.fromisoformat(last))
            runner.build_group(runner.catalog.group(group), days)


def die(step: str, arguments: list, method: str, nth: int) -> None:
    """Run a step and be killed as the lake's method is called the nth time."""
    real, calls = getattr(Lake, method), []

    def dying(self, *args, **more):
        calls.append(1)
        if len(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, *args, **more)

    setattr(Lake, method, dying)
    getattr(steps, step)(*arguments)


def child(function: str, *arguments) -> subprocess.Popen:
    code = (
        "import json, sys; from tests.faults import test_kill as t; t.choose_few(); "
        f"t.{function}(*json.loads(sys.argv[1]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )


def ends(process: subprocess.Popen, code: int) -> None:
    _, errors = process.communicate(timeout=240)
    assert process.returncode == code, errors.decode()[-2000:]


def content(days: DayRange) -> dict[str, str]:
    with steps.opened("demo", "reader") as runner:
        return {name: releases.content_of(runner, name, days) for name in NAMES}


def commits(lake: Lake, table: str) -> list[dict[str, set[str]]]:
    """The paths that each commit of a table added and removed."""
    made = []
    for log in sorted((lake.path(table) / "_delta_log").glob("*.json")):
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        made.append({kind: {a[kind]["path"] for a in actions if kind in a} for kind in ("add", "remove")})
    return made


def whole(lake: Lake, *tables: str) -> None:
    """No commit adds and removes one file, and every file that is on disk is live."""
    for table in tables:
        assert not any(commit["add"] & commit["remove"] for commit in commits(lake, table))
        live = {path.removeprefix("file://") for path in lake.open(table).file_uris()}
        staged = {str(path) for path in lake.path(table).glob("stage/**/ds=*/*.parquet")}
        assert {path for path in staged if "/kept=false/" not in path} == live


def test_a_gate_that_is_killed_between_its_tables_is_finished_by_its_next_try(few):
    with steps.opened("demo", "run", "silver") as runner:
        bronze, silver = (runner.catalog.group(name) for name in ("bronze", "silver"))
        runner.build_group(bronze, DayRange.day(DAY))
        runner.save_stage("silver", runner.build_group(silver, DayRange.day(DAY), publish=False))
    # each of the two tables is published after the rows that it refused
    ends(child("die", "run_gate", ["silver", DAY, "demo", "run", "gate", 1], "publish", 3), -signal.SIGKILL)
    tables = ("silver.events", "silver.users")
    assert sorted(few.counts(table) != {} for table in tables) == [False, True]
    rows = steps.run_gate("silver", DAY, "demo", "run", "gate", 2)
    assert {table: few.counts(table) for table in tables} == {table: {DAY: rows[table]} for table in tables}
    logged = [r["table"] for r in few.rows("ops.run", ["table"], status="published").to_pylist()]
    assert sorted(name for name in logged if name in tables) == sorted(tables)
    whole(few, *tables)


def test_a_release_whose_lists_are_there_and_whose_row_is_not_is_made_by_the_next_try(few):
    build("night", DAY, DAY)
    steps.run_group("serving", DAY, "demo", "run", "serving")
    # ops.run is written for the tables beside the lists (there are none) and for the lists, ops.release third
    ends(child("die", "publish_release", [DAY, "demo", "run", "release", 1], "append", 3), -signal.SIGKILL)
    published = few.counts(LISTS.name)
    assert published == few.counts("silver.users") and releases.current(few) is None
    made = steps.publish_release(DAY, "demo", "run", "release", 2)
    now = releases.current(few)
    assert (now["release_id"], now["kind"], now["sequence"]) == (made["release_id"], "nightly", 1)
    assert few.counts(LISTS.name) == published
    assert set(few.rows(LISTS.name)["release_id"].to_pylist()) == {made["release_id"]}
    whole(few, LISTS.name)


def test_a_swap_that_is_killed_between_its_tables_is_finished_by_its_next_try(few):
    build("night", DAY, DAY)
    before = content(DayRange.day(DAY))
    steps.stage_backfill(["bronze.users+"], DAY, DAY, "demo", "fix", "stage")
    ends(child("die", "swap_backfill", ["demo", "fix", "swap", 1], "publish", 2), -signal.SIGKILL)
    assert (few.version("bronze.users"), few.version("silver.users")) == (2, 1)
    steps.swap_backfill("demo", "fix", "swap", 2)
    assert (few.version("bronze.users"), few.version("silver.users")) == (2, 2)
    assert content(DayRange.day(DAY)) == before
    assert not any(commit["add"] & commit["remove"] for table in NAMES for commit in commits(few, table))


def test_backfill_night_and_command_at_once_on_overlapping_days_end_as_a_serial_run(few, monkeypatch):
    # a day is made of its files and of the day before, so each begins with the first
    runs = {"backfill": LAST, "night": DAY, "command": "2024-03-02"}
    days = DayRange(dt.date.fromisoformat(DAY), dt.date.fromisoformat(LAST))
    children = [child("build", run_id, DAY, last) for run_id, last in runs.items()]
    for each in children:
        ends(each, 0)
    at_once = content(days)
    for name in NAMES:
        log = few.open(name).history()
        said = [json.loads(entry["userMetadata"]) for entry in log if entry.get("userMetadata")]
        assert {each["run_id"] for each in said} == set(runs)
        assert sorted(each["token"] for each in said) == [1, 2, 3]
    monkeypatch.setenv("NIGHTJAR_LAKE", str(few.settings.home / "serial"))
    build("serial", DAY, LAST)
    assert at_once == content(days)
