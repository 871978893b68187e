"""Days in any order, built again, killed half-way: the tables end as a clean serial run leaves them."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import steps
from jobs.catalog import GROUPS, Catalog
from jobs.contract import DayRange, Table
from jobs.healing import affected
from jobs.lake import Lake
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
    """A day's deliveries reach everything that they touch, up to the newest day that was ever built."""
    with steps.opened("demo", run_id, f"day-{day}", attempt) as runner:
        runner.catalog = part_of(wanted)
        bronze = [node.name for node in runner.catalog.group("bronze")]
        newest = max([day, *(d for name in bronze for d in runner.lake.days(name))])
        ranges = affected(runner.catalog, dict.fromkeys(bronze, DayRange.day(day)), newest)
        for group in GROUPS:
            nodes = [node for node in runner.catalog.group(group.name) if node.name in ranges]
            if nodes:
                runner.build_group(nodes, DayRange.covering(ranges[node.name] for node in nodes))


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
        if kind == "run":
            apply(wanted, day, "plan", number)
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
    """Lands a small world with late rows, and chooses which of several lakes is built from it."""
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path))
    monkeypatch.setenv("NIGHTJAR_SPARK", spark_server)

    def make(days: int):
        config = WorldConfig(users=40, items=200, creators=20, days=days, seed=11, late_rate=0.1, too_late_rate=0.02)
        save_market(demo_market(config))
        simulate(config, load_settings("demo").landing, tmp_path / "truth")

        def choose(name: str) -> None:
            monkeypatch.setenv("NIGHTJAR_LAKE", str(tmp_path / name))

        return choose

    return make


def check(land, seeds: list[int], wanted: list[str], days: int, kills: int, reruns: int, spark: str) -> None:
    choose = land(days)
    choose("serial")
    follow([("run", FIRST + dt.timedelta(days=n)) for n in range(days)], wanted, spark)
    expected = contents(wanted, days)
    assert len(set(expected.values())) == len(expected), "tables of the serial run are empty"
    for seed in seeds:
        plan = plan_of(seed, days, kills, reruns)
        choose(f"plan-{seed}")
        follow(plan, wanted, spark)
        found = contents(wanted, days)
        assert {name for name in expected if found[name] != expected[name]} == set(), f"seed {seed}: {plan}"


def test_a_random_plan_ends_as_a_serial_run(land, spark_server):
    check(land, [1], list(QUICK), days=3, kills=1, reruns=0, spark=spark_server)


@pytest.mark.slow
def test_many_random_plans_end_as_a_serial_run(land, spark_server):
    check(land, list(range(10, 16)), list(WIDE), days=5, kills=3, reruns=2, spark=spark_server)
