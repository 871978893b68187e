from __future__ import annotations

from pyspark.sql import functions as F

from features.quality import excess, mixed, shrunk


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


def test_counts_against_what_to_expect(spark):
    assert values(
        spark,
        excess(F.lit(2), F.lit(100), F.lit(0.02), 3.0),  # (2 + 3) / (2 + 2 + 6)
        excess(F.lit(8), F.lit(100), F.lit(0.02), 3.0),  # (8 + 3) / (8 + 2 + 6)
        excess(F.lit(0), F.lit(0), F.lit(0.02), 3.0),
        excess(F.lit(0), F.lit(5), F.lit(0.0), 3.0),  # none in the whole market
        excess(F.lit(0), F.lit(5), F.lit(None).cast("double"), 3.0),
    ) == [0.5, 0.6875, 0.5, None, None]


def test_parts_that_are_not_known_do_not_count(spark):
    high, low, none = F.lit(1.0), F.lit(0.5), F.lit(None).cast("double")
    assert values(
        spark,
        mixed([(high, 0.25), (low, 0.75)]),  # 0.25 + 0.375
        mixed([(high, 0.25), (none, 0.75)]),
        mixed([(none, 0.25), (none, 0.75)]),
        mixed([(high, 0.0), (none, 0.75)]),
    ) == [0.625, 1.0, None, None]
