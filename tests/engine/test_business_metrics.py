"""Business metrics and GMV on frames so small that every figure is in the comments."""

from __future__ import annotations

import datetime as dt
import random
from collections import defaultdict
from contextlib import nullcontext
from fractions import Fraction

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.contract import DayRange, NoParams
from jobs.errors import CheckFailed
from jobs.lake import Lake
from jobs.runner import conform
from jobs.settings import Market, Settings
from jobs.stages import Stages
from quality import business_metrics, gmv
from quality.metric_definitions import read_definitions
from tests.unit.test_metric_definitions import RATIO, write

D1, D2, D3 = (dt.date(2024, 3, d) for d in (1, 2, 3))
ORDERS = (
    "ds date, order_line_id string, order_id string, user_id bigint, item_id bigint, at_ms bigint, kind string, "
    "amount_minor bigint, source_system string"
)
EVENTS = (
    "ds date, user_id bigint, item_id bigint, at_ms bigint, action string, impression_id string, surface string, "
    "terminal string, play_ratio double"
)
IMPRESSIONS = (
    "ds date, impression_id string, user_id bigint, item_id bigint, surface string, terminal string, slot_type string"
)
ACTIONS = ("searches", "favourites", "add_to_carts", "purchases", "likes", "comments", "shares", "negatives")
USER_DAILY = "ds date, user_id bigint, impressions int, clicks int, logins int, dwell_ms bigint, " + ", ".join(
    f"{a} int" for a in ACTIONS
)
FURTHER = {
    "silver.sessions": "ds date, clicks int, impressions int, terminal string",
    "silver.surveys": "ds date, kind string, score int",
    "silver.costs": "ds date, kind string, amount_minor bigint",
    "features.sentiment": "ds date, kind string, sentiment double, texts int",
    "features.creator_stats": "ds date, stage string, impressions_7d int, growth_7d double, fans_returned int, "
    "fans_before int",
}


def order(ds, line, amount, user=1, item=1, at=100, kind="sale", system="payment", order_id=None):
    return (ds, line, order_id or f"o-{line}", user, item, at, kind, amount, system)


def event(ds, action="click", user=1, item=1, at=50, impression=None, surface="feed", terminal="app", played=None):
    return (ds, user, item, at, action, impression, surface, terminal, played)


def shown(ds, name, user=1, item=1, surface="feed", terminal="app"):
    return (ds, name, user, item, surface, terminal, "organic")


def active(ds, user, clicks=0, logins=0, impressions=0, dwell_ms=0, **more):
    return (ds, user, impressions, clicks, logins, dwell_ms, *(more.get(a, 0) for a in ACTIONS))


def measured(frame, days, orders=(), events=(), impressions=(), users=(), definitions=None, further=None):
    frames = {
        "silver.orders": frame(ORDERS, list(orders)),
        "silver.events": frame(EVENTS, list(events)),
        "silver.impressions": frame(IMPRESSIONS, list(impressions)),
        "silver.user_daily": frame(USER_DAILY, list(users)),
        **{name: frame(schema, (further or {}).get(name, [])) for name, schema in FURTHER.items()},
    }
    if definitions is not None:
        rows = list(business_metrics.computed(definitions, frames, days))
    else:
        sources = {name.replace(".", "_"): f for name, f in frames.items()}
        made = business_metrics.build(**sources, days=days, params=NoParams())
        rows = [r.asDict() for r in conform(business_metrics.CONTRACT, made).collect()]
    return {(str(r["ds"])[-2:], r["metric"], r["version"], r["dimension"], r["value_group"]): r for r in rows}


