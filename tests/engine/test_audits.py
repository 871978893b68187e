"""The audits of lists, on frames so small that every figure is in the comments."""

from __future__ import annotations

import datetime as dt
import math

import pytest

from jobs.contract import DayRange
from jobs.runner import conform
from jobs.settings import Market
from quality import diversity, evaluation, fairness
from quality.experiments.design import design_of

D1 = dt.date(2024, 3, 1)
D2 = dt.date(2024, 3, 2)
WEEK_AGO = D2 - dt.timedelta(days=7)
TODAY = DayRange.day(D2)
RECOMMENDED = "ds date, surface string, user_id bigint, rank int, item_id bigint, channel string"
CANDIDATE = "ds date, channel string, user_id bigint, item_id bigint, rank int"
FUSED = "ds date, user_id bigint, item_id bigint, rank int"
ITEMS = "ds date, item_id bigint, category string, status string, stock int"
PAIRS = (
    "ds date, user_id bigint, item_id bigint, targets int, purchases int, rejections int, strength double, "
    "impressions int, clicks int"
)
STATS = "ds date, item_id bigint, creator_id bigint, quality double, is_eligible boolean"
CREATORS = "ds date, creator_id bigint, stage string"
ITEM_DAILY = "ds date, item_id bigint, impressions int, targets int"
SEEN = "ds date, user_id bigint, item_id bigint, impressions int"
CONTENT = "ds date, item_id bigint, vector array<float>"
USERS = "ds date, user_id bigint, gender string, registered_at_ms bigint"


def recommended(ds, user, items, channels=None, surface="feed"):
    channels = channels or ["item_cf"] * len(items)
    return [(ds, surface, user, at, i, c) for at, (i, c) in enumerate(zip(items, channels, strict=True), 1)]


def items_of(day, *rows):
    return [(day, i, category, "active", None) for i, category in rows]


def taken(ds, user, item, strength=1.0, purchases=0, rejections=0, targets=1, impressions=0, clicks=0):
    return (ds, user, item, targets, purchases, rejections, strength, impressions, clicks)


def rows_of(contract, frame):
    return [r.asDict() for r in conform(contract, frame).collect()]


# -- evaluation ----------------------------------------------------------------------------------


def evaluate(spark, recommendations=(), recall=(), fused=(), ranked=(), pairs=(), items=(), market=None, **params):
    frame = evaluation.build(
        spark.createDataFrame(list(recommendations), RECOMMENDED),
        spark.createDataFrame(list(recall), CANDIDATE),
        spark.createDataFrame(list(fused), FUSED),
        spark.createDataFrame(list(ranked), FUSED),
        spark.createDataFrame(list(pairs), PAIRS),
        spark.createDataFrame(list(items), ITEMS),
        days=TODAY,
        params=evaluation.Params(horizons=(1,), **params),
        market=market or Market("test"),
    )
    rows = rows_of(evaluation.CONTRACT, frame)
    assert all(r["ds"] == D2 and r["list_ds"] == D1 and r["horizon_days"] == 1 and r["group"] == "all" for r in rows)
    return {(r["subject"], f"{r['metric']}@{r['k']}"): r for r in rows}


@pytest.fixture(scope="module")
def small(spark):
    return evaluate(
        spark,
        # users 1 and 2 take something on the next day, user 3 nothing, user 4 has no list
        recommendations=[
            *recommended(D1, 1, [10, 11, 12]),
            *recommended(D1, 2, [11, 10, 13]),
            *recommended(D1, 3, [13, 12]),
            *recommended(D1, 1, [13, 11], surface="detail"),
        ],
        recall=[(D1, "popular", 1, 12, 1), (D1, "popular", 1, 11, 2), (D1, "popular", 3, 10, 1)],
        fused=[(D1, 1, 11, 1), (D1, 2, 13, 1)],
        ranked=[(D1, 1, 13, 1), (D1, 1, 14, 2), (D1, 2, 11, 1)],
        pairs=[
            taken(D2, 1, 11),
            taken(D2, 1, 14),
            taken(D2, 2, 11),
            taken(D2, 4, 10),
            taken(D2, 3, 10, targets=0),
            # before the lists: 13 has three takers, 12 two, 11 one
            *[taken(D1, u, 13) for u in (5, 6, 7)],
            *[taken(D1, u, 12) for u in (5, 6)],
            taken(D1, 2, 11),
            # a week before four took 12, and four weeks before six took 10; a day earlier yet nothing counts
            *[taken(D1 - dt.timedelta(days=6), u, 12) for u in (5, 6, 7, 8)],
            *[taken(D1 - dt.timedelta(days=27), u, 10) for u in range(5, 11)],
            *[taken(D1 - dt.timedelta(days=28), u, 11) for u in range(5, 15)],
        ],
        items=items_of(D1, (10, "a"), (11, "a"), (12, "b"), (13, "b"), (15, "c")),
    )


