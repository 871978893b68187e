from __future__ import annotations

from pyspark.sql import functions as F

from features.quality import against, mixed, shrunk


def values(spark, *columns):
    return list(spark.range(1).select(*columns).collect()[0])


def test_few_cases_stay_at_the_mean_and_many_leave_it(spark):
    one, none = F.lit(1.0), F.lit(None).cast("double")
    assert values(
        spark,
        shrunk(F.lit(0), F.lit(0), F.lit(0.5), 10.0),  # 5 / 10
        shrunk(F.lit(10), F.lit(10), F.lit(0.5), 10.0),  # 15 / 20
        shrunk(one, one, none, 10.0),
    ) == [0.5, 0.75, None]


def test_a_rate_against_the_mean(spark):
    zero = F.lit(0.0)
    assert values(spark, against(F.lit(0.2), F.lit(0.2)), against(F.lit(0.75), F.lit(0.25)), against(zero, zero)) == [
        0.5,
        0.75,  # 0.75 / 1
        None,
    ]


def test_parts_that_are_not_known_do_not_count(spark):
    high, low, none = F.lit(1.0), F.lit(0.5), F.lit(None).cast("double")
    assert values(
        spark,
        mixed([(high, 0.25), (low, 0.75)]),  # 0.25 + 0.375
        mixed([(high, 0.25), (none, 0.75)]),
        mixed([(none, 0.25), (none, 0.75)]),
        mixed([(high, 0.0), (none, 0.75)]),
    ) == [0.625, 1.0, None, None]
