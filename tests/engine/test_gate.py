"""The gate: what passes, what stops a publish, what is recorded, and the site that shows it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import waivers
from jobs.catalog import discover
from jobs.contract import (
    WARN,
    Check,
    Column,
    DayRange,
    Table,
    adds_up,
    between,
    ddl,
    in_set,
    known_in,
    no_rows_where,
    not_null,
    rows_between,
)
from jobs.errors import CheckFailed, ContractError, SettingsError
from jobs.lake import Lake
from jobs.locks import exclusive
from jobs.ops import DATA_QUALITY
from jobs.runner import Staged
from jobs.settings import Market, Settings
from quality import anomalies
from quality.data_docs import forget, history
from quality.gate import checks_of, raised, run_gate, verdict

D1, D2 = dt.date(2024, 3, 1), dt.date(2024, 3, 2)
GOOD = [(D2, 1, 10, 3, "a"), (D2, 1, 11, 4, "b"), (D2, 2, 10, None, None)]


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

    def kept(self, contract, attempt):
        return self.lake.path(contract.name) / "stage" / f"attempt={attempt}"

    def read(self, each, days, reader):
        return self.frames[each.table].where(days.where())

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
        return Stage(settings, {c.name: spark.createDataFrame(list(r), ddl(c.schema)) for c, r in tables}, contracts)

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


SUM = adds_up("sum(clicks)", "silver.other", "sum(if(kind = 'a', clicks, 0))", "clicks are counted twice")


def test_a_table_adds_up_to_another_one(stage):
    # 3 + 4 clicks here; 7 of kind a there, those of kind b left out
    made = stage((table(checks=[SUM]), GOOD), (table("silver.other"), [(D2, 1, 1, 7, "a"), (D2, 1, 2, 9, "b")]))
    assert all(r["success"] for r in made.gate())


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([(D2, 1, 1, 6, "a")], "(2024-03-02: 7 here, 6 there)"),
        ([(D2, 1, 1, 6, "b")], "7 here, 0 there"),
        ([], "0 there"),
    ],
)
def test_a_table_that_does_not_add_up_stops_and_says_both_sums(stage, others, said):
    made = stage((table(checks=[SUM]), GOOD), (table("silver.other"), others))
    with pytest.raises(CheckFailed) as caught:
        made.gate()
    assert said in str(caught.value) and "adds_up" in str(caught.value)


def test_days_without_rows_on_either_side_add_up(stage):
    made = stage((table(checks=[SUM]), []), (table("silver.other"), []))
    assert all(r["success"] for r in made.gate())


def test_a_key_that_another_table_does_not_know_stops(stage):
    known = [(D2, 1, 1, None, None), (D1, 2, 1, None, None)]  # user 2 was known the day before
    made = stage((table(checks=[known_in("user_id", "silver.other")]), GOOD), (table("silver.other"), known))
    with pytest.raises(CheckFailed, match="known_in.*1 of 2 rows breaking it, as 2"):
        made.gate()


def test_a_table_without_rows_of_the_day_knows_nothing_and_stops(stage):
    before = [(D1, 1, 1, None, None), (D1, 2, 1, None, None)]
    made = stage((table(checks=[known_in("user_id", "silver.other")]), GOOD), (table("silver.other"), before))
    with pytest.raises(CheckFailed, match="known_in.*2 of 2 rows breaking it, as 1, 2"):
        made.gate()


def test_what_is_known_elsewhere_may_have_another_name_and_a_condition(stage):
    # GOOD shows the items 10 and 11; both are known as users there, but 11 with too few clicks
    known = [(D2, 10, 1, 5, "x"), (D2, 11, 1, 1, "x")]
    check = known_in("item_id", "silver.other", other="user_id", where="clicks > 1")
    made = stage((table(checks=[check]), GOOD), (table("silver.other"), known))
    with pytest.raises(CheckFailed, match="known_in.*where=clicks > 1.* found 1 of 2 rows breaking it, as 11"):
        made.gate()


SHARED = {
    "serving.fallback": ["surface", "segment", "rank", "item_id", "violations"],
    "serving.similar_items": ["item_id", "rank", "similar_item_id", "source"],
}
FALLBACK = [("feed", "everyone", 1, 1), ("feed", "everyone", 2, 2), ("feed", "region=north", 1, 1)]
SIMILAR = [(1, 1, 2, "together"), (1, 2, 3, "content"), (2, 1, 1, "together")]


@pytest.mark.parametrize(
    ("name", "rows", "said"),
    [
        ("serving.fallback", FALLBACK, None),
        ("serving.fallback", [*FALLBACK, ("feed", "everyone", 3, 2)], "an item is twice in a list"),
        ("serving.fallback", [*FALLBACK, ("feed", "everyone", 3, 9)], "known_in.* as 9"),
        ("serving.fallback", [*FALLBACK, ("feed", "everyone", 3, 8)], "known_in.* as 8"),
        (
            "serving.fallback",
            [*FALLBACK, ("feed", "everyone", 3, 3, ["on a rank kept for ads"])],
            "a list breaks a rule",
        ),
        ("serving.similar_items", SIMILAR, None),
        ("serving.similar_items", [*SIMILAR, (1, 3, 3, "content")], "an item is twice in a list"),
        ("serving.similar_items", [*SIMILAR, (1, 3, 9, "content")], "known_in.similar_item_id.* as 9"),
        ("serving.similar_items", [*SIMILAR, (1, 21, 1, "content")], "between.rank, low=1,high=20"),
    ],
)
def test_a_shared_list_that_breaks_a_rule_stops_the_publish(stage, name, rows, said):
    """Items 1, 2 and 3 are eligible, 9 is not, and 8 is not known."""
    catalog = discover()
    lists, stats = catalog.table(name), catalog.table("features.item_stats")
    offer = [{"ds": D2, "item_id": i, "is_eligible": i != 9} for i in (1, 2, 3, 9)]
    shown = [{"ds": D2, "release_id": "r", **dict(zip(SHARED[name], row))} for row in rows]
    tables = ((lists, shown), (dataclasses.replace(stats, checks=()), offer))
    made = stage(*[(t, [tuple(r.get(c.name) for c in t.schema) for r in of]) for t, of in tables])
    if said is None:
        assert all(row["success"] for row in made.gate() if row["table"] == name)
    else:
        with pytest.raises(CheckFailed, match=f"{name}: [^;]*{said}"):
            made.gate()


# -- waivers ---------------------------------------------------------------------------------------

CLICKS = between("clicks", 0, 3)


def failing(stage):
    made = stage((table(checks=[CLICKS, not_null("kind")]), GOOD))
    with pytest.raises(CheckFailed):
        made.gate()
    return made


def test_a_waived_failure_passes_and_the_trail_says_who_let_it(stage):
    made = failing(stage)
    for check in (CLICKS, not_null("kind")):
        waivers.waive(made.lake, "silver.acts", check.name, D2, D2, "the source mends it", "vera")
    rows = {r["check"]: r for r in made.gate()}
    assert rows[CLICKS.name]["waiver"] == "waived by vera until 2024-03-02: the source mends it"
    assert not rows[CLICKS.name]["success"] and rows[CLICKS.name]["verdict_if_failed"] == "fail"
    assert rows["not_null(user_id, mostly=1.0)"]["waiver"] is None


def test_only_the_named_check_passes(stage):
    made = failing(stage)
    waivers.waive(made.lake, "silver.acts", CLICKS.name, D2, D2, "the source mends it")
    with pytest.raises(CheckFailed, match="not_null.kind") as caught:
        made.gate()
    assert "between" not in str(caught.value)


def test_a_check_without_an_answer_has_no_waiver(stage, spark):
    made = failing(stage)
    waivers.waive(made.lake, "silver.acts", CLICKS.name, D2, D2, "the source mends it")
    made.frames["silver.acts"] = spark.createDataFrame(GOOD, ddl(made.contracts["silver.acts"].schema)).drop("clicks")
    with pytest.raises(CheckFailed, match="between.clicks.*no answer"):
        made.gate()
    kinds = not_null("kind").name
    made = stage((table("silver.others", checks=[no_rows_where("nowhere > 1", "why")]), GOOD))
    with pytest.raises(CheckFailed):
        made.gate()
    with pytest.raises(SettingsError, match="did not fail") as caught:
        waivers.waive(made.lake, "silver.others", no_rows_where("nowhere > 1", "why").name, D2, D2, "why")
    # what the first gate's other check found may be waived
    assert kinds in str(caught.value) and "nowhere" not in str(caught.value).split("Failed:")[1]


def test_a_waiver_ends(stage):
    made = failing(stage)
    waivers.waive(made.lake, "silver.acts", CLICKS.name, D2, D2, "the source mends it")
    assert set(waivers.waived(made.lake, D2)) == {("silver.acts", CLICKS.name)}
    assert waivers.waived(made.lake, D1) == waivers.waived(made.lake, D2 + dt.timedelta(days=1)) == {}


def test_what_did_not_fail_cannot_be_waived(stage):
    made = failing(stage)
    with pytest.raises(SettingsError, match="did not fail on 2024-03-02.*between"):
        waivers.waive(made.lake, "silver.acts", "rows_between(low=1)", D2, D2, "why")
    with pytest.raises(SettingsError, match="never hold"):
        waivers.waive(made.lake, "silver.acts", CLICKS.name, D2, D1, "why")


# -- the same weekday's history --------------------------------------------------------------------

LOCAL = pa.schema([("user_id", pa.int64()), ("clicks", pa.int32()), ("kind", pa.string())])


def write_rows(folder, rows, missing=0):
    folder.mkdir(parents=True)
    columns = [list(range(rows)), [1] * rows, [None] * missing + ["a"] * (rows - missing)]
    pq.write_table(
        pa.table([pa.array(c, f.type) for c, f in zip(columns, LOCAL)], schema=LOCAL), folder / "part.parquet"
    )


def weeks(made, rows_of_week):
    """Publish the days one to n weeks before D2, with so many rows each; the newest first."""
    contract = made.contracts["silver.acts"]
    for n, rows in enumerate(rows_of_week, start=1):
        day = D2 - dt.timedelta(weeks=n)
        root = made.kept(contract, f"past{n}")
        write_rows(root / f"ds={day}", rows, missing=rows // 10)
        with exclusive(made.settings.locks, contract.name) as token:
            made.lake.publish(contract, made.lake.staged_files(contract, root), DayRange.day(day), token, {})


@pytest.mark.parametrize(
    ("rows", "missing", "broken"),
    [(100, 12, []), (40, 4, ["usual_rows()"]), (160, 80, ["usual_nulls()", "usual_rows()"])],
)
def test_rows_and_missing_values_are_held_against_the_same_weekday(stage, rows, missing, broken):
    made = stage((table(), GOOD))
    weeks(made, [100, 110, 90, 100])
    write_rows(made.kept(made.contracts["silver.acts"], "attempt") / f"ds={D2}", rows, missing)
    failed = {r["check"]: r for r in made.gate() if not r["success"]}
    assert sorted(failed) == broken
    assert {r["verdict_if_failed"] for r in failed.values()} <= {"warn"}
    if rows == 40:
        # median 100, and 30 % of it is more than four deviations
        assert failed["usual_rows()"]["observed"] == "40 rows; 4 same weekdays before: 70 to 130"
    if missing == 80:
        # 10 % were missing every week
        assert failed["usual_nulls()"]["observed"] == "kind: 50.0% missing, usual is at most 15.0%"


def test_three_weeks_are_no_history(stage):
    made = stage((table(), GOOD))
    weeks(made, [100, 110, 90])
    write_rows(made.kept(made.contracts["silver.acts"], "attempt") / f"ds={D2}", 1)
    assert not {r["check"] for r in made.gate()} & {"usual_rows()", "usual_nulls()"}


def test_a_market_may_let_anomalies_stop_the_publish(stage):
    made = stage((table(), GOOD))
    made.settings = dataclasses.replace(
        made.settings, market=Market("test", params={anomalies.OPTIONS: {"verdict": "fail"}})
    )
    weeks(made, [100, 110, 90, 100])
    write_rows(made.kept(made.contracts["silver.acts"], "attempt") / f"ds={D2}", 40)
    with pytest.raises(CheckFailed, match="usual_rows.*40 rows"):
        made.gate()
    with pytest.raises(ContractError, match="not warn or fail"):
        anomalies.params_of(Market("test", params={anomalies.OPTIONS: {"verdict": "stop"}}))


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
