"""Deliveries whose columns change: a new one passes and is named, one that is gone or retyped stops the day."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import steps
from jobs.contract import DayRange
from jobs.errors import LandingError
from jobs.landing import GONE_WITHOUT, day_folder, write_manifest
from jobs.settings import Market, load_settings, save_market

KINDS = ("csv", "jsonl", "parquet")
BEFORE = DayRange(dt.date(2024, 3, 1), dt.date(2024, 3, 2))
FIRST_CASE = dt.date(2024, 4, 1)
NODE = "bronze.surveys"


def answers(day: dt.date, rows: int = 40) -> list[dict]:
    """Answers to a survey: every one has a score, one in 40 a text."""
    return [
        {
            "survey_id": f"{day} {n}",
            "user_id": f"u{n}",
            "at": f"{day}T10:00:00Z",
            "kind": "nps",
            "score": str(n % 11),
            "answer": "food|books" if n % 40 == 0 else None,
        }
        for n in range(rows)
    ]


def land(settings, day: dt.date, kind: str, rows: list[dict]) -> None:
    """Rows as a file of a kind; JSON lines leave out what has no value, as many writers do."""
    folder = day_folder(settings.landing, settings.market.name, "surveys", day)
    folder.mkdir(parents=True)
    path = folder / f"data.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        given = [{k: v for k, v in row.items() if v is not None} for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in given))
    else:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        path.write_text(text.getvalue())
    write_manifest(folder, "surveys", day, {path.name: len(rows)})


@pytest.fixture(scope="module")
def build(tmp_path_factory, spark_server):
    """Lands a day and builds its bronze, after two usual days: ``build(kind, rows)``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTJAR_HOME", str(tmp_path_factory.mktemp("drift")))
        patch.setenv("NIGHTJAR_SPARK", spark_server)
        save_market(Market("demo"))
        settings = load_settings("demo")
        for day in BEFORE:
            land(settings, day, "parquet", answers(day))
        with steps.opened("demo", "drift") as runner:
            node = runner.catalog.node(NODE)
            runner.build_group([node], BEFORE)
            cases = iter(range(1000))

            def make(kind: str, change, rows: int = 40, without: tuple[str, ...] = ()) -> dt.date:
                day = FIRST_CASE + dt.timedelta(days=next(cases))
                land(settings, day, kind, [change(row) for row in answers(day, rows)])
                params = {NODE: {"without": list(without)}}
                runner.settings = replace(settings, market=replace(settings.market, params=params))
                runner.build_group([node], DayRange.day(day), publish=False)
                return day

            make.runner = runner
            yield make


def without_score(row):
    return {k: v for k, v in row.items() if k != "score"}


def with_points(row):
    return without_score(row) | {"points": row["score"]}


def in_words(row):
    return row | {"score": f"about {row['score']}"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_column_passes_is_kept_and_is_named_for_the_operator(build, kind):
    day = build(kind, lambda row: row | {"mood": "good", "colour": None if row["user_id"] == "u1" else "red"})
    runner = build.runner
    runner.publish([runner.staged[NODE]])
    (logged,) = runner.lake.rows("ops.run", ["table", "message", "status"], ds=day).to_pylist()
    assert logged == {
        "table": NODE,
        "status": "published",
        "message": "Undeclared columns, kept in extra: colour, mood.",
    }
    rows = runner.lake.rows(NODE, ["extra", "score"], ds=day).to_pylist()
    assert {json.loads(r["extra"])["mood"] for r in rows} == {"good"}


def test_a_day_for_which_the_feed_has_not_landed_says_so_in_the_log(build):
    runner, day = build.runner, FIRST_CASE - dt.timedelta(days=1)
    runner.build_group([runner.catalog.node(NODE)], DayRange.day(day))
    (logged,) = runner.lake.rows("ops.run", ["rows", "message", "status"], ds=day).to_pylist()
    assert logged == {"rows": 0, "message": GONE_WITHOUT, "status": "published"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_score, "column 'score' has no value in 40 rows, usual is 100%"),
        (with_points, "column 'score' has no value in 40 rows, usual is 100%. New: points."),
        (in_words, "column 'score' is no int in 40 of 40 values"),
        (lambda row: row | {"score": None}, "column 'score' has no value in 40 rows"),
    ],
    ids=["removed", "renamed", "retyped", "emptied"],
)
def test_a_column_that_is_gone_or_retyped_stops_the_day_and_is_named(build, kind, change, said):
    known = build.runner.lake.version(NODE)
    with pytest.raises(LandingError, match=said):
        build(kind, change)
    assert build.runner.lake.version(NODE) == known


def without_answer(row):
    return {k: v for k, v in row.items() if k != "answer"}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_header_tells_of_a_column_that_is_rarely_given(build, kind):
    with pytest.raises(LandingError, match="column 'answer' has no value in 40 rows, usual is 2%"):
        build(kind, without_answer)


def test_json_lines_may_lack_by_chance_what_is_rarely_given(build):
    # 1 of 40 had an answer before: of 40 rows none need have one
    day = build("jsonl", without_answer)
    assert build.runner.staged[NODE].rows == {str(day): 40}


def test_a_column_that_the_market_does_without_is_not_missed(build):
    day = build("csv", without_score, without=("score",))
    assert build.runner.staged[NODE].rows == {str(day): 40}
    with pytest.raises(LandingError, match="has no column .'scores'.: mend the option without"):
        build("csv", without_score, without=("scores",))


def test_a_few_unreadable_values_are_left_to_silver(build):
    day = build("csv", lambda row: in_words(row) if int(row["user_id"][1:]) % 2 else row)
    assert build.runner.staged[NODE].rows == {str(day): 40}
    day = build("jsonl", in_words, rows=10)
    assert build.runner.staged[NODE].rows == {str(day): 10}


def test_a_required_column_is_missed_without_any_earlier_day(build):
    with pytest.raises(LandingError, match="column 'kind' has no value in 40 rows, usual is 100%"):
        build("jsonl", lambda row: {k: v for k, v in row.items() if k != "kind"})


def test_a_nested_value_is_no_text(build):
    with pytest.raises(LandingError, match="column 'answer' of feed surveys is list<.*>, declared string"):
        build("parquet", lambda row: row | {"answer": ["food"]})


def test_days_of_a_range_are_held_against_the_days_before_them_in_it(build):
    days = DayRange(dt.date(2024, 2, 1), dt.date(2024, 2, 2))
    land(build.runner.settings, days.first, "jsonl", answers(days.first))
    land(build.runner.settings, days.last, "jsonl", [without_score(row) for row in answers(days.last)])
    with pytest.raises(LandingError, match="surveys of 2024-02-02: column 'score' has no value in 40 rows"):
        build.runner.build_group([build.runner.catalog.node(NODE)], days, publish=False)
