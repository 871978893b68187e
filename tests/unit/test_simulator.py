"""The simulated world: the same bytes for the same seed, true propensities, planted faults, learnable taste."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jobs.errors import LandingError, SettingsError
from jobs.landing import FEEDS, day_folder, landed_files, sha256
from jobs.simulator import ReleasedLists, World, WorldConfig, demo_market, simulate
from jobs.simulator.faults import NOT_UTF8
from jobs.simulator.policy import (
    CURATED_SHARE,
    EXPLORATION,
    EXPLORE,
    ORGANIC,
    POPULAR,
    Pool,
    ReleasedDay,
    Shelf,
    draw_logging,
    popularity,
)

pytestmark = pytest.mark.filterwarnings("error")

TINY = WorldConfig(
    users=60,
    items=220,
    creators=22,
    days=4,
    block=40,
    late_rate=0.1,
    too_late_rate=0.02,
    duplicate_rate=0.1,
    corrupt_rate=0.1,
)
SMALL = WorldConfig(
    users=500,
    items=500,
    creators=60,
    days=6,
    block=600,
    late_rate=0.0,
    too_late_rate=0.0,
    duplicate_rate=0.0,
    corrupt_rate=0.0,
)


def digests(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): sha256(p) for p in sorted(root.rglob("*")) if p.is_file()}


def rows(landing: Path, config: WorldConfig, feed: str) -> pd.DataFrame:
    """All good lines of a feed, as delivered, with the arrival day as ``ds``."""
    frames = []
    for day in range(config.days):
        for file in landed_files(day_folder(landing, config.market, feed, config.date(day))):
            frames.append(read(file.path).assign(ds=config.date(day)))
    return pd.concat(frames, ignore_index=True)


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.name.endswith(".csv.gz"):
        return pd.read_csv(path, dtype=str)
    lines = gzip.decompress(path.read_bytes()).splitlines()
    return pd.DataFrame([json.loads(line) for line in lines if line.endswith(b"}") and NOT_UTF8 not in line])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    simulate(TINY, root / "landing", root / "truth")
    return root


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    simulate(SMALL, root / "landing", root / "truth")
    return root


def test_the_same_seed_gives_the_same_bytes_in_one_call_or_several(tiny: Path, tmp_path: Path) -> None:
    simulate(TINY, tmp_path / "landing", tmp_path / "truth", last_day=TINY.date(2))
    simulate(TINY, tmp_path / "landing", tmp_path / "truth", first_day=TINY.date(3))
    assert digests(tmp_path) == digests(tiny)


def test_another_seed_gives_other_bytes(tiny: Path, tmp_path: Path) -> None:
    other = WorldConfig(**{**vars(TINY), "seed": 8, "days": 1})
    simulate(other, tmp_path / "landing", tmp_path / "truth")
    path = "landing/demo/events/ds=2024-03-01/part-00000.jsonl.gz"
    assert digests(tmp_path)[path] != digests(tiny)[path]


def test_every_feed_is_complete_each_day_and_its_manifest_is_true(tiny: Path) -> None:
    for feed in FEEDS:
        for day in range(TINY.days):
            folder = day_folder(tiny / "landing", TINY.market, feed.name, TINY.date(day))
            files = landed_files(folder)
            assert {f.path.name for f in files} == {p.name for p in folder.iterdir() if p.name.startswith("part-")}
            for file in files:
                assert sha256(file.path) == file.sha256
                if file.path.name.endswith(".jsonl.gz"):
                    assert gzip.decompress(file.path.read_bytes()).count(b"\n") == file.rows
                else:
                    assert len(read(file.path)) == file.rows
                    assert tuple(read(file.path).columns) == feed.names


def test_a_landed_day_is_not_landed_again(tiny: Path) -> None:
    with pytest.raises(LandingError, match="has landed already"):
        simulate(TINY, tiny / "landing", tiny / "truth", last_day=TINY.date(0))


def test_days_follow_one_another_and_truth_is_of_one_world(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has not been simulated"):
        simulate(TINY, tmp_path / "landing", tmp_path / "truth", first_day=TINY.date(2))
    other = WorldConfig(**{**vars(TINY), "seed": 9})
    with pytest.raises(SettingsError, match="other seed"):
        simulate(other, tmp_path / "landing", tiny / "truth")


def test_truth_is_not_in_the_landing_zone(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="must not lie in the landing zone"):
        simulate(TINY, tmp_path, tmp_path / "truth")
    assert not [p for p in (tiny / "landing").rglob("*") if "truth" in p.name or "planted" in p.name]
    assert {p.name for p in (tiny / "landing" / TINY.market).iterdir()} == {f.name for f in FEEDS}


@pytest.mark.parametrize("options", [{"users": 0}, {"items": 10}, {"late_rate": 0.9}, {"start": "yesterday"}])
def test_an_impossible_world_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="simulated world"):
        WorldConfig(**options)


def test_planted_faults_are_the_ones_that_can_be_counted(tiny: Path) -> None:
    planted = json.loads((tiny / "truth" / TINY.market / "planted.json").read_text())
    for feed in ("impressions", "events", "orders"):
        found = rows(tiny / "landing", TINY, feed)
        key = found.columns[0]
        good = found[~found[key].str.endswith("-x")]
        happened = pd.to_datetime(good["at"], utc=True).dt.tz_convert(TINY.timezone).dt.date
        lag = pd.Series([(a - b).days for a, b in zip(good["ds"], happened, strict=True)], index=good.index)
        repeated = good[key].duplicated()
        total: Counter[str] = Counter()
        for counts in planted[feed].values():
            total.update(counts)
        assert repeated.sum() == total["duplicates"]
        assert ((lag > 3) & ~repeated).sum() == total["too_late"]
        assert ((lag >= 1) & (lag <= 3) & ~repeated).sum() == total["late"]
        assert ((lag == 0) & ~repeated).sum() == total["clean"] + total["refunds"]
        corrupt = sum(count for name, count in total.items() if name.startswith("corrupt."))
        hidden = total["corrupt.unparseable"] + total["corrupt.not_utf8"]
        assert found[key].str.endswith("-x").sum() == corrupt - hidden
        assert total["landed"] == len(found) + hidden
        assert feed == "orders" or min(total["late"], total["duplicates"], corrupt) > 0


def test_a_world_of_one_quiet_user_lands_whole_days(tmp_path: Path) -> None:
    config = WorldConfig(
        users=1,
        items=200,
        creators=20,
        days=4,
        block=1,
        slate=1,
        new_users_daily=0,
        new_items_daily=0,
        requests_per_user_day=0.2,
    )
    landed = simulate(config, tmp_path / "landing", tmp_path / "truth")
    assert [day["users"] for day in landed.values()][0] == 1
    assert all(set(day) == {feed.name for feed in FEEDS} for day in landed.values())
    assert 0 in [day["impressions"] for day in landed.values()]


def test_late_rows_are_as_many_as_configured(tiny: Path) -> None:
    planted = json.loads((tiny / "truth" / TINY.market / "planted.json").read_text())["impressions"]
    third = planted[str(TINY.date(3))]
    assert third["late"] / third["landed"] == pytest.approx(TINY.late_rate, abs=0.05)


def shelf(active: int = 12) -> Shelf:
    rng = np.random.default_rng(1)
    eligible = np.arange(active)
    share = popularity(rng.lognormal(0, 1, active), np.ones(active, dtype=bool))
    return Shelf(eligible, share, np.array([3, 4]), np.array([5, 6, 7]))


def test_logged_propensity_is_the_frequency_of_the_choice() -> None:
    """At position 1 without ads, p = EXPLORE/N + POPULAR·pop + rest·q, less what a curated item took before."""
    n, stock = 60_000, shelf()
    pool = Pool(np.array([[0, 1, 2]]), np.array([[0.5, 0.3, 0.2]]), np.array([True]))
    person, ads = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
    slates = draw_logging(np.random.default_rng(5), stock, pool, person, ads, 4)
    p = EXPLORE / 12 + POPULAR * stock.popularity
    p[:3] += (1 - EXPLORE - POPULAR) * pool.q[0]
    assert p.sum() == pytest.approx(1)
    curated = np.isin(np.arange(n), slates.request[slates.slot == 2])
    assert curated.mean() == pytest.approx(CURATED_SHARE, abs=0.01)
    first = (slates.position == 1) & ~curated[slates.request]
    np.testing.assert_allclose(slates.propensity[first], p[slates.item[first]], rtol=1e-9)
    seen = np.bincount(slates.item[first], minlength=12) / first.sum()
    np.testing.assert_allclose(seen, p, atol=0.01)


def test_inverse_propensities_of_every_slot_count_the_items_not_yet_shown() -> None:
    """E[1/p] over a slot's choices is the number of items that could still be chosen."""
    n, stock = 40_000, shelf()
    pool = Pool(np.array([[0, 1, 2]]), np.array([[0.4, 0.3, 0.3]]), np.array([True]))
    slates = draw_logging(
        np.random.default_rng(6),
        stock,
        pool,
        np.zeros(n, dtype=np.int64),
        np.zeros(n, dtype=bool),
        4,
    )
    curated = np.isin(slates.request, slates.request[slates.slot == 2])
    for position in (1, 2, 3):
        here = (slates.position == position) & ~curated
        assert (1 / slates.propensity[here]).mean() == pytest.approx(12 - position + 1, rel=0.05)