WORLD = {
    "orders": [
        order(D2, "a", 300, order_id="o1"),
        order(D2, "b", 200, order_id="o1"),
        order(D2, "c", 400, order_id="o2", user=2, system="order"),
        order(D2, "d", 150, kind="refund"),
        order(D2, "e", 1000, kind="refund", system="order"),
        order(D3, "f", 50),
    ],
    "events": [
        event(D2, impression="i1"),
        event(D2, impression="i2", terminal="h5"),
        event(D2, surface=None),  # opened again with no showing
        event(D2, "view", played=0.5),
        event(D2, "view", played=0.4),
        event(D2, "view", played=1.2, terminal="h5"),
        event(D2, "view"),  # does not play
        event(D2, "login"),
    ],
    "impressions": [
        *[shown(D2, f"i{n}") for n in range(1, 4)],
        shown(D2, "i4", terminal="h5"),
        shown(D2, "i5", surface="search", terminal="mini_program"),
    ],
    "further": {
        "silver.surveys": [(D2, "nps", 10), (D2, "nps", 9), (D2, "nps", 7), (D2, "nps", 0), (D2, "interests", None)],
        "silver.costs": [(D2, "marketing", 300), (D2, "content", 90), (D2, "support", 60)],
        "silver.sessions": [(D2, 3, 5, "app"), (D2, 1, 4, "h5"), (D2, 2, 0, "h5")],
        "features.sentiment": [(D2, "user", 0.5, 1), (D2, "user", -0.25, 3), (D2, "item", 1.0, 9)],
        "features.creator_stats": [
            (D2, "head", 70, 0.5, 2, 4),
            (D2, "novice", 30, 0.25, 1, 2),
            (D2, "novice", 0, None, 0, 0),
        ],
    },
    "users": [
        # user 1: 3 logins and 10 clicks in the week that ends on D2, 9 clicks in that which ends on D3
        active(dt.date(2024, 2, 25), 1, clicks=1, logins=1),
        active(D1, 1, clicks=5, logins=1),
        active(D2, 1, clicks=4, logins=1, impressions=40, negatives=1, likes=2, dwell_ms=9_000),
        # user 2: clicks enough, 2 logins
        active(D2, 2, clicks=30, logins=2, impressions=10),
        # user 3 only saw items
        active(D2, 3, impressions=50),
        active(D3, 1, purchases=1),
    ],
}


@pytest.fixture(scope="module")
def world(spark):
    return measured(literal(spark), DayRange(D2, D3), **WORLD)


def literal(spark):
    return lambda schema, rows: spark.createDataFrame(rows, schema)


def value(found, metric, ds="02", dimension="all", group="all"):
    return found[ds, metric, 1, dimension, group]["value"]


def test_an_active_user_has_3_logins_and_10_clicks_in_7_days(world):
    # on D2 user 1 has 1 + 1 + 1 logins and 1 + 5 + 4 clicks; on D3 the week has lost February's click
    assert (value(world, "active_users"), value(world, "active_users", "03")) == (1, 0)
    # those with a row in the week
    assert world["02", "active_users", 1, "all", "all"]["n"] == 3


def test_who_only_saw_items_was_not_there(world):
    assert (value(world, "dau"), value(world, "dau", "03")) == (2, 1)


def test_gmv_with_refunds_in_and_out_and_by_system(world):
    # sales 300 + 200 by payment, 400 by order; refunds 150 and 1000
    assert {m: value(world, m) for m in ("gmv", "gmv_payment", "gmv_order")} == {
        "gmv": 900,
        "gmv_payment": 500,
        "gmv_order": 400,
    }
    assert {m: value(world, m) for m in ("gmv_net", "gmv_payment_net", "gmv_order_net", "refunds")} == {
        "gmv_net": -250,
        "gmv_payment_net": 350,
        "gmv_order_net": -600,
        "refunds": 1150,
    }
    assert value(world, "gmv", dimension="source_system", group="order") == 400


def test_clicks_and_showings_with_their_breakdowns(world):
    assert (value(world, "impressions"), value(world, "clicks"), value(world, "impression_clicks")) == (5, 3, 2)
    terminals = {g: value(world, "impressions", dimension="terminal", group=g) for g in ("app", "h5", "mini_program")}
    assert terminals == {"app": 3, "h5": 1, "mini_program": 1}
    # a value that the source does not give
    assert value(world, "clicks", dimension="surface", group="unknown") == 1
    assert ("02", "clicks", 1, "slot_type", "organic") not in world


