"""Who each user is: base attributes, tenure and consent as of ds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Ranked, Table, TableInput, between
from jobs.errors import ContractError
from jobs.settings import Market


@dataclass(frozen=True)
class Params:
    """``new_days``: a user is new for so many days after joining; ``age_edges``: first years of the age bands."""

    new_days: int = 7
    age_edges: tuple[int, ...] = (18, 25, 35, 45, 55)

    def __post_init__(self) -> None:
        if not self.age_edges or list(self.age_edges) != sorted(set(self.age_edges)):
            raise ContractError(f"features.user_profile: age_edges must be ascending ages, not {self.age_edges!r}.")


CONTRACT = Table(
    name="features.user_profile",
    group="features",
    owner="user-understanding",
    description="Base attributes, tenure and consent of each known user. Sensitive attributes serve audits only.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("age_band", "string", "Age band as delivered, else from the age (option age_edges).", sensitive=True),
        Column("gender", "string", "Gender as stated.", sensitive=True),
        Column("income_band", "string", "Income band.", sensitive=True),
        Column("age_years", "int", "Age at the end of ds, from the year of birth.", "years", sensitive=True),
        Column("region", "string", "Region of residence."),
        Column("city_tier", "int", "Tier of the city, 1 is largest."),
        Column("device", "string", "Usual device."),
        Column("language", "string", "Language tag, BCP 47."),
        Column("tenure_days", "int", "Days since joining; null where it is not known.", "days"),
        Column("is_new", "boolean", "Joined within the last 7 days (option new_days)."),
        Column("consent_personalisation", "boolean", "May be shown personalised lists."),
        Column("consent_ads", "boolean", "May be shown personalised ads."),
    ],
    keys=["user_id"],
    inputs=[TableInput("silver.users"), TableInput("silver.consent", optional=True)],
    checks=[between("tenure_days", -1, 36_500, verdict="warn"), between("age_years", 0, 130, verdict="warn")],
    ranked=[Ranked("profile_", "user_id", ["tenure_days", "city_tier"])],
)
SAME = (("age_band", "age_years"), ("is_new", "tenure_days"))
"""Columns that say the same of a person: nobody has another value of one alone."""


def build(users: DataFrame, consent: DataFrame, *, days: DayRange, params: Params, market: Market) -> DataFrame:
    given = consent.groupBy("ds", "user_id").agg(
        *[
            F.max(F.when(F.col("purpose") == purpose, F.col("granted").cast("int"))).alias(purpose)
            for purpose in ("personalisation", "ads")
        ],
    )
    # A market that lands no consent feed has settled consent elsewhere; where the feed exists, silence is no.
    asked = consent.groupBy("ds").agg(F.lit(True).alias("_asked"))
    joined_on = F.from_utc_timestamp(F.timestamp_millis("registered_at_ms"), market.timezone).cast("date")
    tenure = F.datediff("ds", joined_on)
    answers = {
        f"consent_{purpose}": F.when(F.col("_asked"), F.coalesce(F.col(purpose) == 1, F.lit(False))).otherwise(True)
        for purpose in ("personalisation", "ads")
    }
    return (
        users.join(given, ["ds", "user_id"], "left")
        .join(F.broadcast(asked), "ds", "left")
        .withColumns(answers)
        .withColumn("tenure_days", tenure)
        .withColumn("is_new", F.coalesce(tenure < params.new_days, F.lit(False)))
        .withColumn("age_years", F.year("ds") - F.col("birth_year"))
        .withColumn("age_band", F.coalesce("age_band", age_band(F.col("age_years"), params.age_edges)))
    )


def age_band(age: SparkColumn, edges: Sequence[int]) -> SparkColumn:
    """Name of the band of an age: ``under_18``, ``18_24``, ..., ``55_plus``; null for an unknown age."""
    band = F.when(age >= edges[-1], F.lit(f"{edges[-1]}_plus"))
    for low, next_low in reversed(list(zip(edges, edges[1:]))):
        band = band.when(age >= low, F.lit(f"{low}_{next_low - 1}"))
    return band.when(age < edges[0], F.lit(f"under_{edges[0]}"))
