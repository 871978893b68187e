"""Killed processes: the old day stays, a rerun heals, nothing of the dead attempt goes on."""

import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import replace

import pytest

from jobs import steps
from jobs.contract import DayRange
from jobs.errors import PublishError
from jobs.lake import Lake
from jobs.locks import exclusive
from jobs.session import interrupt
from jobs.settings import load_settings, save_market
from jobs.simulator import WorldConfig, demo_market, simulate

DAY = "2024-03-01"


@pytest.fixture
def landed(home, spark_server):
    config = WorldConfig(users=60, items=240, creators=24, days=2, seed=5)
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


def test_overlapping_runs_end_in_a_whole_day(landed):
    """A backfill, a night and a command on the same day at once: each publish is whole, the last one stays."""
    children = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"from jobs import steps; steps.run_group('bronze', '{DAY}', 'demo', 'run-{n}', 'b', 1)",
            ],
            env={**os.environ, "NIGHTJAR_SPARK": landed.spark},
            stderr=subprocess.PIPE,
        )
        for n in range(3)
    ]
    for child in children:
        _, errors = child.communicate(timeout=240)
        assert child.returncode == 0, errors.decode()[-2000:]
    with steps.opened("demo", "reader") as runner:
        from jobs.landing import landed_rows

        for feed in ("users", "events", "impressions"):
            day = DayRange.day(DAY).first
            assert runner.lake.counts(f"bronze.{feed}") == {DAY: landed_rows(landed.landing, "demo", feed, day)}
            path = str(runner.lake.path(f"bronze.{feed}"))
            rows = runner.spark.read.format("delta").load(path).count()
            assert rows == runner.lake.counts(f"bronze.{feed}")[DAY]