def test_rates_carry_what_they_divide(world):
    rate = world["02", "ctr", 1, "all", "all"]
    assert (rate["numerator"], rate["denominator"], rate["value"], rate["n"]) == (2, 5, 0.4, 5)
    assert value(world, "ctr", dimension="terminal", group="h5") == 1
    # shown there, clicked never
    assert value(world, "ctr", dimension="terminal", group="mini_program") == 0
    # 2 orders by 3 clicks; 900 by 2 orders; 900 by 2 people; 1 rejection by 100 showings
    assert value(world, "cvr") == pytest.approx(2 / 3, abs=1e-9)
    assert (value(world, "aov"), value(world, "arpu"), value(world, "negative_feedback_rate")) == (450, 450, 0.01)
    assert value(world, "aov", dimension="source_system", group="payment") == 500


def test_a_play_is_effective_from_half_on(world):
    # 0.5 and 1.2 of three that say how much was played
    assert value(world, "effective_play_rate") == pytest.approx(2 / 3, abs=1e-9)
    assert world["02", "effective_play_rate", 1, "all", "all"]["n"] == 3


def test_what_people_say_and_how_long_they_stay(world):
    # two promoters, one detractor, of four answers
    assert value(world, "nps") == 0.25
    # (0.5 x 1 - 0.25 x 3) by 4 texts
    assert value(world, "sentiment") == -0.0625
    # 9 s by three people with a row; 3 visits by 2 active people; 3 + 1 clicks by two visits with showings
    assert (value(world, "time_per_user"), value(world, "visits_per_user")) == (3000, 1.5)
    assert value(world, "click_depth") == 2
    # 2 likes by 40 + 10 + 50 showings
    assert value(world, "like_rate") == 0.02


def test_what_is_spent_and_what_comes_of_it(world):
    # sales 900 of two people, less refunds of 1150
    assert (value(world, "buyers"), value(world, "arppu"), value(world, "roas")) == (2, 450, 3)
    # 300 by 3 clicks, and by 2 orders; 450 and 90 by -250
    assert (value(world, "cpc"), value(world, "cpa")) == (100, 150)
    assert (value(world, "cost_ratio"), value(world, "cost_ratio_direct")) == (-1.8, -0.36)
    # 900 by 5 showings
    assert value(world, "gmv_per_showing") == 180


def test_creators_by_stage(world):
    stages = {g: value(world, "creator_traffic", dimension="stage", group=g) for g in ("head", "novice")}
    assert stages == {"head": 70, "novice": 30}
    # of the two whose growth is known; of the fans of all
    assert (value(world, "creator_growth"), value(world, "creator_retention")) == (0.375, 0.5)


def test_retention_is_of_those_who_were_active_before(world):
    # active on D1: user 1, who is there on D2; on D2: users 1 and 2, of whom user 1 is there on D3
    assert (value(world, "retention_d1"), value(world, "retention_d1", "03")) == (1, 0.5)
    # a week before D3 is the 25th of February: user 1 again; a week before D2 nobody was there
    assert (value(world, "retention_d7", "03"), value(world, "retention_d7")) == (1, None)
    assert world["02", "retention_d7", 1, "all", "all"]["denominator"] == 0


def test_a_source_without_rows_has_no_figure_and_no_zero(world):
    # on D3 there are an order and a user's day, and neither events nor showings
    of_d3 = {metric for ds, metric, *_ in world if ds == "03"}
    assert {"orders", "gmv", "aov", "dau", "arpu"} <= of_d3
    assert not of_d3 & {"clicks", "impressions", "ctr", "cvr", "effective_play_rate"}


def test_a_range_is_its_days_one_by_one(frame, world):
    single = {}
    for ds in (D2, D3):
        single |= measured(frame, DayRange.day(ds), **WORLD)
    assert single == world


def test_nothing_at_all_makes_no_row(frame):
    assert measured(frame, DayRange.day(D2)) == {}