def test_a_slate_never_repeats_an_item(small: Path) -> None:
    shown = rows(small / "landing", SMALL, "impressions")
    assert not shown.duplicated(["request_id", "item_id"]).any()
    assert not shown.duplicated(["request_id", "position"]).any()
    assert shown["propensity"].between(0, 1, inclusive="right").all()


def test_higher_positions_are_clicked_more_and_by_the_known_chance(small: Path) -> None:
    shown = rows(small / "landing", SMALL, "impressions")
    clicks = rows(small / "landing", SMALL, "events").query("action == 'click'")
    truth = pd.concat(pd.read_parquet(p) for p in sorted((small / "truth").rglob("impressions/*/*.parquet")))
    shown = shown.merge(truth, on="impression_id", validate="one_to_one")
    shown["clicked"] = shown["impression_id"].isin(clicks["impression_id"])
    rate = shown.groupby("position")["clicked"].mean()
    assert rate[1] > 1.5 * rate[5] > 0
    assert shown["clicked"].mean() == pytest.approx(shown["click_probability"].mean(), rel=0.05)


def test_taste_by_topic_beats_popularity_on_the_next_day(small: Path) -> None:
    """Recall@20 of the popular items of each user's own topics, against the popular items of all."""
    clicks = rows(small / "landing", SMALL, "events").query("action == 'click'")
    topic = rows(small / "landing", SMALL, "items").drop_duplicates("item_id").set_index("item_id")["subcategory"]
    clicks = clicks.assign(topic=clicks["item_id"].map(topic))
    past, last = clicks[clicks["ds"] < SMALL.date(5)], clicks[clicks["ds"] == SMALL.date(5)]
    popular = past["item_id"].value_counts()
    of_topic = {name: list(group.index) for name, group in popular.groupby(topic.reindex(popular.index))}
    hits = Counter({"popular": 0, "personal": 0})
    for user, wanted in last.groupby("user_id")["item_id"]:
        mine = past.loc[past["user_id"] == user, "topic"].value_counts(normalize=True)
        personal = [item for name, share in mine.items() for item in of_topic[name][: max(1, round(20 * share))]][:20]
        hits["popular"] += len(set(wanted) & set(popular.index[:20]))
        hits["personal"] += len(set(wanted) & set(personal))
    assert hits["personal"] > 1.5 * hits["popular"] > 0


