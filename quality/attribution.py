r"""``audit.attribution``: what moved people's satisfaction since the same weekday of the week before.

Satisfaction is a rate: the part of the showings that led, on the same day, to an action which says that the item
was liked (click with most of it played, favourite, like, share, comment, purchase), and to none that rejects it.
For each way to divide showings into groups g, the change of the rate is taken apart exactly (Kitagawa, Components
of a difference between two rates, JASA 50, 1955):

.. math:: R_1 - R_0 = \sum_g \underbrace{(s_{1g} - s_{0g}) (\bar r_g - \bar R)}_{mix}
          + \sum_g \underbrace{\bar s_g (r_{1g} - r_{0g})}_{rate}

with shares s, rates r, and bars for the mean of the two days. *Mix* is what changed because other groups were shown
more; *rate* because a group itself was liked more or less. A group that is there on one day only has one rate, so
all of its change is mix. :math:`\bar R` is the mean of both days' rates: it leaves each sum as it is, and makes the
mix of a group that is liked as most are 0.

Dimensions belong to layers: candidates (the channel that brought the item), ranking (the place in the list), policy
(slot and policy), content (type and category of the item), people (new or old, region) and access (surface, terminal).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between, in_set
from quality.intervals import difference, wilson
from quality.lists import days_before, frame_of

BACK = 7
LIKED = ("favourite", "like", "share", "comment", "add_to_cart", "purchase")
REJECTED = ("dislike", "not_interested", "block_author")
LAYERS: Mapping[str, str] = {
    "channel": "candidates",
    "place": "ranking",
    "slot_type": "policy",
    "policy": "policy",
    "content_type": "content",
    "category": "content",
    "tenure": "people",
    "region": "people",
    "surface": "access",
    "terminal": "access",
}
ALL, UNKNOWN, NOT_LISTED = "all", "unknown", "not from a list"


@dataclass(frozen=True)
class Params:
    """``played``: part of an item from which a view counts as liked; ``new_days``: days in which a person is new."""

    played: float = 0.8
    new_days: int = 30


CONTRACT = Table(
    name="audit.attribution",
    group="audit",
    owner="quality",
    description="Change of satisfaction since a week before, by layer, channel, content and segment: what other "
    "groups shown (mix) and groups liked more or less (rate) did to it. The parts of a dimension add up to the change.",
    columns=[
        Column("layer", "string", "candidates, ranking, policy, content, people or access; all for the whole change."),
        Column("dimension", "string", "How showings are divided; all for the whole change."),
        Column("value_group", "string", "A group of the dimension."),
        Column("before_ds", "date", "The day that ds is held against.", nullable=False),
        Column("n", "bigint", "Showings on ds."),
        Column("n_before", "bigint", "Showings on the day before."),
        Column("rate", "double", "Satisfied showings by showings on ds.", digits=9),
        Column("rate_before", "double", "The same on the day before.", digits=9),
        Column("mix", "double", "Part of the change because the group's share of showings changed.", digits=9),
        Column("rate_effect", "double", "Part because the group's own rate changed.", digits=9),
        Column("change", "double", "mix + rate_effect; of all, the whole change.", digits=9),
        Column("lo", "double", "Lower end of the 95 % interval of the whole change.", digits=9),
        Column("hi", "double", "Upper end of it.", digits=9),
    ],
    keys=["dimension", "value_group"],
    inputs=[
        TableInput("silver.impressions", days=BACK + 1, optional=True),
        TableInput("silver.events", days=BACK + 1, optional=True),
        TableInput("silver.items", days=BACK + 1),
        TableInput("features.user_profile", days=BACK + 1, optional=True),
        TableInput("serving.recommendations", days=BACK + 1, lag=1, optional=True),
    ],
    checks=[in_set("layer", (ALL, *dict.fromkeys(LAYERS.values()))), between("rate", 0, 1)],
    grain="day",
)


def build(
    impressions: DataFrame,
    events: DataFrame,
    items: DataFrame,
    user_profile: DataFrame,
    recommendations: DataFrame,
    *,
    days: DayRange,
    params: Params,
) -> DataFrame:
    pair = (days.last, days_before(days.last, BACK))

    def of_pair(frame: DataFrame, lag: int = 0) -> DataFrame:
        return frame.where(F.col("ds").isin([days_before(day, lag) for day in pair]))

    shown = described(
        of_pair(impressions),
        of_pair(events),
        of_pair(items),
        of_pair(user_profile),
        of_pair(recommendations, 1),
        params,
    )
    found = counted(shown).toArrow().to_pylist()
    return frame_of(items.sparkSession, CONTRACT, list(taken_apart(found, *pair)))


def described(
    impressions: DataFrame,
    events: DataFrame,
    items: DataFrame,
    user_profile: DataFrame,
    recommendations: DataFrame,
    params: Params,
) -> DataFrame:
    """Every showing with whether it satisfied, and its group in each dimension.

    Returns
    -------
    DataFrame
        ``ds, satisfied int`` and the keys of `LAYERS`.
    """
    liked = F.col("action").isin(*LIKED) | (
        F.col("action").isin("view", "click") & (F.col("play_ratio") >= params.played)
    )
    outcome = events.groupBy("ds", "impression_id").agg(
        (F.coalesce(F.bool_or(liked), F.lit(False)) & ~F.bool_or(F.col("action").isin(*REJECTED)))
        .cast("int")
        .alias("satisfied")
    )
    # one line a person, item and surface: the place at which it was first listed
    lists = recommendations.groupBy(F.date_add("ds", 1).alias("ds"), "user_id", "item_id", "surface").agg(
        F.min_by("channel", "rank").alias("channel")
    )
    people = user_profile.select(
        "ds",
        "user_id",
        "region",
        F.when(F.col("tenure_days") < params.new_days, "new").otherwise("old").alias("tenure"),
    )
    place = F.when(F.col("position") <= 3, "1 to 3").when(F.col("position") <= 10, "4 to 10").otherwise("11 and on")
    joined = (
        impressions.join(outcome, ["ds", "impression_id"], "left")
        .join(lists, ["ds", "user_id", "item_id", "surface"], "left")
        .join(items.select("ds", "item_id", "content_type", "category"), ["ds", "item_id"], "left")
        .join(people, ["ds", "user_id"], "left")
        .withColumn("channel", F.coalesce("channel", F.lit(NOT_LISTED)))
        .withColumn("place", place)
    )
    return joined.select(
        "ds",
        F.coalesce("satisfied", F.lit(0)).alias("satisfied"),
        *[F.coalesce(F.col(name).cast("string"), F.lit(UNKNOWN)).alias(name) for name in LAYERS],
    )


def counted(shown: DataFrame) -> DataFrame:
    """Showings and satisfied ones by day and group of each dimension.

    Returns
    -------
    DataFrame
        ``ds, dimension, value_group, n, satisfied``; a row a day has dimension ``all``.
    """
    dimension, group = F.lit(ALL), F.lit(ALL)
    for name in LAYERS:
        dimension = F.when(F.grouping(name) == 0, F.lit(name)).otherwise(dimension)
        group = F.when(F.grouping(name) == 0, F.col(name)).otherwise(group)
    sets = [["ds"], *[["ds", name] for name in LAYERS]]
    return shown.groupingSets(sets, "ds", *LAYERS).agg(
        dimension.alias("dimension"),
        group.alias("value_group"),
        F.count(F.lit(1)).alias("n"),
        F.sum("satisfied").alias("satisfied"),
    )


@dataclass(frozen=True)
class Group:
    """A group's showings and satisfied showings on both days."""

    n: int = 0
    satisfied: int = 0
    n_before: int = 0
    satisfied_before: int = 0

    @property
    def rates(self) -> tuple[float, float]:
        """The rates on ds and before; where the group is there on one day only, that day's twice."""
        now = self.satisfied / self.n if self.n else None
        before = self.satisfied_before / self.n_before if self.n_before else None
        return (before if now is None else now, now if before is None else before)


