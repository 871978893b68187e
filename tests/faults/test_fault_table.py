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
from jobs.settings import Market, Settings
from jobs.steps import catalog
from quality import diversity, fairness, freshness
from quality.intervals import wilson

DAY = dt.date(2024, 3, 8)
WEEK = [DAY - dt.timedelta(days=n) for n in range(7, -1, -1)]
ITEMS, USERS = 60, 400
BADCASE = pa.schema(
    [
        ("ds", pa.date32()),
        ("case_id", pa.int64()),
        ("type", pa.string()),
        ("user_id", pa.int64()),
        ("item_id", pa.int64()),
        ("category", pa.string()),
        ("severity", pa.int32()),
        ("evidence", pa.string()),
        ("layer", pa.string()),
    ]
)


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", Market("shop", groups=("region",)))


def put(settings, table, rows, by=("ds",), schema=None):
    path = str(settings.table_path(table))
    write_deltalake(path, pa.Table.from_pylist(rows, schema=schema), partition_by=list(by), mode="append")


class World:
    """A quiet market of eight nights, into which a test plants one fault of the last night."""

    known = {}
    dead_channel = silent_feed = frozen = uncovered = viral = spam = False

    def __init__(self, settings, frame):
        self.settings, self.lake, self.frame = settings, Lake(settings), frame

    def problems(self):
        for at, day in enumerate(WEEK):
            self.night(at, day, today=day == DAY)
        self.lake.append(freshness.CONTRACT, self.audited(freshness, self.freshness, self.frozen))
        self.lake.append(diversity.CONTRACT, self.audited(diversity, self.diversity, self.viral))
        self.lake.append(fairness.CONTRACT, list(self.fairness()))
        return night_report(self.settings, DAY)["problems"]

    def audited(self, module, build, planted):
        """An audit's rows; a quiet one is the same in every test."""
        key = module.__name__, planted
        if key not in self.known:
            names = [c.name for c in module.CONTRACT.columns]
            self.known[key] = [{"ds": DAY} | {n: r[n] for n in names} for r in build().collect()]
        return self.known[key]

    def night(self, at, day, today):
        release = {"ds": day, "release_id": str(day), "kind": "nightly", "sequence": at + 1, "tables": "{}"}
        self.lake.append(ops.RELEASE, [{**release, "run_id": "r", "at_ms": at}])
        for feed in ("events", "reviews"):
            if not (today and self.silent_feed and feed == "reviews"):
                put(self.settings, f"bronze.{feed}", [{"ds": day, "n": n} for n in range(50 + at)])
        for channel in ("item_cf", "popular"):
            if not (today and self.dead_channel and channel == "item_cf"):
                rows = [{"ds": day, "channel": channel, "n": n} for n in range(100 + at)]
                put(self.settings, "candidates.recall", rows, by=("ds", "channel"))
        cases = 60 if today and self.spam else 5
        row = {"ds": day, "type": "title_party", "severity": 2, "layer": "content", "evidence": "{}"}
        put(self.settings, "audit.badcase", [{**row, "case_id": n, "item_id": n} for n in range(cases)], schema=BADCASE)

    def freshness(self):
        """A third of the prices moves each day; a frozen feed repeats the day before."""

        prices = {}
        for at, day in enumerate(WEEK):
            for item in range(ITEMS):
                moves = item % 3 == at % 3 and not (self.frozen and day == DAY)
                prices[at, item] = prices.get((at - 1, item), 100) + moves
        items = [(day, item, prices[at, item], None) for at, day in enumerate(WEEK) for item in range(ITEMS)]
        return freshness.build(
            self.frame("ds date, item_id bigint, price_minor bigint, stock int", items),
            self.frame("ds date, creator_id bigint, followers bigint", []),
            days=DayRange.day(DAY),
            params=freshness.Params(),
        )

    def diversity(self):
        """Lists of 10 go round the catalogue; a viral item and its kind stand in all of them."""
        lists = [
            (DAY, "feed", user, rank, rank if self.viral else (user * 10 + rank) % ITEMS)
            for user in range(USERS)
            for rank in range(1, 11)
        ]
        given = {
            "recommendations": ("ds date, surface string, user_id bigint, rank int, item_id bigint", lists),
            "items": (
                "ds date, item_id bigint, category string, status string, stock int",
                [(DAY, item, f"c{item % 6}", "active", None) for item in range(ITEMS)],
            ),
            "item_daily": (
                "ds date, item_id bigint, impressions int, clicks int, targets int",
                [(DAY, item, 9, 2, 1) for item in range(ITEMS)],
            ),
        }
        # what the fault does not touch has no row
        for each in diversity.CONTRACT.inputs:
            given.setdefault(each.argument, (ddl(catalog().table(each.table).schema), []))
        frames = {name: self.frame(schema, rows) for name, (schema, rows) in given.items()}
        return diversity.build(**frames, days=DayRange.day(DAY), params=diversity.Params(long_tail_target=0.0))

    def fairness(self):
        """Nine of ten people of each region get a personal list; in the north one of two, where it lost coverage."""
        covered = {"north": 200 if self.uncovered else 360, "south": 360}
        params = fairness.Params()
        groups = [fairness.Figure(group, n / 400, *wilson(n, 400), 400) for group, n in covered.items()]
        all_of_them = sum(covered.values())
        everybody = fairness.Figure("", all_of_them / 800, *wilson(all_of_them, 800), 800)
        day = DayRange.day(DAY)
        return fairness.compared("region", "coverage", 0, groups, everybody, day, params, params.coverage_limit)


@pytest.fixture
def world(settings, frame):
    return World(settings, frame)


def test_a_quiet_night_names_nothing(world):
    assert world.problems() == []


@pytest.mark.parametrize(
    ("fault", "section", "subject", "severity"),
    [
        ("dead_channel", "sources", "channel item_cf", "fail"),
        ("silent_feed", "sources", "feed reviews", "warn"),
        ("frozen", "freshness", "silver.items", "warn"),
        ("uncovered", "fairness", "fairness region", "warn"),
        ("viral", "diversity", "diversity feed", "warn"),
        ("spam", "badcases", "badcases title party", "warn"),
    ],
)
def test_the_audit_of_a_fault_comes_first(world, fault, section, subject, severity):
    setattr(world, fault, True)
    first, *others = world.problems()
    assert (first["section"], first["subject"], first["severity"]) == (section, subject, severity)
    assert {p["section"] for p in others} <= {section}
    # what fails pages somebody
    assert severity == "warn" or first["owner"]
