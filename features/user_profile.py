"""Who each user is: base attributes, tenure and consent as of ds."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between
from jobs.settings import Market


@dataclass(frozen=True)
class Params:
    """``new_days``: a user is new for so many days after joining."""

    new_days: int = 7


CONTRACT = Table(
    name="features.user_profile",
    group="features",
    owner="user-understanding",
    description="Base attributes, tenure and consent of each known user. Sensitive attributes serve audits only.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("age_band", "string", "Age band.", sensitive=True),
        Column("gender", "string", "Gender as stated.", sensitive=True),
        Column("income_band", "string", "Income band.", sensitive=True),
        Column("age_years", "int", "Age at the end of ds, from the year of birth.", "years", sensitive=True),
        Column("region", "string", "Region of residence."),
        Column("city_tier", "int", "Tier of the city, 1 is largest."),
        Column("device", "string", "Usual device."),
        Column("tenure_days", "int", "Days since joining; null where it is not known.", "days"),
        Column("is_new", "boolean", "Joined within the last 7 days (option new_days)."),
        Column("consent_personalisation", "boolean", "May be shown personalised lists."),
        Column("consent_ads", "boolean", "May be shown personalised ads."),
    ],
    keys=["user_id"],
    inputs=[TableInput("silver.users"), TableInput("silver.consent", optional=True)],
    checks=[between("tenure_days", -1, 36_500, verdict="warn"), between("age_years", 0, 130, verdict="warn")],
)


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
    )
