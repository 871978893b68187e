"""Feedback of the day by the landed files alone: what consent says since the release."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from pyspark.sql import functions as F

from jobs import feedback, steps
from jobs.contract import DayRange
from jobs.keys import surrogate
from jobs.landing import INTRADAY, day_folder, write_manifest

D1, D2 = dt.date(2024, 3, 1), dt.date(2024, 3, 2)


def land(settings, day, rows, part=""):
    folder = day_folder(settings.landing, "demo", "consent", day)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {"user_id": user, "purpose": "personalisation", "granted": granted, "at": f"2024-03-{at}:00Z"}
        for user, granted, at in rows
    ]
    name = f"{part or 'all'}.jsonl"
    (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_manifest(folder, "consent", day, {name: len(lines)}, part)


@pytest.mark.parametrize("order", [1, -1])
def test_during_the_day_too_the_last_word_on_consent_holds(settings, monkeypatch, order):
    monkeypatch.setenv("NIGHTJAR_SPARK", settings.spark)
    land(settings, D1, [("late grant", False, "01T21:00"), ("withdraws", True, "01T09:00")])
    now = [
        ("late grant", True, "01T09:00"),  # older than what the night knows
        ("withdraws", True, "02T08:00"),
        ("withdraws", False, "02T09:00"),
        ("grants again", False, "02T08:00"),
        ("grants again", True, "02T09:00"),
    ]
    land(settings, D2, now[::order], f"{INTRADAY}-1000")
    with steps.opened("demo", "run") as runner:
        nodes = [runner.catalog.node(name) for name in ("bronze.consent", "silver.consent")]
        steps.run_nodes(runner, nodes, DayRange.day(D1))
        _, withdrawn = feedback.told(runner, D1, feedback.arrived(settings, D1))
        users = runner.spark.createDataFrame([(name,) for name, *_ in now], "id string").distinct()
        keys = users.select("id", surrogate(settings.market, "user", F.col("id")).alias("key")).collect()
    told = set(withdrawn["user_id"].to_pylist())
    assert {r["id"] for r in keys if r["key"] in told} == {"late grant", "withdraws"} and len(told) == 2
