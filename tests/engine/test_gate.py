"""The gate: what passes, what stops a publish, what is recorded, and the site that shows it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from urllib.parse import unquote

import pytest

from jobs.contract import WARN, Check, Column, DayRange, Table, between, in_set, no_rows_where, not_null, rows_between
from jobs.errors import CheckFailed
from jobs.lake import Lake
from jobs.ops import DATA_QUALITY
from jobs.runner import Staged
from jobs.settings import Market, Settings
from quality.data_docs import forget, history
from quality.gate import checks_of, raised, run_gate, verdict

D1, D2 = dt.date(2024, 3, 1), dt.date(2024, 3, 2)
GOOD = [(D2, 1, 10, 3, "a"), (D2, 1, 11, 4, "b"), (D2, 2, 10, None, None)]
SCHEMA = "ds date, user_id bigint, item_id bigint, clicks int, kind string"


def table(name="silver.acts", checks=(), keys=("user_id", "item_id")):
    columns = [
        Column("user_id", "bigint", "Who."),
        Column("item_id", "bigint", "What."),
        Column("clicks", "int", "Clicks."),
        Column("kind", "string", "Kind."),
    ]
    return Table(name, "silver", "tests", "A table.", columns, list(keys), checks=checks)


@dataclasses.dataclass
class Stage:
    """Stands for the runner: staged frames by table, a lake for the log."""

    settings: Settings
    frames: dict
    contracts: dict
    run_id: str = "manual__1"

    @property
    def lake(self):
        return Lake(self.settings)

    def table(self, name):
        return self.contracts[name]

    @property
    def stages(self):
        return self

    def frame(self, contract, attempt):
        return self.frames[contract.name]

    def gate(self, days=None):
        days = days or DayRange.day(D2)
        made = [Staged(name, days, "attempt", 0.0, {}, {}, "") for name in self.contracts]
        return run_gate(self, made, "silver", D2)

    def recorded(self):
        return self.lake.rows(DATA_QUALITY.name).to_pylist()


@pytest.fixture
def stage(spark, tmp_path):
    settings = Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", Market("test"))

    def make(*tables):
        contracts = {contract.name: contract for contract, _ in tables}
        return Stage(settings, {c.name: spark.createDataFrame(list(r), SCHEMA) for c, r in tables}, contracts)

    return make


ALL_KINDS = (
    between("clicks", 0, 9),
    not_null("kind", mostly=0.6),
    in_set("kind", ["a", "b"]),
    rows_between(1, 3),
    no_rows_where("clicks > 5 AND kind = 'a'", "an a has few clicks"),
)


def test_good_rows_pass_every_kind_of_check(stage):
    made = stage((table(checks=ALL_KINDS), GOOD))
    rows = made.gate()
    # five declared, three not-null keys (ds too), one unique key
    assert len(rows) == 9 and all(r["success"] for r in rows)
    assert {r["rows"] for r in rows} == {3}
    assert len(made.recorded()) == 9
    assert {r["column"] for r in rows if r["check"].startswith("not_null")} == {"ds", "user_id", "item_id", "kind"}


@pytest.mark.parametrize(
    ("check", "bad", "said"),
    [
        (between("clicks", 0, 9), (D2, 3, 1, 12, "a"), "1 of 4 rows breaking it, as 12"),
        (between("clicks", 0, None), (D2, 3, 1, -1, "a"), "1 of 4 rows breaking it, as -1"),
        (not_null("kind", mostly=0.6), (D2, 3, 1, 1, None), "2 of 4 rows breaking it"),
        (in_set("kind", ["a", "b"]), (D2, 3, 1, 1, "z"), "1 of 4 rows breaking it, as z"),
        (rows_between(1, 3), (D2, 3, 1, 1, "a"), "4 rows"),
        (no_rows_where("clicks > 5 AND kind = 'a'", "few"), (D2, 3, 1, 6, "a"), "1 of 4 rows breaking it"),
    ],
)
def test_a_bad_row_stops_the_publish_and_is_recorded(stage, check, bad, said):
    made = stage((table(checks=[check]), [*GOOD, bad]))
    with pytest.raises(CheckFailed) as caught:
        made.gate()
    assert "silver.acts" in str(caught.value) and check.name in str(caught.value) and said in str(caught.value)
    failed = [r for r in made.recorded() if not r["success"]]
    assert [(r["table"], r["check"], r["observed"], r["verdict_if_failed"]) for r in failed] == [
        ("silver.acts", check.name, said, "fail")
    ]


def test_a_failed_warning_is_recorded_and_does_not_stop(stage):
    made = stage((table(checks=[between("clicks", 0, 1, verdict=WARN)]), GOOD))
    failed = [r for r in made.gate() if not r["success"]]
    assert [(r["verdict_if_failed"], r["unexpected"], r["rows"]) for r in failed] == [("warn", 2, 3)]


def test_repeated_and_missing_keys_are_found(stage):
    made = stage((table(), [*GOOD, GOOD[0], (D2, None, 5, 1, "a")]))
    with pytest.raises(CheckFailed, match=r"unique\(keys=ds\+user_id\+item_id\)"):
        made.gate()
    failed = {r["check"]: r["unexpected"] for r in made.recorded() if not r["success"]}
    assert failed == {"unique(keys=ds+user_id+item_id)": 2, "not_null(user_id, mostly=1.0)": 1}


def test_one_bad_table_of_several_is_named_and_all_are_recorded(stage):
    made = stage(
        (table("silver.one", [rows_between(1)]), GOOD),
        (table("silver.two", [rows_between(9)]), GOOD),
        (table("silver.three", [rows_between(1)]), GOOD),
    )
    with pytest.raises(CheckFailed, match="silver.two") as caught:
        made.gate()
    assert "silver.one" not in str(caught.value)
    assert {r["table"] for r in made.recorded()} == {"silver.one", "silver.two", "silver.three"}


def test_an_empty_table_still_gets_its_checks(stage):
    made = stage((table(checks=ALL_KINDS), []))
    with pytest.raises(CheckFailed, match="rows_between.*found 0 rows"):
        made.gate()
    assert [r["check"] for r in made.recorded() if not r["success"]] == ["rows_between(low=1,high=3)"]


def test_rows_outside_the_staged_days_are_not_judged(stage):
    made = stage((table(checks=[between("clicks", 0, 9)]), [*GOOD, (D1, 1, 1, 99, "a")]))
    assert all(r["success"] for r in made.gate())


def test_the_number_of_rows_is_judged_on_the_last_day_of_a_range(stage):
    made = stage((table(checks=[rows_between(2, 3), between("clicks", 0, 9)]), [*GOOD, (D1, 1, 1, 99, "a")]))
    with pytest.raises(CheckFailed, match="between.clicks"):
        made.gate(DayRange(D1, D2))
    rows = {r["check"]: r for r in made.recorded()}
    assert rows["rows_between(low=2,high=3)"]["success"] and rows["rows_between(low=2,high=3)"]["rows"] == 3
    assert rows["between(clicks, low=0,high=9)"]["rows"] == 4


def test_a_table_without_expectations_fails(stage):
    made = stage((table(keys=()), GOOD))
    with pytest.raises(CheckFailed, match="no_expectations"):
        made.gate()


@pytest.mark.parametrize(
    "check",
    [
        no_rows_where("nowhere > 1", "why", verdict=WARN),
        between("kind", 0, 9, verdict=WARN),
        Check("unheard_of", {}, WARN),
    ],
)
def test_a_check_that_cannot_be_judged_fails_whatever_its_verdict(stage, check):
    made = stage((table(checks=[check, rows_between(1)]), GOOD))
    with pytest.raises(CheckFailed, match="no answer"):
        made.gate()


def test_a_missing_column_fails(stage, spark):
    made = stage((table(checks=[not_null("kind", verdict=WARN)]), GOOD))
    made.frames["silver.acts"] = made.frames["silver.acts"].drop("kind")
    with pytest.raises(CheckFailed, match="not_null.kind.*no answer.*kind"):
        made.gate()
    # the others were judged all the same
    assert {r["success"] for r in made.recorded() if r["column"] == "user_id"} == {True}


def test_a_skipped_check_and_an_empty_result_are_failures():
    warned = between("clicks", 0, 9, verdict=WARN)
    assert not verdict(warned, None)["success"] and verdict(warned, None)["verdict_if_failed"] == "fail"
    nothing = type("Result", (), {"exception_info": {}, "result": {}, "success": True})
    assert not verdict(warned, nothing)["success"]


def test_exceptions_are_found_flat_and_by_metric():
    flat = {"raised_exception": True, "exception_message": "first\nsecond", "exception_traceback": "…"}
    assert list(raised(flat)) == ["first"]
    assert list(raised({"metric": {"raised_exception": True, "exception_message": "deep"}})) == ["deep"]
    assert not list(raised({"raised_exception": False, "exception_message": None, "exception_traceback": None}))


def test_a_version_key_is_no_key_before_publishing():
    served = Table(
        "serving.lists",
        "serving",
        "tests",
        "Lists.",
        [Column("release_id", "string", "Release."), Column("user_id", "bigint", "Who.")],
        ["user_id"],
        replace_by="release_id",
        append=True,
    )
    assert [c.name for c in checks_of(served)] == [
        "not_null(ds, mostly=1.0)",
        "not_null(user_id, mostly=1.0)",
        "unique(keys=ds+user_id)",
    ]


def test_the_site_opens_and_keeps_history(stage, tmp_path):
    made = stage((table(checks=[between("clicks", 0, 1, verdict=WARN)]), GOOD))
    made.gate()
    made.run_id = "<later>"
    made.gate()
    site = tmp_path / "data_docs" / "test"
    index = (site / "index.html").read_text()
    links = [site / unquote(link) for link in re.findall(r'href="([^"]+)"', index)]
    assert len(links) == 2 and all(link.is_file() for link in links)
    assert "expect_column_values_to_be_between" in links[0].read_text() or "clicks" in links[0].read_text()
    assert "manual__1" in index and "&lt;later&gt;" in index and "1 warned" in index
    forget(site, 1)
    assert len(history(site)) == 1 and links[0].is_file() and not links[1].is_file()