def taken_apart(found: Iterable[Mapping[str, Any]], ds: dt.date, before: dt.date) -> Iterator[dict[str, Any]]:
    """Rows of the whole change, then of every dimension's groups; none where a day has no showing."""
    groups: dict[tuple[str, str], dict[dt.date, tuple[int, int]]] = {}
    for r in found:
        groups.setdefault((r["dimension"], r["value_group"]), {})[r["ds"]] = (r["n"], r["satisfied"])
    pairs = {key: Group(*of.get(ds, (0, 0)), *of.get(before, (0, 0))) for key, of in groups.items()}
    whole = pairs.get((ALL, ALL), Group())
    if not whole.n or not whole.n_before:
        return
    for (dimension, name), group in sorted(pairs.items()):
        shared = {"ds": ds, "before_ds": before, "dimension": dimension, "value_group": name}
        shared |= {"layer": LAYERS.get(dimension, ALL), "n": group.n, "n_before": group.n_before}
        shared |= {
            "rate": group.satisfied / group.n if group.n else None,
            "rate_before": group.satisfied_before / group.n_before if group.n_before else None,
        }
        yield shared | (whole_change(whole) if dimension == ALL else effects(group, whole))


def effects(group: Group, whole: Group) -> dict[str, float]:
    """Mix and rate of a group.

    Examples
    --------
    Half of the showings, then three quarters, of a group liked at 0.4 where all are liked at 0.3 and 0.35:

    >>> made = effects(Group(75, 30, 50, 20), Group(100, 35, 100, 30))
    >>> round(made["mix"], 6), round(made["rate_effect"], 6)
    (0.01875, 0.0)
    """
    share, share_before = group.n / whole.n, group.n_before / whole.n_before
    rate, rate_before = group.rates
    middle = (whole.satisfied / whole.n + whole.satisfied_before / whole.n_before) / 2
    mix = (share - share_before) * ((rate + rate_before) / 2 - middle)
    own = (share + share_before) / 2 * (rate - rate_before)
    return {"mix": mix, "rate_effect": own, "change": mix + own}


def whole_change(whole: Group) -> dict[str, float]:
    """The change of the rate of all showings with its interval."""
    now = (whole.satisfied / whole.n, *wilson(whole.satisfied, whole.n))
    before = (whole.satisfied_before / whole.n_before, *wilson(whole.satisfied_before, whole.n_before))
    change, low, high = difference(now, before)
    return {"change": change, "lo": low, "hi": high}
