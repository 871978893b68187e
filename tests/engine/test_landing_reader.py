"""Landed files as the reader gives them; the feed is ``surveys`` (four required columns, two others)."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.contract import DayRange
from jobs.errors import LandingError
from jobs.landing import day_folder, incomplete, landed_files, landed_rows, write_manifest
from jobs.landing_reader import read_landing
from jobs.settings import Market, Settings

FEED = "surveys"
NAMES = ["survey_id", "user_id", "at", "kind", "score", "answer"]
D1, D2, D3, D4 = (dt.date(2024, 3, d) for d in (1, 2, 3, 4))
GIVEN = {"survey_id": "s1", "user_id": "u1", "at": "2024-03-01T10:00:00Z", "kind": "nps", "score": "9", "answer": None}


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return place_in(tmp_path)


def place_in(home: Path) -> Settings:
    return Settings(home, home / "lake", home / "landing", Market("demo"))


def text_of(kind: str, rows: list[dict]) -> bytes:
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def land(place: Settings, ds: dt.date, files: dict[str, object], part: str = "") -> Path:
    """Write files (rows, bytes or an Arrow table by name) and the manifest that names them."""
    folder = day_folder(place.landing, place.market.name, FEED, ds)
    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    for name, content in files.items():
        if isinstance(content, pa.Table):
            pq.write_table(content, folder / name)
            counts[name] = content.num_rows
            continue
        kind = name.removesuffix(".gz").rsplit(".", 1)[1]
        body = content if isinstance(content, bytes) else text_of(kind, content)
        (folder / name).write_bytes(gzip.compress(body) if name.endswith(".gz") else body)
        counts[name] = body.count(b"\n") - (kind == "csv")
    write_manifest(folder, FEED, ds, counts, part)
    return folder


def row(survey_id: str, **changes) -> dict:
    return {**GIVEN, "survey_id": survey_id, **changes}


def read(spark, place: Settings, first: dt.date, last: dt.date | None = None) -> dict[str, dict]:
    rows = [r.asDict() for r in read_landing(spark, place, FEED, DayRange(first, last or first)).collect()]
    found = {r["survey_id"] or r["raw"]: r for r in rows}
    assert len(found) == len(rows)
    return found


# -- what is read --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(spark, tmp_path_factory) -> dict[str, dict]:
    """Three days read at once: every kind of file, columns that differ, lines that cannot be read."""
    place = place_in(tmp_path_factory.mktemp("landing"))
    kinds = ("csv", "csv.gz", "jsonl", "jsonl.gz")
    files: dict[str, object] = {f"data.{kind}": [row(f"of {kind}")] for kind in kinds}
    land(place, D1, {**files, "data.parquet": pa.Table.from_pylist([row("of parquet")])})
    land(
        place,
        D2,
        {
            "more.csv": [row("more csv", colour="red", shape="round")],
            "more.jsonl": [row("more jsonl", colour="red", size=3)],
            "more.parquet": pa.Table.from_pylist([row("more parquet", colour="red")]),
            "marks.csv": [row("marks csv", extra="mine", raw="too", file="also")],
            "less.csv": [{k: GIVEN[k] for k in NAMES[:4]} | {"survey_id": "less csv"}],
            "less.jsonl": [{k: GIVEN[k] for k in NAMES[:3]} | {"survey_id": "less jsonl"}],
            "less.parquet": pa.Table.from_pylist([{k: GIVEN[k] for k in NAMES[:4]} | {"survey_id": "less parquet"}]),
            "turned.csv": [dict(reversed(row("turned csv").items()))],
            "typed.parquet": pa.table(
                {
                    **{k: [GIVEN[k]] for k in ("user_id", "kind")},
                    "survey_id": ["typed parquet"],
                    "at": pa.array([dt.datetime(2024, 3, 1, 10, 30)], pa.timestamp("us")),
                    "score": pa.array([9], pa.int64()),
                    "answer": pa.array([None], pa.string()),
                }
            ),
            "other.parquet": pa.table(
                {
                    **{k: [GIVEN[k]] for k in ("user_id", "kind")},
                    "survey_id": ["other parquet"],
                    "at": pa.array([dt.datetime(2024, 3, 1, 10, 30)], pa.timestamp("us")),
                    "score": pa.array([9.0], pa.float64()),
                    "answer": pa.array([None], pa.string()),
                }
            ),
        },
        part="b",
    )
    head = ",".join(NAMES).encode() + b"\n"
    land(
        place,
        D3,
        {
            "torn.csv": head + b"good csv,u1,2024-03-03,nps,9,\n" + b"too,few\n" + b"e,i,g,h,t,v,a,l\n",
            "quoted.csv": head + b'"comma, quote "" csv",u1,2024-03-03,nps,9,"a|b"\n',
            "torn.jsonl": b'{"survey_id": "good jsonl", "user_id": "u1"}\n{"survey_id": "half\n[1, 2]\nno json\n',
            "bytes.csv": head + b"bytes csv,caf\xe9,2024-03-03,nps,9,\n",
            "bytes.jsonl": b'{"survey_id": "bytes jsonl", "user_id": "caf\xe9"}\n',
            "empty.csv": head,
            "nothing.jsonl": b"",
        },
    )
    return read(spark, place, D1, D3)


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "jsonl", "jsonl.gz", "parquet"])
def test_every_kind_of_file_reads_alike(found, kind):
    read = found[f"of {kind}"]
    assert {k: read[k] for k in NAMES} == row(f"of {kind}")
    assert (read["ds"], read["extra"], read["raw"]) == (D1, None, None)
    assert read["file"] == f"ds=2024-03-01/data.{kind}"


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("csv", {"colour": "red", "shape": "round"}),
        ("jsonl", {"colour": "red", "size": "3"}),
        ("parquet", {"colour": "red"}),
    ],
)
def test_unknown_columns_are_kept_aside(found, kind, extra):
    read = found[f"more {kind}"]
    assert json.loads(read["extra"]) == extra
    assert read["score"] == "9"


def test_columns_named_like_the_reader_s_own_marks_are_unknown_columns(found):
    read = found["marks csv"]
    assert json.loads(read["extra"]) == {"extra": "mine", "raw": "too", "file": "also"}
    assert (read["raw"], read["file"]) == (None, "ds=2024-03-02/marks.csv")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_missing_optional_column_is_null(found, kind):
    assert (found[f"less {kind}"]["score"], found[f"less {kind}"]["answer"]) == (None, None)
    assert found[f"less {kind}"]["user_id"] == "u1"


def test_a_missing_required_value_of_a_json_line_is_left_to_silver(found):
    assert found["less jsonl"]["kind"] is None


def test_the_order_of_columns_does_not_matter(found):
    assert {k: found["turned csv"][k] for k in NAMES} == row("turned csv")


def test_parquet_types_become_text_whatever_another_file_of_the_day_has(found):
    assert (found["typed parquet"]["score"], found["typed parquet"]["at"]) == ("9", "2024-03-01 10:30:00")
    assert found["other parquet"]["score"] == "9.0"


@pytest.mark.parametrize("line", ["too,few", "e,i,g,h,t,v,a,l"])
def test_a_csv_line_of_another_length_is_kept_raw(found, line):
    assert [r["file"] for r in found.values() if r["raw"] == line] == ["ds=2024-03-03/torn.csv"]
    assert found["good csv"]["raw"] is None


@pytest.mark.parametrize("line", ['{"survey_id": "half', "[1, 2]", "no json"])
def test_a_json_line_that_is_no_object_is_kept_raw(found, line):
    assert (found[line]["raw"], found[line]["survey_id"]) == (line, None)
    assert found["good jsonl"]["raw"] is None


def test_quoted_commas_and_quotes_are_text(found):
    assert found['comma, quote " csv']["answer"] == "a|b"


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_bytes_that_are_no_utf_8_are_marked_in_the_value(found, kind):
    assert found[f"bytes {kind}"]["user_id"] == "caf\ufffd"


def test_no_line_is_lost_or_made_up(found):
    # 5 of every kind; 10 of other columns; 3 + 1 + 4 + 1 + 1 of the third day, none of its empty files
    by_day = {str(ds): sum(r["ds"] == ds for r in found.values()) for ds in (D1, D2, D3)}
    assert by_day == {"2024-03-01": 5, "2024-03-02": 10, "2024-03-03": 10}


def test_a_day_without_a_delivery_or_with_empty_files_has_no_rows(spark, place):
    head = ",".join(NAMES).encode() + b"\n"
    land(place, D1, {"empty.csv": head})
    land(place, D2, {"empty.parquet": pa.Table.from_pylist([row("s1")]).slice(0, 0)})
    made = read_landing(spark, place, FEED, DayRange(D1, D3))
    assert made.collect() == []
    assert made.columns == ["ds", *NAMES, "extra", "raw", "file"]


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "jsonl", "jsonl.gz"])
def test_a_file_that_its_manifest_calls_empty_is_read_where_it_holds_rows(spark, place, kind):
    folder = day_folder(place.landing, "demo", FEED, D1)
    folder.mkdir(parents=True)
    body = text_of(kind.removesuffix(".gz"), [row("s1"), row("s2")])
    (folder / f"full.{kind}").write_bytes(gzip.compress(body) if kind.endswith(".gz") else body)
    # a blank line is no row, and neither is a header
    blank = b"survey_id\n\n" if kind.startswith("csv") else b"\n"
    (folder / f"blank.{kind}").write_bytes(gzip.compress(blank) if kind.endswith(".gz") else blank)
    (folder / f"nothing.{kind}").write_bytes(gzip.compress(b"") if kind.endswith(".gz") else b"")
    write_manifest(folder, FEED, D1, {f"{name}.{kind}": 0 for name in ("full", "blank", "nothing")})
    assert set(read(spark, place, D1)) == {"s1", "s2"}


def test_a_late_part_is_read_beside_the_first(spark, place):
    land(place, D1, {"a.csv": [row("first")]})
    folder = land(place, D1, {"b.csv": [row("late")]}, part="late")
    (folder / "c.csv").write_text("not delivered: no manifest names it")
    assert set(read(spark, place, D1)) == {"first", "late"}
    assert landed_rows(place.landing, "demo", FEED, D1) == 2


def test_another_market_s_files_are_not_read(spark, place):
    land(place, D1, {"a.csv": [row("ours")]})
    other = replace(place, market=Market("other"))
    assert read_landing(spark, other, FEED, DayRange.day(D1)).count() == 0


# -- what is refused, before any row is read -----------------------------------------------------


def refused(place: Settings, ds: dt.date = D1) -> str:
    with pytest.raises(LandingError) as caught:
        read_landing(None, place, FEED, DayRange.day(ds))
    return str(caught.value)


@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz", "data.parquet"])
def test_a_missing_required_column_names_file_and_column(place, name):
    rows = [{k: v for k, v in GIVEN.items() if k != "kind"}]
    folder = land(place, D1, {name: pa.Table.from_pylist(rows) if name.endswith("parquet") else rows})
    message = refused(place)
    assert f"{folder / name} lacks the column 'kind' of feed surveys" in message
    assert "'survey_id'" in message


def test_a_truncated_gzip_is_named(place):
    folder = day_folder(place.landing, "demo", FEED, D1)
    folder.mkdir(parents=True)
    body = gzip.compress(text_of("csv", [row(f"s{n}") for n in range(200)]))
    (folder / "data.csv.gz").write_bytes(body[:-20])
    write_manifest(folder, FEED, D1, {"data.csv.gz": 200})
    assert f"{folder / 'data.csv.gz'} is a damaged gzip file" in refused(place)


def test_a_changed_file_of_the_same_size_is_named(place):
    folder = land(place, D1, {"data.csv": [row("s1")]})
    body = (folder / "data.csv").read_bytes()
    (folder / "data.csv").write_bytes(body.replace(b"s1", b"s2"))
    assert f"{folder / 'data.csv'} is not the file that its manifest describes (SHA-256)" in refused(place)


def test_a_file_of_another_size_is_named_with_both_sizes(place):
    folder = land(place, D1, {"data.csv": [row("s1")]})
    size = (folder / "data.csv").stat().st_size
    with open(folder / "data.csv", "ab") as handle:
        handle.write(b"x")
    assert f"{folder / 'data.csv'} has {size + 1} bytes, its manifest says {size}" in refused(place)


def test_a_file_that_is_gone_is_named(place):
    folder = land(place, D1, {"data.csv": [row("s1")]})
    (folder / "data.csv").unlink()
    assert f"{folder / 'data.csv'} is named by its manifest but is not there" in refused(place)


def test_a_file_of_another_kind_is_named(place):
    folder = day_folder(place.landing, "demo", FEED, D1)
    folder.mkdir(parents=True)
    (folder / "data.xlsx").write_bytes(b"x")
    write_manifest(folder, FEED, D1, {"data.xlsx": 1})
    assert f"{folder / 'data.xlsx'} is of a kind that cannot be read" in refused(place)


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 1}', '{"files": [{"name": "a.csv"}]}'])
def test_a_manifest_that_cannot_be_read_is_named(place, text):
    folder = land(place, D1, {"data.csv": [row("s1")]})
    (folder / "_manifest.z.json").write_text(text)
    assert f"{folder / '_manifest.z.json'} is not a manifest" in refused(place)


def test_a_file_that_only_calls_itself_parquet_is_named(place):
    folder = day_folder(place.landing, "demo", FEED, D1)
    folder.mkdir(parents=True)
    (folder / "data.parquet").write_bytes(b"PAR1 not really PAR1")
    write_manifest(folder, FEED, D1, {"data.parquet": 1})
    assert f"{folder / 'data.parquet'} is not a Parquet file" in refused(place)


def test_a_header_that_repeats_a_column_is_refused(place):
    folder = land(place, D1, {"data.csv": b"survey_id,user_id,at,kind,kind\ns1,u1,2024-03-01,nps,nps\n"})
    assert f"{folder / 'data.csv'} has no usable header line" in refused(place)


def test_a_manifest_is_never_replaced(place):
    folder = land(place, D1, {"data.csv": [row("s1")]})
    before = (folder / "_manifest.json").read_bytes()
    with pytest.raises(LandingError, match="landed files are immutable, deliver a later part"):
        write_manifest(folder, FEED, D1, {"data.csv": 2})
    assert (folder / "_manifest.json").read_bytes() == before


def test_a_day_is_complete_when_every_feed_in_use_has_a_manifest(place):
    land(place, D1, {"data.csv": [row("s1")]})
    assert incomplete(place.landing, "demo", D1) == []
    assert incomplete(place.landing, "demo", D2) == [FEED]
    assert landed_files(day_folder(place.landing, "demo", FEED, D2)) == []