def test_variants_with_pipelines_of_their_own_are_judged_beside_each_other(spark):
    of = {"layer": "l", "buckets": [0, 10_000], "variants": {"control": 1, "new": 1}, "starts": D2, "ends": D2}
    market = Market("test", experiments={"running": {"mixed": of | {"pipeline": {"new": {"order_by": "pctr"}}}}})
    design = design_of(market)
    old, new = (
        next(u for u in range(1, 99) if design.variant(design.running[0], u) == name) for name in ("control", "new")
    )
    frame = evaluation.build(
        spark.createDataFrame([*recommended(D1, old, [10, 11]), *recommended(D1, new, [11, 10])], RECOMMENDED),
        spark.createDataFrame([(D1, "popular", old, 10, 1)], CANDIDATE),
        spark.createDataFrame([(D1, old, 10, 1), (D1, new, 10, 1)], FUSED),
        spark.createDataFrame([(D1, old, 10, 1), (D1, new, 11, 1)], FUSED),
        spark.createDataFrame([taken(D2, old, 11), taken(D2, new, 11)], PAIRS),
        spark.createDataFrame(items_of(D1, (10, "a"), (11, "a")), ITEMS),
        days=TODAY,
        params=evaluation.Params(horizons=(1,)),
        market=market,
    )
    rows = rows_of(evaluation.CONTRACT, frame)
    mrr = {r["group"]: (r["value"], r["n"]) for r in rows if (r["subject"], r["metric"]) == ("served", "mrr")}
    # item 11 is wanted: second in control, first in the variant
    assert mrr == {"all": (0.75, 2), "mixed.control": (0.5, 1), "mixed.new": (1.0, 1)}
    recall = {r["group"]: r["value"] for r in rows if (r["subject"], r["metric"], r["k"]) == ("ranked", "recall", 20)}
    assert recall == {"all": 0.5, "mixed.control": 0, "mixed.new": 1}
    # channels are judged over everybody only
    channels = {r["group"] for r in rows if r["subject"] == "channel:popular"}
    assert channels == {"all"}


def test_served_lists_by_hand(small):
    assert {r["n"] for r in small.values()} == {2}
    # user 1 wants 11 and 14, list 10 11 12: DCG 1/log2(3) = 0.63093, ideal 1.63093 -> 0.386853
    # user 2 wants 11, first place -> 1; mean 0.693426
    assert small["served", "ndcg@10"]["value"] == pytest.approx(0.693426, abs=1e-6)
    # 1 of 2 and 1 of 1
    assert small["served", "recall@20"]["value"] == 0.75
    # AP of user 1: (1/2) / min(10, 2) = 0.25; of user 2: 1
    assert small["served", "map@10"]["value"] == 0.625
    # 1/2 and 1
    assert small["served", "mrr@10"]["value"] == 0.75
    assert small["served", "hit_rate@10"]["value"] == 1.0


def test_lists_of_another_surface_are_a_subject_of_their_own(small):
    # user 1 finds one of the two wanted in second place there, user 2 has no list there
    assert small["served:detail", "recall@20"]["value"] == 0.25
    assert small["served:detail", "mrr@10"]["value"] == 0.25


def test_exposure_is_over_all_eligible_items_and_judged_users(small):
    # shown to users 1 and 2: items 10, 11, 12, 13 of the five eligible
    assert small["served", "coverage@10"]["value"] == 0.8
    # counts 0, 1, 1, 2, 2 with weights -4, -2, 0, 2, 4: (0 - 2 + 0 + 4 + 8) / (5 * 6) = 1/3
    assert small["served", "gini@10"]["value"] == pytest.approx(1 / 3, abs=1e-6)


def test_a_user_without_candidates_of_a_channel_counts_as_zero(small):
    # only user 1 has popular candidates: 1 of 2 wanted -> (0.5 + 0) / 2
    assert small["channel:popular", "recall@100"]["value"] == 0.25
    # fused: user 1 half, user 2 none
    assert small["fused", "recall@100"]["value"] == 0.25
    # ranked: user 1 has 14 of 11 and 14, user 2 all
    assert small["ranked", "recall@100"]["value"] == 0.75
    assert ("channel:popular", "map@10") not in small and ("ranked", "map@10") not in small