def test_two_versions_are_computed_side_by_side_and_the_valid_one_is_in_force(frame, tmp_path):
    sold = {"source": "silver.orders", "expression": "sum(amount_minor)", "scope": "kind = 'sale'"}
    base = {"calibre": "Sales.", "parameters": None, "valid_from": "2024-01-01", **sold}
    write(tmp_path, **base)
    write(tmp_path, **{**base, "version": 2, "scope": "amount_minor > 100", "valid_from": D3})
    write(tmp_path, **{**RATIO, "name": "own_share", "numerator": "turnover@2", "denominator": "turnover@1"})
    found = measured(frame, DayRange(D2, D3), WORLD["orders"], definitions=read_definitions(tmp_path))
    # version 2 counts refunds as well: 300 + 200 + 400 + 150 + 1000, and nothing of D3's 50
    values = {key[:3]: (row["value"], row["in_force"]) for key, row in found.items() if key[1] == "turnover"}
    assert values == {
        ("02", "turnover", 1): (900, True),
        ("02", "turnover", 2): (2050, False),
        ("03", "turnover", 1): (50, False),
        ("03", "turnover", 2): (0, True),
    }
    assert found["03", "own_share", 1, "all", "all"]["value"] == 0


# -- GMV taken apart -----------------------------------------------------------------------------


def taken_apart(frame, days, orders, events=(), impressions=()):
    made = gmv.build(
        frame(ORDERS, list(orders)),
        frame(EVENTS, list(events)),
        frame(IMPRESSIONS, list(impressions)),
        days=days,
        params=NoParams(),
    )
    return [r.asDict() for r in conform(gmv.CONTRACT, made).collect()]


def test_gmv_is_showings_by_ctr_by_cvr_by_aov_and_the_rest(frame):
    rows = taken_apart(
        frame,
        DayRange.day(D2),
        [
            order(D2, "a", 1000, item=1, at=100, order_id="o1"),  # clicked today, after yesterday's click
            order(D2, "b", 500, item=2, at=100, order_id="o1"),  # clicked yesterday
            order(D2, "c", 333, item=3, at=100, order_id="o2"),  # clicked, but only after it was bought
            order(D2, "d", 20, item=4, at=100),  # clicked without a showing
            order(D2, "e", 7, user=2, item=1, at=100),  # another person's click
            order(D2, "f", 9999, item=1, at=100, kind="refund"),
        ],
        [
            event(D1, item=1, at=10, impression="x1"),
            event(D2, item=1, at=50, impression="i1"),
            event(D1, item=2, at=20, impression="x2"),
            event(D2, item=3, at=101, impression="i3"),
            event(D2, item=4, at=50),
            event(D2, item=4, at=51, impression="never landed"),
            event(D2, "view", item=4, at=52, impression="i1"),
        ],
        [shown(D1, "x1"), shown(D1, "x2", item=2), shown(D1, "x3"), *[shown(D2, f"i{n}") for n in range(1, 9)]],
    )
    parts = {r["part"]: r for r in rows}
    numbers = ("impressions", "clicks", "orders", "amount_minor")
    assert {name: tuple(row[n] for n in numbers) for name, row in parts.items()} == {
        "lag_0": (8, 2, 1, 1000),  # 8 x 2/8 x 1/2 x 1000/1
        "lag_1": (3, 2, 1, 500),  # 3 x 2/3 x 1/2 x 500/1
        "unattributed": (None, None, 3, 360),  # 333 + 20 + 7
    }
    assert {row["gmv_minor"] for row in rows} == {1860}
    assert (parts["lag_0"]["ctr"], parts["lag_0"]["cvr"], parts["lag_0"]["aov_minor"]) == (0.25, 0.5, 1000)


def test_without_showings_all_of_it_is_unattributed(frame):
    rows = {r["part"]: r for r in taken_apart(frame, DayRange.day(D2), [order(D2, "a", 5)], [event(D2)])}
    assert {part: r["amount_minor"] for part, r in rows.items()} == {"lag_0": 0, "lag_1": 0, "unattributed": 5}
    assert (rows["lag_0"]["impressions"], rows["lag_0"]["ctr"]) == (0, None)


DAYS = st.sampled_from((D1, D2, D3))
SMALL, MOMENT = st.integers(1, 3), st.integers(0, 9)


