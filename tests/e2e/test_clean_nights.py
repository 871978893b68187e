"""Thirty nights of a market without faults: whoever is woken by a page must have reason to trust it.

People are many enough that groups of 200 are judged: by gender, age and region, in fairness and in health. Every
problem is printed with its check (``pytest -s``), the warnings too.
"""

from __future__ import annotations

import datetime as dt

import pytest

from jobs import steps
from jobs.lake import Lake
from jobs.report import night_report
from jobs.session import connect
from jobs.settings import Settings, load_settings, save_market
from jobs.simulator import WorldConfig, demo_market, simulate
from tests.e2e.conftest import enter

HISTORY, NIGHTS = 7, 30


@pytest.mark.slow
def test_thirty_clean_nights_have_at_most_one_false_failure(tmp_path, monkeypatch, spark_server):
    enter(tmp_path, monkeypatch)
    config = WorldConfig(users=1500, items=600, creators=60, days=HISTORY + NIGHTS, seed=11)
    save_market(demo_market(config), tmp_path)
    settings = load_settings("demo")
    simulate(config, settings.landing, tmp_path / "truth")
    first = dt.date.fromisoformat(config.start)
    days = [first + dt.timedelta(days=n) for n in range(HISTORY + NIGHTS)]
    spark = connect(settings)
    steps.build_days(str(first), str(days[HISTORY - 1]), "demo", "history", spark)
    spark.stop()
    failures = []
    for day in days[HISTORY:]:
        steps.night(str(day), "demo", f"night-{day}")
        for p in night_report(settings, day)["problems"]:
            print(f"{day} {p['severity']} {p['section']}, {p['subject']} ({p['threshold']}): {p['said']}", flush=True)
            failures += [(day, p["said"])] if p["severity"] == "fail" else []
    assert judged(settings, days[-1]) >= {"gender", "age_band", "region"}
    assert len(failures) <= 1, failures


def judged(settings: Settings, day: dt.date) -> set[str]:
    """Attributes of which groups were large enough to be held against each other."""
    rows = Lake(settings).rows("audit.fairness", ds=day, kind="difference", metric="coverage").to_pylist()
    return {row["attribute"] for row in rows if row["verdict"] in ("ok", "warn")}
