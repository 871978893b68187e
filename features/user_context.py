"""Where each user lives, works and goes, and how they usually swipe: what a request is held against.

A home is the grid cell of most presence at night, or under the hint ``home``; a workplace that of most presence in
working hours, or under the hint ``work``, and apart from home. Both need presence on several days.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.grid import near
from features.windows import spread
from jobs.contract import Column, DayRange, Table, TableInput, between
from jobs.errors import ContractError

WINDOW = 28
HINTS = ("home", "work", "transit")
NOWHERE = "none"


@dataclass(frozen=True)
class Params:
    """``min_days`` of evidence for a home, a workplace and a district; ``districts`` kept per user."""

    min_days: int = 3
    districts: int = 3

    def __post_init__(self) -> None:
        if self.min_days < 1 or self.districts < 1:
            raise ContractError(
                f"features.user_context: min_days and districts are 1 or more, not {self.min_days} and "
                f"{self.districts}."
            )


CONTRACT = Table(
    name="features.user_context",
    group="features",
    owner="user-understanding",
    description="Home and workplace as coarse grid cells, main districts, and usual swipe speed, depth and dwell of "
    "each user of the last 28 days.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("home_cell", "bigint", "Grid cell of the home; null without evidence.", subject=True),
        Column("home_days", "int", "Days of evidence for it.", "days"),
        Column("work_cell", "bigint", "Grid cell of the workplace; null without evidence.", subject=True),
        Column("work_days", "int", "Days of evidence for it.", "days"),
        Column("districts", "array<string>", "Main districts, most hours first; none without evidence."),
        *[
            Column(f"{place}_share", "double", f"Part of the hours at known places: {what}.", digits=4)
            for place, what in (
                ("home", "home"),
                ("work", "work"),
                ("transit", "on the way"),
                ("district", "in districts"),
            )
        ],
        Column("swipes", "int", "Showings with a swipe speed in 28 days."),
        Column("swipe_mean", "double", "Their mean speed; null without any.", "screens/s", digits=4),
        Column("swipe_sd", "double", "Their standard deviation; null below two.", "screens/s", digits=4),
        Column("sessions", "int", "Sessions in 28 days."),
        Column("depth_mean", "double", "Mean deepest position of sessions with showings.", digits=4),
        Column("dwell_mean_ms", "double", "Mean time spent on items of a session.", "ms", digits=1),
    ],
    keys=["user_id"],
    inputs=[TableInput("silver.place_daily", days=WINDOW), TableInput("silver.sessions", days=WINDOW)],
    checks=[between("home_share", 0, 1), between("swipe_sd", 0, None), between("home_days", 1, WINDOW)],
)


def build(place_daily: DataFrame, sessions: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    visits = (
        spread(sessions, days, WINDOW)
        .groupBy("ds", "user_id")
        .agg(
            F.count(F.lit(1)).cast("int").alias("sessions"),
            F.avg(F.when(F.col("impressions") > 0, F.col("depth"))).alias("depth_mean"),
            F.avg("dwell_ms").alias("dwell_mean_ms"),
        )
    )
    places = _places(_by_place(place_daily, days), params)
    return (
        places.join(visits, ["ds", "user_id"], "full")
        .fillna(0, ["sessions", "swipes"])
        .withColumn("districts", F.coalesce("districts", F.array().cast("array<string>")))
    )


def _by_place(place_daily: DataFrame, days: DayRange) -> DataFrame:
    """Presence in the window by ``kind`` and ``key``: of each cell, of each district, of the user over all."""
    place, cell = F.col("place"), F.col("cell")
    in_district = ~place.isin(*HINTS, NOWHERE)
    at_home = F.when(place == "home", F.col("hours")).when(~place.isin("work", "transit"), F.col("night_hours"))
    at_work = F.when(place == "work", F.col("hours")).when(~place.isin("home", "transit"), F.col("work_hours"))
    of = F.array_compact(
        F.array(
            F.struct(F.lit("user").alias("kind"), F.lit("").alias("key")),
            F.when(cell >= 0, F.struct(F.lit("cell").alias("kind"), cell.cast("string").alias("key"))),
            F.when(in_district, F.struct(F.lit("district").alias("kind"), place.alias("key"))),
        )
    )
    return (
        spread(place_daily, days, WINDOW)
        .withColumn("_home", F.coalesce(at_home, F.lit(0)))
        .withColumn("_work", F.coalesce(at_work, F.lit(0)))
        .select("*", F.inline(of))
        .groupBy("ds", "user_id", "kind", "key")
        .agg(
            F.sum("hours").alias("hours"),
            _days(F.lit(True)).alias("days"),
            F.sum("_home").alias("home"),
            _days(F.col("_home") > 0).alias("home_days"),
            F.sum("_work").alias("work"),
            _days(F.col("_work") > 0).alias("work_days"),
            *[F.sum(F.when(place == hint, F.col("hours")).otherwise(0)).alias(f"at_{hint}") for hint in HINTS],
            F.sum(F.when(in_district, F.col("hours")).otherwise(0)).alias("at_district"),
            F.sum(F.when(place == NOWHERE, F.col("hours")).otherwise(0)).alias("at_none"),
            *[F.sum(c).alias(c) for c in ("swipes", "swipe_sum", "swipe_square_sum")],
        )
    )


def _places(by_place: DataFrame, params: Params) -> DataFrame:
    """One row a user: what its cells, its districts and its sums say."""
    is_cell, is_district, is_user = (F.col("kind") == kind for kind in ("cell", "district", "user"))
    number = F.col("key").cast("bigint")
    # structs compare field by field: most hours, then most days, then the lowest cell
    home = F.struct("home", "home_days", (-number).alias("minus"))
    cell = F.struct("work", "work_days", (-number).alias("minus"), "at_none")
    district = F.struct((-F.col("hours")).alias("order"), F.col("key").alias("name"))
    sums = ["at_home", "at_work", "at_transit", "at_district", "swipes", "swipe_sum", "swipe_square_sum"]
    users = by_place.groupBy("ds", "user_id").agg(
        F.max(F.when(is_cell & (F.col("home_days") >= params.min_days), home)).alias("_home"),
        F.collect_list(F.when(is_cell, cell)).alias("_cells"),
        F.collect_list(F.when(is_district & (F.col("days") >= params.min_days), district)).alias("_districts"),
        *[F.max(F.when(is_user, F.col(c))).alias(c) for c in sums],
    )
    with_home = users.withColumns(
        {"home_cell": -F.col("_home")["minus"], "home_days": F.col("_home")["home_days"].cast("int")}
    )
    with_work = with_home.withColumn("_work", F.array_max(F.filter("_cells", lambda c: _may_be_work(c, params))))
    # each as a column first: used more than once below
    with_hours = with_work.withColumn("work_cell", -F.col("_work")["minus"]).withColumns(
        {
            "at_home": F.col("at_home") + _unhinted(lambda cell: _beside(cell, "home_cell")),
            "at_work": F.col("at_work")
            + _unhinted(lambda cell: _beside(cell, "work_cell") & ~_beside(cell, "home_cell")),
        }
    )
    return with_hours.select(
        "ds",
        "user_id",
        "home_cell",
        "home_days",
        "work_cell",
        F.col("_work")["work_days"].cast("int").alias("work_days"),
        F.slice(F.sort_array("_districts"), 1, params.districts)["name"].alias("districts"),
        *_shares(),
        *_swipes(),
    )


def _days(when: SparkColumn) -> SparkColumn:
    """Number of different days of the window among the rows that meet ``when``: a bit a day."""
    return F.coalesce(F.bit_count(F.bit_or(F.when(when, F.expr("shiftleft(1, age)")))), F.lit(0))


def _beside(cell: SparkColumn, known: str) -> SparkColumn:
    return near(-cell["minus"], F.col(known))


def _may_be_work(cell: SparkColumn, params: Params) -> SparkColumn:
    return (cell["work_days"] >= params.min_days) & ~_beside(cell, "home_cell")


def _unhinted(there: Callable[[SparkColumn], SparkColumn]) -> SparkColumn:
    """Hours without a hint at the cells that meet ``there``."""
    none = F.lit(0).cast("bigint")
    return F.aggregate("_cells", none, lambda total, c: total + F.when(there(c), c["at_none"]).otherwise(none))


def _shares() -> list[SparkColumn]:
    places = ("home", "work", "transit", "district")
    known = sum((F.col(f"at_{place}") for place in places), F.lit(0))
    return [F.try_divide(F.col(f"at_{place}"), known).alias(f"{place}_share") for place in places]


def _swipes() -> list[SparkColumn]:
    n, total = F.col("swipes"), F.col("swipe_sum")
    # rounding may take a variance a hair below 0
    variance = F.greatest((F.col("swipe_square_sum") - F.try_divide(total * total, n)) / (n - 1), F.lit(0.0))
    return [
        n.cast("int").alias("swipes"),
        F.try_divide(total, n).alias("swipe_mean"),
        F.when(n > 1, F.sqrt(variance)).alias("swipe_sd"),
    ]