def test_title_parties_are_clicked_more_and_liked_less(small: Path) -> None:
    items = pd.read_parquet(small / "truth" / SMALL.market / "items.parquet").set_index("item_id")
    shown = rows(small / "landing", SMALL, "impressions")
    truth = pd.concat(pd.read_parquet(p) for p in sorted((small / "truth").rglob("impressions/*/*.parquet")))
    shown = shown.merge(truth, on="impression_id").assign(bait=lambda f: f["item_id"].map(items["title_party"]))
    mean = shown.groupby("bait")[["relevance", "satisfaction"]].mean()
    assert mean.loc[True, "relevance"] > mean.loc[False, "relevance"]
    assert mean.loc[True, "satisfaction"] < 0.6 * mean.loc[False, "satisfaction"]


def test_events_and_times_are_of_the_market_day(small: Path) -> None:
    for feed in ("impressions", "events", "reviews", "surveys"):
        found = rows(small / "landing", SMALL, feed)
        local = pd.to_datetime(found["at"], utc=True).dt.tz_convert(SMALL.timezone).dt.date
        assert (local == found["ds"]).all()
        assert found["at"].str.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z").all()


def test_some_who_liked_what_they_clicked_follow_its_creator_and_few_take_it_back(small: Path) -> None:
    found = rows(small / "landing", SMALL, "events")
    assert not found["event_id"].duplicated().any()
    followed = found[found["action"] == "follow_author"]
    undone = found[found["action"] == "unfollow_author"]
    clicks = found[(found["action"] == "click") & found["impression_id"].notna()]
    assert 0.005 < len(followed) / len(clicks) < 0.03 and 0 < len(undone) < 0.2 * len(followed)
    assert set(followed["impression_id"]) <= set(clicks["impression_id"])
    both = undone.merge(followed, on="impression_id", suffixes=("", "_before"))
    assert len(both) == len(undone) and (both["at"] >= both["at_before"]).all()
    truth = pd.concat(pd.read_parquet(p) for p in sorted((small / "truth").rglob("impressions/*/*.parquet")))
    liking = truth.set_index("impression_id")["satisfaction"]
    assert liking[followed["impression_id"]].mean() > liking[clicks["impression_id"]].mean()