@st.composite
def markets(draw):
    """Showings, clicks and orders of three days, few people and items, so that they meet often."""
    showings = draw(st.lists(st.tuples(DAYS, SMALL, SMALL), max_size=12))
    impressions = [shown(ds, f"i{n}", user, item) for n, (ds, user, item) in enumerate(showings)]
    ids = st.sampled_from([*[i[1] for i in impressions], "elsewhere"]) | st.none()
    clicks = draw(st.lists(st.tuples(DAYS, SMALL, SMALL, MOMENT, ids), max_size=12))
    events = [event(ds, "click", user, item, at, impression) for ds, user, item, at, impression in clicks]
    lines = draw(st.lists(st.tuples(DAYS, SMALL, SMALL, MOMENT, st.integers(0, 10**9), SMALL), max_size=12))
    orders = [
        order(ds, f"l{n}", amount, user, item, at, order_id=f"{ds}-{user}-{basket}")
        for n, (ds, user, item, at, amount, basket) in enumerate(lines)
    ]
    return orders, events, impressions


@given(markets())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_sides_are_equal_to_the_cent_whatever_happens(frame, market):
    orders, events, impressions = market
    sold, sides = defaultdict(int), defaultdict(Fraction)
    for ds, *_, amount, _ in orders:
        sold[ds] += amount
    for row in taken_apart(frame, DayRange(D1, D3), orders, events, impressions):
        if row["part"] == "unattributed":
            sides[row["ds"]] += row["amount_minor"]
        else:
            sides[row["ds"]] += gmv.explained(*[row[n] for n in ("impressions", "clicks", "orders", "amount_minor")])
        assert row["gmv_minor"] == sold[row["ds"]]
    assert sides == sold


def test_gmv_of_a_range_is_that_of_its_days_one_by_one(frame):
    rng = random.Random(5)
    days, some = [D1, D2, D3], range(1, 40)
    showings = [(rng.choice(days), f"i{n}", rng.randint(1, 3), rng.randint(1, 3)) for n in some]
    impressions = [shown(*row) for row in showings]
    events = [event(ds, "click", u, i, rng.randint(0, 9), name) for ds, name, u, i in showings if rng.random() < 0.7]
    orders = [
        order(rng.choice(days), f"l{n}", n, rng.randint(1, 3), rng.randint(1, 3), rng.randint(0, 9)) for n in some
    ]
    rows = taken_apart(frame, DayRange(D1, D3), orders, events, impressions)
    single = []
    for ds in days:
        # what the runner reads of each for one day
        window = {ds, ds - dt.timedelta(days=1)}
        of_day = [
            [r for r in rows_ if r[0] in read]
            for rows_, read in ((orders, {ds}), (events, window), (impressions, window))
        ]
        single += taken_apart(frame, DayRange.day(ds), *of_day)
    assert {r["part"] for r in rows if r["amount_minor"]} == {"lag_0", "lag_1", "unattributed"}
    assert sorted(map(str, single)) == sorted(map(str, rows))


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**6), st.integers(0, 10**15))
def test_the_product_of_the_exact_rates_is_the_amount(impressions, clicks, orders, amount):
    assert gmv.explained(impressions, clicks, orders, amount) == amount


def test_without_orders_the_product_is_nothing():
    assert gmv.explained(0, 0, 0, 0) == gmv.explained(7, 3, 0, 0) == 0


@pytest.mark.parametrize(
    ("gmv_minor", "said"), [(1860, None), (1861, "3 rows break .*the parts are not the day's GMV")]
)
def test_a_cent_between_the_parts_and_the_day_refuses_them(tmp_path, gmv_minor, said):
    lake = Lake(Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", Market("demo")))
    # 1000 + 500 + 360 = 1860
    parts = {"lag_0": 1000, "lag_1": 500, "unattributed": 360}
    folder = lake.stage_folder("audit.gmv", "a") / f"ds={D2}"
    folder.mkdir(parents=True)
    rows = [{"part": part, "amount_minor": amount, "gmv_minor": gmv_minor} for part, amount in parts.items()]
    pq.write_table(pa.Table.from_pylist(rows), folder / "part-0.parquet")
    with pytest.raises(CheckFailed, match=said) if said else nullcontext():
        Stages(lake, spark=None).check(gmv.CONTRACT, DayRange.day(D2), "a", gmv.CONTRACT.checks)
