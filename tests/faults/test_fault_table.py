"""Planted faults, and the part of the report that must name each of them first; a quiet night names nothing."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from jobs import ops
from jobs.contract import DayRange, ddl
from jobs.lake import Lake
from jobs.report import night_report
from jobs.runner import conform
from jobs.settings import Market, Settings
from jobs.steps import catalog
from models import recall
from quality import diversity, fairness, freshness, health
from quality.badcases import causes, detected

DAY = dt.date(2024, 3, 8)
TODAY = DayRange.day(DAY)
WEEK = [DAY - dt.timedelta(days=n) for n in range(7, -1, -1)]
ITEMS, USERS = 60, 400
MARKET = Market("shop", groups=("region",))


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", MARKET)


def put(settings, table, rows):
    write_deltalake(str(settings.table_path(table)), pa.Table.from_pylist(rows), partition_by=["ds"], mode="append")


class World:
    """A quiet market of eight nights, into which a test plants one fault of the last night.

    Faults are planted in what the audits read, and found by the audits' own builds.
    """

    known = {}
    dead_channel = silent_feed = frozen = uncovered = collapsed = viral = clickbait = spam = False

    def __init__(self, settings, frame):
        self.settings, self.lake, self.frame = settings, Lake(settings), frame

    def problems(self):
        for at, day in enumerate(WEEK):
            self.night(at, day, today=day == DAY)
        self.lake.append(freshness.CONTRACT, self.audited(freshness, self.freshness, self.frozen))
        planted = "collapsed" * self.collapsed or "viral" * self.viral
        self.lake.append(diversity.CONTRACT, self.audited(diversity, self.diversity, planted))
        self.lake.append(fairness.CONTRACT, self.audited(fairness, self.fairness, self.uncovered))
        self.lake.append(health.CONTRACT, self.audited(health, self.health, self.spam))
        return night_report(self.settings, DAY)["problems"]

    def audited(self, module, build, planted):
        """What a build makes of the last day; a quiet one is the same in every test."""
        key = module.__name__, planted
        if key not in self.known:
            self.known[key] = [r.asDict(True) for r in conform(module.CONTRACT, build(planted)).collect()]
        return self.known[key]

    def given(self, module, **rows):
        """Frames of all inputs of a build; what a row does not say is null, and what is not named has no row."""
        made = {}
        for each in module.CONTRACT.inputs:
            contract = getattr(each, "table", None) and catalog().table(each.table)
            if contract:
                columns = contract.schema
                cells = [tuple(row.get(c.name) for c in columns) for row in rows.get(each.argument, ())]
                made[each.argument] = self.frame(ddl(columns), cells)
        return made

    def night(self, at, day, today):
        release = {"ds": day, "release_id": str(day), "kind": "nightly", "sequence": at + 1, "tables": "{}"}
        self.lake.append(ops.RELEASE, [{**release, "run_id": "r", "at_ms": at}])
        for feed in ("events", "reviews"):
            if not (today and self.silent_feed and feed == "reviews"):
                put(self.settings, f"bronze.{feed}", [{"ds": day, "n": n} for n in range(50 + at)])
        # the nights before are like a quiet last one
        found = self.audited(recall, self.recall, today and self.dead_channel)
        self.lake.append(recall.CONTRACT, [row | {"ds": day} for row in found])
        cases = self.audited(causes, self.badcases, today and self.clickbait)
        self.lake.append(causes.CONTRACT, [row | {"ds": day} for row in cases])

    def recall(self, dead_channel):
        """Twenty people who like a creator get the creator's items and popular ones; or nobody's likes are known."""
        items = [
            {"item_id": i, "creator_id": 1, "is_eligible": True, "target_users_7d": i, "target_users_28d": i}
            for i in range(ITEMS)
        ]
        like = {"kind": "creator", "value": "1", "weight": 1.0, "share": 1.0}
        frames = self.given(
            recall,
            item_stats=[{"ds": DAY} | item for item in items],
            user_activity=[{"ds": DAY, "user_id": user} for user in range(20)],
            user_interests=[] if dead_channel else [{"ds": DAY, "user_id": user} | like for user in range(20)],
        )
        params = recall.Params(off=tuple(set(recall.CHANNELS) - {"creator", "popular"}))
        return recall.build(days=TODAY, params=params, market=MARKET, **frames)

    def badcases(self, clickbait):
        """Five new items have titles of clickbait; or all have."""
        titles = {i: "You won't believe it" if clickbait or i < 5 else "A teapot" for i in range(ITEMS)}
        items = [{"ds": DAY, "item_id": i, "title": title, "category": "tea"} for i, title in titles.items()]
        daily = [{"ds": DAY, "item_id": i, "impressions": 50, "clicks": 5, "dwell_ms": 9000} for i in titles]
        frames = self.given(detected, items=items, item_daily=daily)
        found = detected.build(days=TODAY, params=detected.Params(), market=MARKET, **frames)
        frames = self.given(causes, items=items) | {"badcases": conform(detected.CONTRACT, found)}
        return causes.build(days=TODAY, params=causes.Params(), **frames)

    def freshness(self, frozen):
        """A third of the prices moves each day; a frozen feed repeats the day before."""
        prices = {}
        for at, day in enumerate(WEEK):
            for item in range(ITEMS):
                moves = item % 3 == at % 3 and not (frozen and day == DAY)
                prices[at, item] = prices.get((at - 1, item), 100) + moves
        items = [
            {"ds": day, "item_id": item, "price_minor": prices[at, item]}
            for at, day in enumerate(WEEK)
            for item in range(ITEMS)
        ]
        return freshness.build(**self.given(freshness, items=items), days=TODAY, params=freshness.Params())

    def diversity(self, planted):
        """Lists of 10 go round the catalogue; or all are the same; or one item is on top of lists that go round."""

        def item(user, rank):
            if planted == "collapsed":
                return rank
            if planted == "viral":
                return 0 if rank == 1 else 1 + (user * 9 + rank) % (ITEMS - 1)
            return (user * 10 + rank) % ITEMS

        frames = self.given(
            diversity,
            recommendations=[
                {"ds": DAY, "surface": "feed", "user_id": user, "rank": rank, "item_id": item(user, rank)}
                for user in range(USERS)
                for rank in range(1, 11)
            ],
            items=[{"ds": DAY, "item_id": i, "category": f"c{i % 6}", "status": "active"} for i in range(ITEMS)],
            item_daily=[{"ds": DAY, "item_id": i, "impressions": 9, "clicks": 2, "targets": 1} for i in range(ITEMS)],
        )
        return diversity.build(**frames, days=TODAY, params=diversity.Params(long_tail_target=0.0))

    def health(self, spam):
        """Ten creators with six items each, for a fortnight; or twelve more on the last two days, with four each."""
        fortnight = [DAY - dt.timedelta(days=n) for n in range(14)]
        creators = [{"ds": day, "creator_id": c, "items": 6} for day in fortnight for c in range(10)]
        spammers = [{"ds": day, "creator_id": c, "items": 4} for day in fortnight[:2] for c in range(10, 22)]
        frames = self.given(health, creator_stats=[*creators, *spammers] if spam else creators)
        return health.build(**frames, days=TODAY, params=health.Params())

    def fairness(self, uncovered):
        """Nine of ten people of each region get a personal list; in the north one of two, where it lost coverage.

        The others get what is popular in their region.
        """
        personal = {"north": 200 if uncovered else 360, "south": 360}
        users = [(at * USERS + n, region, n) for at, region in enumerate(personal) for n in range(USERS)]
        frames = self.given(
            fairness,
            users=[{"ds": DAY, "user_id": user, "region": region} for user, region, _ in users],
            recommendations=[
                {"ds": DAY, "surface": "feed", "user_id": user, "rank": rank, "item_id": rank}
                | {"channel": "item_cf" if n < personal[region] else "popular_region"}
                for user, region, n in users
                for rank in range(1, 11)
            ],
        )
        return fairness.build(**frames, days=TODAY, params=fairness.Params(), market=MARKET)


@pytest.fixture
def world(settings, frame):
    return World(settings, frame)


def test_a_quiet_night_names_nothing(world):
    assert world.problems() == []


@pytest.mark.parametrize(
    ("fault", "section", "subject", "severity"),
    [
        ("dead_channel", "sources", "channel creator", "fail"),
        ("silent_feed", "sources", "feed reviews", "warn"),
        ("frozen", "freshness", "silver.items", "warn"),
        ("uncovered", "fairness", "fairness region", "warn"),
        ("collapsed", "diversity", "diversity feed", "warn"),
        ("viral", "diversity", "diversity feed", "warn"),
        ("clickbait", "badcases", "badcases title party", "warn"),
        # of 60 + 48 items more than two fifths are new people's: titles say nothing of it
        ("spam", "health", "established_supply", "warn"),
    ],
)
def test_the_audit_of_a_fault_comes_first(world, fault, section, subject, severity):
    setattr(world, fault, True)
    first, *others = world.problems()
    assert (first["section"], first["subject"], first["severity"]) == (section, subject, severity)
    assert {p["section"] for p in others} <= {section}
    # what fails pages somebody
    assert severity == "warn" or first["owner"]


def test_one_item_on_top_of_all_lists_is_named_where_all_else_is_spread(world):
    world.viral = True
    [problem] = world.problems()
    assert problem["said"] == "Lists of feed: largest_item_share is 1.000, its limit 0.900."