def test_state_feeds_land_everything_first_and_changes_later(small: Path) -> None:
    users, items = (rows(small / "landing", SMALL, feed) for feed in ("users", "items"))
    assert (users["ds"] == SMALL.date(0)).sum() == SMALL.users
    assert (items["ds"] == SMALL.date(0)).sum() == SMALL.items
    assert 0 < (items["ds"] == SMALL.date(1)).sum() < SMALL.items / 4
    assert users["user_id"].nunique() == SMALL.user_count(SMALL.days - 1)
    shown = rows(small / "landing", SMALL, "impressions")
    assert set(shown["user_id"]) <= set(users["user_id"]) and set(shown["item_id"]) <= set(items["item_id"])


def test_a_released_list_is_shown_in_order_apart_from_exploration(small: Path, tmp_path: Path) -> None:
    config = WorldConfig(**{**vars(SMALL), "days": 1})
    active = np.flatnonzero(World(config).item_state(0).active)[:30]
    lists = pd.DataFrame(
        {
            "user_id": np.repeat([f"u{n:07d}" for n in range(250)], 30),
            "rank": np.tile(np.arange(1, 31), 250),
            "item_id": [f"p{n:07d}" for n in np.tile(active, 250)],
            "surface": "feed",
            "release_id": "r1",
        }
    )
    fallback = pd.DataFrame({"segment": "all", "rank": [1, 2], "item_id": [f"p{n:07d}" for n in active[[7, 8]]]})
    simulate(config, tmp_path / "l", tmp_path / "t", released=ReleasedLists(lists, fallback, explore=0.1))
    shown = rows(tmp_path / "l", config, "impressions")
    organic = shown[shown["slot_type"].isin(["organic", "exploration"])]
    owners = organic["user_id"].isin(set(lists["user_id"]))
    share = organic["slot_type"].eq("organic")[owners].mean()
    assert share == pytest.approx(0.9, abs=0.02)
    assert set(shown["policy"]) == {"released:r1"}
    first = organic[(organic["position"] == 1) & (organic["slot_type"] == "organic")]
    page = first.sort_values("at").drop_duplicates("user_id").set_index("user_id")["item_id"]
    assert page[page.index.isin(set(lists["user_id"]))].value_counts(normalize=True).iloc[0] > 0.85
    assert set(page[~page.index.isin(set(lists["user_id"]))]) <= set(fallback["item_id"])


def test_released_propensities_are_the_frequencies_of_the_choice() -> None:
    n, stock = 30_000, shelf()
    lists = pd.DataFrame({"user_id": "u0000000", "rank": [1, 2], "item_id": ["p0000002", "p0000009"]})
    day = ReleasedDay(ReleasedLists(lists, explore=0.3), np.ones(12, dtype=bool))
    zero = np.zeros(n, dtype=np.int64)
    bare = Shelf(stock.eligible, stock.popularity, stock.curated[:0], stock.ads[:0])
    slates = day.draw(np.random.default_rng(2), bare, np.array(["u0000000"]), zero, zero, zero.astype(bool), 4)
    first = slates.position == 1
    expected = np.full(12, 0.3 / 12)
    expected[2] += 0.7
    np.testing.assert_allclose(slates.propensity[first], expected[slates.item[first]])
    np.testing.assert_allclose(np.bincount(slates.item[first], minlength=12) / n, expected, atol=0.01)
    for position in (2, 3, 4):
        here = slates.position == position
        assert (1 / slates.propensity[here]).mean() == pytest.approx(12 - position + 1, rel=0.05)
    assert set(slates.slot) == {ORGANIC, EXPLORATION}
    with pytest.raises(SettingsError, match="does not have"):
        ReleasedDay(ReleasedLists(lists.assign(item_id="p0000099")), np.ones(12, dtype=bool))


def test_the_market_reads_columns_that_exist() -> None:
    market = demo_market(WorldConfig())
    users = next(feed for feed in FEEDS if feed.name == "users")
    assert set(market.groups) <= set(users.names)
    assert market.timezone == "Asia/Shanghai"
    assert WorldConfig().midnight_ms(0) == dt.datetime(2024, 2, 29, 16, tzinfo=dt.UTC).timestamp() * 1000
