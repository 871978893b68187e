"""Health as it is built: retention of new and old people has a past, and so lines by weekday."""

from __future__ import annotations

import datetime as dt

import pytest

from jobs.contract import DayRange, ddl
from jobs.runner import conform
from quality import diversity, health

SUNDAY = dt.date(2024, 3, 31)
ACTS = [
    "logins",
    "searches",
    "clicks",
    "favourites",
    "add_to_carts",
    "purchases",
    "likes",
    "comments",
    "shares",
    "negatives",
]
DAILY = "ds date, user_id bigint, " + ", ".join(f"{name} int" for name in ACTS)
METRICS = "ds date, metric string, dimension string, value_group string, in_force boolean, value double, n bigint"
OLD, NEW = range(10), range(10, 15)


def day(age: int) -> dt.date:
    return SUNDAY - dt.timedelta(days=age)


def came(user: int, age: int) -> bool:
    """Old people come every day; on the last Sunday two of ten. New ones joined on the 30th and came then alone."""
    return age == 1 if user in NEW else age > 0 or user < 2


@pytest.fixture(scope="module")
def rows(spark):
    def empty(contract):
        return spark.createDataFrame([], ddl(contract.schema))

    acted = [(day(age), u, 1, *[0] * 9) for age in range(60) for u in (*OLD, *NEW) if came(u, age)]
    # being shown something is not coming
    acted += [(day(0), 9, *[0] * 10)]
    profile = [(SUNDAY, u, 400 if u in OLD else 1) for u in (*OLD, *NEW)] + [(SUNDAY, 99, None)]
    ratios = [(SUNDAY, "cost_ratio_direct", 0.6), (SUNDAY, "cost_ratio", 0.9), (day(1), "cost_ratio", None)]
    metrics = [(ds, metric, "all", "all", True, value, 50) for ds, metric, value in ratios]
    # eight items of those who were always there, six of one who came ten days ago, two of one who came yesterday
    supply = [(day(age), c, 4) for age in range(60) for c in (1, 2)] + [(day(age), 3, 6) for age in range(11)]
    supply += [(day(age), 4, 2) for age in range(2)]
    made = health.build(
        spark.createDataFrame(metrics, METRICS),
        empty(diversity.CONTRACT),
        spark.createDataFrame(acted, DAILY),
        spark.createDataFrame(profile, "ds date, user_id bigint, tenure_days int"),
        spark.createDataFrame(supply, "ds date, creator_id bigint, items int"),
        days=DayRange.day(SUNDAY),
        params=health.Params(least_n=5),
    )
    return {(r.metric, r.dimension, r.value_group): r.asDict() for r in conform(health.CONTRACT, made).collect()}


def test_fewer_old_people_who_return_than_on_other_sundays_is_a_warning(rows):
    row = rows["retention_d1", "tenure", "old"]
    # 2 of 10 where all came on each of eight Sundays before; nothing ever moved, so the line is 10 % below
    assert (row["value"], row["n"], row["verdict"]) == (0.2, 10, "warn")
    assert (row["basis"], row["history"], row["median"], row["low"]) == ("weekday", 8, 1.0, 0.9)


def test_a_past_that_is_not_there_is_not_made_up(rows):
    # 60 days are known: people who came 30 days before a Sunday are known of it and of four before (58 days back)
    row = rows["retention_d30", "tenure", "old"]
    assert (row["basis"], row["history"], row["verdict"]) == ("weekday", 4, "warn")


def test_new_people_have_no_past_yet(rows):
    row = rows["retention_d1", "tenure", "new"]
    # five came on the day before, none of them again
    assert (row["value"], row["n"], row["verdict"], row["history"]) == (0.0, 5, "no_history", 0)
    assert ("retention_d7", "tenure", "new") not in rows


def test_margins_are_what_costs_leave_of_the_revenue(rows):
    margins = {name: rows[name, "all", "all"] for name in ("gross_margin", "operating_margin")}
    assert {name: (r["value"], r["part"], r["better"]) for name, r in margins.items()} == {
        "gross_margin": (0.4, "business", "higher"),
        "operating_margin": (0.1, "business", "higher"),
    }
    assert ("cost_ratio", "all", "all") not in rows and margins["operating_margin"]["verdict"] == "no_history"


def test_a_burst_of_new_creators_pulls_the_established_supply_down(rows):
    row = rows["established_supply", "all", "all"]
    # of 16 items 14 are of creators who have been there for a week; on eight Sundays before it was 8 of 8 but for the
    # last, on which the third creator was three days there: 8 of 14
    assert (row["value"], row["n"], row["history"], row["median"], row["low"]) == (0.875, 16, 8, 1.0, 0.9)
    assert (row["verdict"], row["score"], row["part"]) == ("warn", None, "ecosystem")


def test_figures_whose_source_is_empty_say_so(rows):
    assert rows["dau", "all", "all"]["verdict"] == "not_known"
