"""Days in any order, skipped, landed late, built again, killed half-way: tables end as a clean serial run leaves them.

A day lands when it is first run, so that what is run before it knows nothing of it.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jobs import steps
from jobs.catalog import Catalog
from jobs.contract import DayRange, Table
from jobs.healing import night_ranges
from jobs.lake import Lake
from jobs.planning import REBUILT
from jobs.releases import content_of
from jobs.settings import load_settings, save_market
from jobs.simulator import WorldConfig, demo_market, simulate
from jobs.stages import Stages

ROOT = Path(__file__).resolve().parents[2]
FIRST = dt.date(2024, 3, 1)
QUICK = ("features.user_action_sequence", "silver.users")
"""Late facts, a window over them, and snapshots that read their own yesterday."""
WIDE = (*QUICK, "features.user_activity", "features.user_history", "features.user_context", "features.user_profile")
POINTS = ("stage", "publish")


def part_of(wanted: list[str]) -> Catalog:
    """Some nodes with all that they are made from."""
    catalog = steps.catalog()
    found = set(wanted)
    for each in reversed(catalog.order):
        if each in found:
            found |= set(catalog.node(each).upstream)
    return Catalog({name: node for name, node in catalog.nodes.items() if name in found})


def apply(wanted: list[str], day: dt.date, run_id: str, attempt: int) -> None:
    """The night of a day as far as its tables go; gates apart, which hold a group back and change no row."""
    days = DayRange.day(day)
    with steps.opened("demo", run_id, f"day-{day}", attempt) as runner:
        runner.catalog = part_of(wanted)
        for group in REBUILT:
            ranges = night_ranges(runner.lake, runner.catalog, group, days)
            runner.build_group(runner.catalog.group(group), days, ranges=ranges)


def deliver(day: dt.date, without: tuple[str, ...] = ()) -> None:
    """Land a day, or what of it has not landed yet."""
    landing = load_settings("demo").landing
    for source in (landing.parent / "sources" / "demo").glob(f"*/ds={day}"):
        target = landing / "demo" / source.parent.name / source.name
        if source.parent.name not in without and not target.exists():
            shutil.copytree(source, target)


def apply_and_die(wanted: list[str], day: str, run_id: str, attempt: int, point: str, nth: int) -> None:
    """The same, killed at the ``nth`` table that is checked (and is not published) or published."""
    owner, name = (Stages, "check") if point == "stage" else (Lake, "publish")
    real, calls = getattr(owner, name), []

    def dying(self, *args, **more):
        calls.append(1)
        if len(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, *args, **more)

    setattr(owner, name, dying)
    apply(wanted, dt.date.fromisoformat(day), run_id, attempt)


def plan_of(seed: int, days: int, kills: int, reruns: int) -> list[tuple]:
    """A random plan: every day at least once, some again, some killed at a random point before they are run."""
    draw = random.Random(seed)
    order = [FIRST + dt.timedelta(days=n) for n in range(days)]
    draw.shuffle(order)
    plan: list[tuple] = [("run", day) for day in order]
    for _ in range(reruns):
        plan.insert(draw.randrange(len(plan) + 1), ("run", draw.choice(order)))
    for _ in range(kills):
        at = draw.randrange(len(plan))
        plan.insert(at, ("kill", plan[at][1], draw.choice(POINTS), draw.randint(2, 5)))
    return plan


def follow(plan: list[tuple], wanted: list[str], spark: str) -> None:
    for number, (kind, day, *how) in enumerate(plan):
        deliver(day, *(how if kind == "run" else ()))
        if kind == "run":
            apply(wanted, day, "plan", number)
        if kind != "kill":
            continue
        code = (
            "import json, sys; from tests.faults import test_any_order as t; t.apply_and_die(*json.loads(sys.argv[1]))"
        )
        arguments = [list(wanted), str(day), "plan", number, *how]
        child = subprocess.run(
            [sys.executable, "-c", code, json.dumps(arguments)],
            cwd=ROOT,
            env={**os.environ, "NIGHTJAR_SPARK": spark, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            timeout=300,
        )
        assert child.returncode == -signal.SIGKILL, child.stderr.decode()[-2000:]


def contents(wanted: list[str], days: int) -> dict[str, str]:
    """Hash of the rows of every table."""
    with steps.opened("demo", "reader") as runner:
        names = [n.name for n in part_of(wanted).nodes.values() if isinstance(n.contract, Table)]
        every = DayRange(FIRST, FIRST + dt.timedelta(days=days - 1))
        return {name: content_of(runner, name, every) for name in names}


@pytest.fixture
def land(tmp_path, monkeypatch, spark_server):
    """Makes a small world with late rows, and chooses which of several lakes is built from what lands of it."""
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path))
    monkeypatch.setenv("NIGHTJAR_SPARK", spark_server)

    def make(days: int):
        config = WorldConfig(users=40, items=200, creators=20, days=days, seed=11, late_rate=0.1, too_late_rate=0.02)
        # windows follow any late row at once: a serial run would else end with some that wait for the weekly night
        save_market(replace(demo_market(config), heal_late_share=0.0))
        simulate(config, tmp_path / "sources", tmp_path / "truth")

        def choose(name: str) -> None:
            monkeypatch.setenv("NIGHTJAR_LAKE", str(tmp_path / name))
            monkeypatch.setenv("NIGHTJAR_LANDING", str(tmp_path / f"landing-{name}"))

        return choose

    return make


def serial(land, wanted: list[str], days: int, spark: str):
    """What a clean serial run ends with, and the function that chooses another lake."""
    choose = land(days)
    choose("serial")
    follow([("run", FIRST + dt.timedelta(days=n)) for n in range(days)], wanted, spark)
    expected = contents(wanted, days)
    assert len(set(expected.values())) == len(expected), "tables of the serial run are empty"
    return choose, expected


def check(land, seeds: list[int], wanted: list[str], days: int, kills: int, reruns: int, spark: str) -> None:
    choose, expected = serial(land, wanted, days, spark)
    for seed in seeds:
        plan = plan_of(seed, days, kills, reruns)
        choose(f"plan-{seed}")
        follow(plan, wanted, spark)
        found = contents(wanted, days)
        assert {name for name in expected if found[name] != expected[name]} == set(), f"seed {seed}: {plan}"


D1, D2, D3, D4 = (FIRST + dt.timedelta(days=n) for n in range(4))
LATER = {
    "skipped, and run when later days had been": [("run", D1), ("run", D3), ("run", D4), ("run", D2)],
    "landed when the next day had been run, and never run itself": [
        ("run", D1),
        ("run", D3),
        ("land", D2),
        ("run", D4),
    ],
    "parts of it landed after its night": [
        ("run", D1),
        ("run", D2, ("users", "events")),
        ("run", D3),
        ("land", D2),
        ("run", D4),
    ],
}


def test_a_day_that_comes_later_changes_what_later_days_made_of_its_absence(land, spark_server):
    choose, expected = serial(land, list(QUICK), 4, spark_server)
    for name, plan in LATER.items():
        choose(name)
        follow(plan[:2], list(QUICK), spark_server)
        users = Lake(load_settings("demo")).counts("silver.users")
        newest = max(users)
        assert users[newest] >= users[str(D1)] > 0, "a snapshot over a gap holds what was known before it"
        early = contents(list(QUICK), 4)
        assert early["silver.users"] != expected["silver.users"]
        follow(plan[2:], list(QUICK), spark_server)
        found = contents(list(QUICK), 4)
        assert {table for table in expected if found[table] != expected[table]} == set(), name


def test_a_random_plan_ends_as_a_serial_run(land, spark_server):
    check(land, [1], list(QUICK), days=3, kills=1, reruns=0, spark=spark_server)


@pytest.mark.slow
def test_many_random_plans_end_as_a_serial_run(land, spark_server):
    check(land, list(range(10, 16)), list(WIDE), days=5, kills=3, reruns=2, spark=spark_server)