def test_baselines_by_hand(small):
    # of a day: 13, 12, 11 (item 10 has no taker): both users hit 11 at place 3
    # user 1: 0.5 / 1.63093 = 0.306574; user 2: 0.5; mean 0.403287
    assert small["baseline:popularity_1d", "ndcg@10"]["value"] == pytest.approx(0.403287, abs=1e-6)
    # of a week: 12 with 5, 6, 7, 8, then 13 and 11; each user counts once
    assert small["baseline:popularity_7d", "mrr@10"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    # of four weeks: 10, 12, 13, and 11 at place 4
    assert small["baseline:popularity_28d", "mrr@10"]["value"] == 0.25
    # own history: user 2 took 11 before, so it is first: 1; user 1 has none and gets popularity
    assert small["baseline:own_history", "ndcg@10"]["value"] == pytest.approx((0.306574 + 1) / 2, abs=1e-6)


def test_intervals_enclose_the_value(small):
    for (_, metric), r in small.items():
        if r["lo"] is None:
            # two users fall into so few random groups that leaving one out may leave nobody
            assert metric == "gini@10" and r["hi"] is None
            continue
        assert r["lo"] - 1e-6 <= r["value"] <= r["hi"] + 1e-6


def test_no_list_or_no_later_action_gives_no_row(spark):
    items = items_of(D1, (10, "a"))
    assert evaluate(spark, pairs=[taken(D2, 1, 10)], items=items) == {}
    assert evaluate(spark, recommendations=recommended(D1, 1, [10]), items=items) == {}


def test_a_list_whose_first_rank_is_an_ad_s_is_judged(spark):
    behind = [(D1, "feed", 1, 2, 10, "item_cf")]
    found = evaluate(spark, recommendations=behind, pairs=[taken(D2, 1, 10)], items=items_of(D1, (10, "a")))
    assert (found["served", "mrr@10"]["n"], found["served", "mrr@10"]["value"]) == (1, 0.5)


def test_baselines_obey_the_rule_of_repeats(spark):
    given = {
        "recommendations": recommended(D1, 1, [11]),
        # user 1 bought 10 the day before and rejected 12; both are the most popular
        "pairs": [
            taken(D2, 1, 10),
            taken(D1, 1, 10, 5.0, purchases=1),
            taken(D1, 2, 10),
            taken(D1, 2, 12),
            taken(D1, 1, 12, rejections=1),
        ],
        "items": items_of(D1, (10, "milk"), (11, "milk"), (12, "milk")),
    }
    once = evaluate(spark, **given)
    assert once["baseline:own_history", "hit_rate@10"]["value"] == 0
    assert once["baseline:own_history", "coverage@10"]["value"] == 0
    assert once["baseline:own_history", "gini@10"]["value"] is None
    again = evaluate(spark, **given, market=Market("test", repeat_categories=("milk",)))
    assert again["baseline:own_history", "hit_rate@10"]["value"] == 1
    assert again["baseline:popularity_7d", "coverage@10"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    anything = evaluate(spark, **given, market=Market("test", repeat_categories=("*",)))
    assert anything["baseline:own_history", "mrr@10"]["value"] == 1


def test_what_cannot_be_bought_is_in_no_baseline_and_no_catalogue(spark):
    items = [(D1, 10, "a", "delisted", None), (D1, 11, "a", "active", 0), (D1, 12, "a", None, 3)]
    found = evaluate(
        spark,
        recommendations=recommended(D1, 1, [12]),
        items=items,
        pairs=[taken(D2, 1, 10), *[taken(D1, u, i) for u in (2, 3) for i in (10, 11)], taken(D1, 2, 12)],
    )
    assert found["baseline:popularity_7d", "coverage@10"]["value"] == 1
    assert found["baseline:popularity_7d", "hit_rate@10"]["value"] == 0


def test_evaluation_does_not_depend_on_the_order_of_its_inputs(spark, small):
    pairs = [taken(D2, u, 10 + u % 4) for u in range(40)] + [taken(D1, u, 10 + u % 3, 0.1 * u) for u in range(40)]
    lists = [r for u in range(40) for r in recommended(D1, u, [10 + (u + at) % 4 for at in range(4)])]
    items = items_of(D1, *[(i, "a") for i in range(10, 16)])
    one = evaluate(spark, lists, pairs=pairs, items=items)
    assert one == evaluate(spark, lists[::-1], pairs=pairs[::-1], items=items[::-1])


# -- diversity -----------------------------------------------------------------------------------


def diverse(spark, recommendations, items, item_daily=(), seen=(), content=(), **params):
    frame = diversity.build(
        spark.createDataFrame(list(recommendations), RECOMMENDED),
        spark.createDataFrame(list(items), ITEMS),
        spark.createDataFrame(list(item_daily), ITEM_DAILY),
        spark.createDataFrame(list(seen), SEEN),
        spark.createDataFrame(list(content), CONTENT),
        days=TODAY,
        params=diversity.Params(**params),
    )
    return {(r["subject"], r["metric"]): r for r in rows_of(diversity.CONTRACT, frame)}


def test_diversity_by_hand(spark):
    found = diverse(
        spark,
        [*recommended(D2, 1, [1, 2]), *recommended(D2, 2, [1, 3]), *recommended(D1, 1, [5])],
        items_of(D2, (1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c")),
        # item 1 is the head: one of five. With one added to each: 8, 4, 2, 1, 1 of 16 showings
        [(D1, 1, 7, 0), (D1, 2, 3, 0), (D2, 3, 1, 9)],
        # person 7 saw a, a, b, b and only a the week before; person 8 the other way round; person 9 too little
        [(D2, 7, 1, 2), (D1, 7, 4, 2), (WEEK_AGO, 7, 2, 4), (WEEK_AGO, 8, 1, 5), (WEEK_AGO, 8, 3, 5), (D2, 8, 1, 10)]
        + [(D2, 9, 1, 3), (WEEK_AGO, 9, 1, 9)],
        [(D2, 1, [1.0, 0.0]), (D2, 2, [1.0, 0.0]), (D2, 3, [0.0, 1.0])],
        min_showings=4,
    )
    assert {subject for subject, _ in found} == {"feed", "shown"}
    values = {metric: r["value"] for (_, metric), r in found.items()}
    # the one list has contents that are alike, the other such that have nothing in common
    assert values["intra_list_diversity"] == 0.5 and found["feed", "intra_list_diversity"]["n"] == 2
    # of 11 showings a has 10, so b is small: none of the first day's, all of the second's
    assert values["small_category_share"] == 0.5 and values["middle_category_share"] == 0
    # variety of 7: 1 - (2 + 2) / 12 against 0; of 8: 0 against 1 - (20 + 20) / 90
    assert values["variety_change"] == pytest.approx((0.667 - 0.556) / 2, abs=1e-6)
    assert (values["variety_change_p10"], values["variety_change_p90"]) == (-0.556, 0.667)
    assert values["narrowed_share"] == 0.5 and found["shown", "narrowed_share"]["n"] == 2
    # a and b of a, b, c; items 1, 2, 3 of five
    assert values["category_coverage"] == pytest.approx(2 / 3, abs=1e-6)
    assert values["item_coverage"] == 0.6
    # counts 0, 0, 1, 1, 2 with weights -4, -2, 0, 2, 4: (2 + 8) / (5 * 4)
    assert values["gini"] == 0.5
    # item 1 in two of two lists
    assert values["largest_item_share"] == 1 and found["feed", "largest_item_share"]["n"] == 2
    # items 2 and 3 have two of four exposures
    assert values["long_tail_share"] == 0.5
    # one category and two categories
    assert values["intra_list_categories"] == 1.5
    # item 1 twice with 1 bit, item 2 with 2 bits, item 3 with 3 bits: 7 / 4
    assert values["novelty"] == 1.75
    verdicts = {m: r["verdict"] for (_, m), r in found.items() if r["verdict"]}
    assert verdicts == {"gini": "ok", "long_tail_share": "ok", "largest_item_share": "warn"}
    assert found["feed", "gini"]["n"] == 5 and found["feed", "long_tail_share"]["n"] == 2


def test_narrow_lists_are_warned_of(spark):
    items = items_of(D2, *[(i, "a") for i in range(1, 11)])
    found = diverse(spark, [r for u in range(5) for r in recommended(D2, u, [1])], items, [(D2, 1, 0, 9)])
    # one item of ten has all: 1 - 1/10; no showings are known, so the most taken item is the head
    assert found["feed", "gini"]["value"] == 0.9 and found["feed", "gini"]["verdict"] == "warn"
    assert found["feed", "long_tail_share"]["value"] == 0 and found["feed", "long_tail_share"]["verdict"] == "warn"


def test_one_item_in_nearly_all_lists_is_warned_of_though_the_others_are_spread(spark):
    items = items_of(D2, *[(i, "a") for i in range(61)])

    def spread(everywhere):
        """Twenty lists of ten that go round 60 items; item 60 is on top of so many of them."""
        lists = [[60] * (u < everywhere) + [(u * 9 + n) % 60 for n in range(9)] for u in range(20)]
        found = diverse(spark, [r for u in range(20) for r in recommended(D2, u, lists[u])], items)
        return found["feed", "largest_item_share"], found["feed", "gini"]["verdict"]

    share, verdict = spread(19)
    # 19 of 20 lists; Gini of three lists for each other item and 19 for one stays far below its limit
    assert (share["value"], share["threshold"], share["verdict"], verdict) == (0.95, 0.9, "warn", "ok")
    assert share["lo"] < 0.9 < share["hi"] <= 1
    share, _ = spread(18)
    assert (share["value"], share["verdict"]) == (0.9, "ok")


def test_no_lists_no_diversity(spark):
    assert diverse(spark, [], items_of(D2, (1, "a"))) == {}


# -- fairness ------------------------------------------------------------------------------------


def fair(spark, recommendations, users, active=(), pairs=(), groups=("gender",), items=(), creators=(), **params):
    frame = fairness.build(
        spark.createDataFrame(list(recommendations), RECOMMENDED),
        spark.createDataFrame(list(users), USERS),
        spark.createDataFrame([(D2, u) for u in active], "ds date, user_id bigint"),
        spark.createDataFrame(list(pairs), PAIRS),
        spark.createDataFrame(list(items), STATS),
        spark.createDataFrame(list(creators), CREATORS),
        days=TODAY,
        params=fairness.Params(horizons=(1,), **params),
        market=Market("test", groups=groups),
    )
    return {(r["attribute"], r["group"], r["kind"], r["metric"]): r for r in rows_of(fairness.CONTRACT, frame)}


@pytest.fixture(scope="module")
def groups(spark):
    users = [(D2, u, "f" if u <= 3 else ("m" if u <= 6 else None), None) for u in range(1, 8)]
    personal, common = [1, 2], ["popular_region", "curated"]
    return fair(
        spark,
        # f: three lists, two of them personal; m: one of two personal, user 6 has no list; 7 has no gender
        [
            *recommended(D2, 1, personal),
            *recommended(D2, 2, personal, ["item_cf", "popular"]),
            *recommended(D2, 3, personal, common),
            *recommended(D2, 4, personal),
            *recommended(D2, 5, personal, common),
            *recommended(D2, 7, personal),
            *recommended(D1, 1, [1, 2]),
            *recommended(D1, 2, [1, 2]),
            *recommended(D1, 4, [1, 2]),
        ],
        users,
        active=[6],
        pairs=[
            taken(D2, 1, 1),
            taken(D2, 2, 2),
            taken(D2, 4, 9),
            # item 20: 6 of 20 showings to f are clicked, 4 of 20 to m; nobody of m was shown 21
            taken(D2, 1, 20, targets=0, impressions=20, clicks=6),
            taken(D2, 4, 20, targets=0, impressions=20, clicks=4),
            taken(D2, 1, 21, targets=0, impressions=50, clicks=50),
        ],
        # all lists hold items 1 and 2, of a head creator
        items=[(D2, i, 100 if i in (1, 2) else 200, 0.5, True) for i in (1, 2, 3, 4)] + [(D2, 5, 300, 0.9, False)],
        creators=[(D2, 100, "head"), (D2, 200, "novice")],
        min_group=2,
        min_showings=10,
        personalised_items=1,
    )


def test_coverage_and_difference_by_hand(groups):
    assert groups["gender", "f", "group", "coverage"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert groups["gender", "m", "group", "coverage"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    assert groups["gender", "m", "group", "served"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert groups["gender", "m", "group", "served"]["n"] == 3
    gap = groups["gender", "", "difference", "coverage"]
    # 2/3 - 1/3 is above 0.15
    assert gap["value"] == pytest.approx(1 / 3, abs=1e-6) and gap["verdict"] == "warn" and gap["threshold"] == 0.15
    assert gap["n"] == 6 and gap["lo"] < 0 < gap["hi"]
    assert groups["gender", "", "ratio", "coverage"]["value"] == 0.5
    # everybody: users 1, 2, 4 and 7 of seven
    overall = groups["gender", "", "overall", "coverage"]
    assert (overall["value"], overall["n"], overall["verdict"]) == (pytest.approx(4 / 7, abs=1e-6), 7, None)
    assert groups["gender", "", "overall", "served"]["value"] == pytest.approx(6 / 7, abs=1e-6)


def test_a_list_of_what_is_popular_in_a_group_covers_nobody():
    assert set(fairness.Params().popular_channels) == {
        "popular",
        "popular_device",
        "popular_region",
        "popular_segment",
        "curated",
    }


def test_small_and_unknown_groups_are_said_and_not_compared(groups):
    unknown = groups["gender", "unknown", "group", "coverage"]
    assert unknown["value"] == 1 and unknown["n"] == 1 and unknown["verdict"] == "too small"


def test_quality_by_group(groups):
    # user 1 hits at 1: 1; user 2 at 2: 0.63093; mean 0.815465
    assert groups["gender", "f", "group", "ndcg"]["value"] == pytest.approx(0.815465, abs=1e-6)
    assert groups["gender", "f", "group", "ndcg"]["list_ds"] == D1
    # one user of m is judged, which is too few to compare
    assert groups["gender", "m", "group", "ndcg"]["verdict"] == "too small"
    # user 4 took what no list held: (1 + 0.63093 + 0) / 3
    assert groups["gender", "", "overall", "ndcg"]["value"] == pytest.approx(0.543643, abs=1e-6)
    gap = groups["gender", "", "difference", "ndcg"]
    assert gap["value"] is None and gap["verdict"] == "too small"


def test_clicks_on_the_same_item_by_hand(groups):
    row = groups["gender", "f", "group", "conversion_same_item"]
    # 0.3 - 0.2 with an error of sqrt(0.3 * 0.7 / 20 + 0.2 * 0.8 / 20) = 0.13601, times 1.96
    assert (row["value"], row["lo"], row["hi"]) == (
        0.1,
        pytest.approx(-0.1666, abs=1e-4),
        pytest.approx(0.3666, abs=1e-4),
    )
    assert row["n"] == 20 and groups["gender", "m", "group", "conversion_same_item"]["value"] == -0.1
    # 6 and 4 where both would have 5 of 20: the rates lie 0.1 apart, and 0.8 over 1.2
    gap, ratio, overall = (groups["gender", "", k, "conversion_same_item"] for k in ("difference", "ratio", "overall"))
    assert (gap["value"], gap["lo"], gap["n"]) == (0.1, row["lo"], 40)
    assert ratio["value"] == pytest.approx(0.8 / 1.2, abs=1e-6)
    assert (overall["value"], overall["n"]) == (0.25, 40)


def test_places_of_creators(groups):
    # all places of the lists are of items 1 and 2
    assert groups["creator_stage", "head", "group", "share_of_places"]["value"] == 1
    assert groups["creator_stage", "head", "group", "share_of_places"]["n"] == 12


def test_tenure_is_told_by_the_day_of_joining(spark):
    def at(day):
        return int(dt.datetime.combine(day, dt.time(12), dt.UTC).timestamp() * 1000)

    users = [(D2, 1, None, at(D2 - dt.timedelta(days=29))), (D2, 2, None, at(D2 - dt.timedelta(days=30)))]
    found = fair(spark, recommended(D2, 1, [1]), users, active=[1, 2], groups=())
    assert {(a, g) for a, g, kind, _ in found if kind == "group"} == {("tenure", "new"), ("tenure", "old")}
    assert found["tenure", "new", "group", "served"]["value"] == 1
    assert found["tenure", "old", "group", "served"]["value"] == 0


def test_a_market_without_groups_has_no_rows(spark):
    users = [(D2, 1, None, None)]
    assert fair(spark, recommended(D2, 1, [1]), users) == {}
    assert fair(spark, recommended(D2, 1, [1]), users, groups=()) == {}


def test_two_large_equal_groups_are_ok_and_ratio_is_one(spark):
    users = [(D2, u, "f" if u % 2 else "m", None) for u in range(40)]
    lists = [r for u in range(40) for r in recommended(D2, u, list(range(1, 7)))]
    found = fair(spark, lists, users, min_group=20)
    assert found["gender", "", "difference", "coverage"]["verdict"] == "ok"
    assert found["gender", "", "ratio", "coverage"]["value"] == 1
    assert all(math.isfinite(r["value"]) for r in found.values())
