"""Imports of real and of broken data, against a Spark Connect server."""

from __future__ import annotations

import dataclasses
import datetime as dt
import gzip
import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from jobs.errors import ImportMappingError
from jobs.importer import ImportResult, import_data, read_mapping
from jobs.landing import BY_NAME, incomplete, landed_files
from jobs.session import connect
from jobs.settings import Market, Settings, load_market, save_market

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
real_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real data is not at {DATA}")

SALES = """sale,who,what,when,paid
1,ann,tea,2024-03-01T10:00:00Z,3.50
2,bob,cup,2024-03-01T23:30:00-05:00,4.00
3,ann,"cup, large",2024-03-04T09:00:00Z,5.25
"""
GOODS = """name|kind|price
tea|drinks|3.50
cup|kitchen|4.00
cup, large|kitchen|NA
"""


@pytest.fixture(scope="module")
def spark(spark_server, tmp_path_factory):
    home = tmp_path_factory.mktemp("importer")
    session = connect(Settings(home, home / "lake", home / "landing", Market("test"), spark_server))
    session.conf.set("spark.sql.shuffle.partitions", "2")
    yield session
    session.stop()


@dataclasses.dataclass
class Shop:
    """A tiny shop's files and mapping, to be broken one place at a time."""

    spark: object
    home: Path
    source: Path
    mapping: dict

    def run(self, dry_run: bool = False) -> ImportResult:
        path = self.home.parent / "shop.yaml"
        path.write_text(yaml.safe_dump(self.mapping, sort_keys=False))
        return import_data(self.spark, self.home, path, self.source, dry_run, self.home / "landing")

    def fails(self, *parts: str) -> str:
        with pytest.raises(ImportMappingError) as caught:
            self.run()
        message = str(caught.value)
        for part in ("shop.yaml", *parts):
            assert part in message
        assert "\n" not in message and "JVM" not in message
        assert not list((self.home / "landing").rglob("_manifest*.json"))
        return message

    def day(self, feed: str, ds: str) -> Path:
        return self.home / "landing" / "shop" / feed / f"ds={ds}"

    def rows(self, feed: str, ds: str) -> list[dict]:
        return pq.read_table(self.day(feed, ds) / "import.parquet", partitioning=None).to_pylist()

    def rejects(self, result: ImportResult, name: str) -> list[dict]:
        return [json.loads(line) for line in (result.folder / f"rejected-{name}.jsonl").read_text().splitlines()]


@pytest.fixture
def shop(spark, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    (source / "sales.csv").write_text(SALES)
    (source / "goods.csv").write_text(GOODS)
    mapping = {
        "version": 1,
        "market": {"name": "shop", "timezone": "America/New_York", "target": ["purchase"]},
        "sources": {
            "sales": {"files": "sales*.csv", "types": {"paid": "decimal(10,2)"}},
            "goods": {"files": "goods.csv", "separator": "|", "null": "NA", "types": {"price": "double"}},
        },
        "feeds": {
            "items": {
                "from": "goods",
                "select": {
                    "item_id": "name",
                    "title": "initcap(name)",
                    "category": "kind",
                    "price_minor": "round(100 * price)",
                },
                "day": "first",
            },
            "orders": {
                "from": "sales",
                "select": {
                    "order_line_id": "sale",
                    "order_id": "sale",
                    "user_id": "who",
                    "item_id": "what",
                    "at": "`when`",
                    "kind": "'sale'",
                    "amount_minor": "round(100 * paid)",
                },
            },
        },
    }
    return Shop(spark, tmp_path / "home", source, mapping)


def test_every_day_of_every_feed_is_landed(shop):
    result = shop.run()
    assert (str(result.first), str(result.last)) == ("2024-03-01", "2024-03-04")
    assert {f.name: (f.read, f.written, f.days, f.days_new) for f in result.feeds} == {
        "items": (3, 3, 4, 4),
        "orders": (3, 3, 4, 4),
    }
    # 23:30 in New York is the next day in UTC, but the market's day counts.
    assert [r["order_line_id"] for r in shop.rows("orders", "2024-03-01")] == ["1", "2"]
    assert [r["item_id"] for r in shop.rows("items", "2024-03-01")] == ["cup", "cup, large", "tea"]
    assert [r["price_minor"] for r in shop.rows("items", "2024-03-01")] == [400, None, 350]
    assert shop.rows("orders", "2024-03-02") == []
    for day in range(1, 5):
        assert incomplete(shop.home / "landing", "shop", result.first.replace(day=day)) == []
    assert landed_files(shop.day("orders", "2024-03-04"))[0].rows == 1
    assert load_market("shop", shop.home).target == ("purchase",)
    assert not (shop.home / "landing" / "shop" / "_import").exists()


def test_all_files_of_a_feed_have_the_feed_s_columns_and_types(shop):
    shop.run()
    schemas = [pq.read_schema(p) for p in sorted((shop.home / "landing/shop/orders").rglob("*.parquet"))]
    assert [s.names for s in schemas] == [list(BY_NAME["orders"].names)] * 4
    assert all(s.types == schemas[0].types for s in schemas)


def test_dry_run_counts_the_same_and_writes_nothing(shop):
    shop.mapping["feeds"]["orders"]["where"] = "who <> 'bob'"
    dry = shop.run(dry_run=True)
    assert not shop.home.exists()
    wet = shop.run()
    assert [(f.read, f.written, f.left_out, f.first, f.last) for f in dry.feeds] == [
        (f.read, f.written, f.left_out, f.first, f.last) for f in wet.feeds
    ]
    assert dry.feeds[1].left_out == {"where": 1}
    assert "would be landed" in dry.summary() and "left out 1: where" in dry.summary()


def test_the_same_import_again_lands_nothing_new(shop):
    shop.run()
    before = {p: p.stat().st_mtime_ns for p in (shop.home / "landing").rglob("*") if p.is_file()}
    assert [f.days_new for f in shop.run().feeds] == [0, 0]
    assert before == {p: p.stat().st_mtime_ns for p in (shop.home / "landing").rglob("*") if p.is_file()}


def test_an_import_that_stopped_half_way_is_taken_up(shop):
    shop.run()
    (shop.day("orders", "2024-03-01") / "_manifest.json").unlink()
    (shop.day("orders", "2024-03-01") / "import.parquet").write_bytes(b"half")
    shutil.rmtree(shop.day("items", "2024-03-02"))
    assert [f.days_new for f in shop.run().feeds] == [1, 1]
    assert len(shop.rows("orders", "2024-03-01")) == 2


def test_later_files_add_days_and_changed_ones_are_refused(shop):
    shop.run()
    (shop.source / "sales2.csv").write_text("sale,who,what,when,paid\n4,eve,tea,2024-03-06T12:00:00Z,1\n")
    assert [f.days_new for f in shop.run().feeds] == [2, 2]
    (shop.source / "sales2.csv").write_text("sale,who,what,when,paid\n4,eve,tea,2024-03-06T12:00:00Z,2\n")
    with pytest.raises(ImportMappingError, match=r"orders/ds=2024-03-06 is landed already with other content.*remove"):
        shop.run()


def test_bad_rows_are_rejected_with_reason_file_and_content(shop):
    with open(shop.source / "sales.csv", "a") as handle:
        handle.write(
            "5,,tea,2024-03-02T10:00:00Z,1\n6,ann,tea,yesterday,1\n7,ann,tea,2024-03-02T10:00:00Z,-1\n"
            "8,ann,tea,2024-03-02T10:00:00Z,free\n9,ann\n1,ann,cup,2024-03-01T11:00:00Z,9\n"
        )
    result = shop.run()
    sales, orders = result.sources[0], result.feeds[1]
    assert sales.rows == 9
    assert sales.rejected == {"paid: is no decimal(10,2)": 1, "the line does not have the columns of its header": 1}
    assert orders.rejected == {
        "user_id: missing": 1,
        "at: is no timestamp": 1,
        "amount_minor: below 0": 1,
        "order_line_id: repeated": 1,
    }
    assert (orders.read, orders.written, result.rejected) == (7, 3, 6)
    assert {(r["reason"], r["line"]) for r in shop.rejects(result, "sales")} >= {
        ("the line does not have the columns of its header", 9)
    }
    missing = next(r for r in shop.rejects(result, "orders") if r["reason"] == "user_id: missing")
    assert missing["file"] == "sales.csv" and missing["row"]["sale"] == "5"
    assert "rejected 1: amount_minor: below 0; such as" in result.summary()


def test_a_surface_that_the_operator_added_to_the_market_may_land(shop):
    clicks = {"event_id": "sale", "user_id": "who", "at": "`when`", "action": "'click'", "surface": "what"}
    shop.mapping["feeds"]["events"] = {"from": "sales", "where": "what IN ('tea', 'cup')", "select": clicks}
    save_market(Market("shop", "America/New_York", target=("purchase",), surfaces={"tea": {}}), shop.home)
    events = next(f for f in shop.run().feeds if f.name == "events")
    assert events.written == 1 and events.rejected == {"surface: not one of feed, search, detail, tea": 1}


def test_state_lands_when_known_and_its_last_row_of_a_day_stands(shop):
    shop.mapping["views"] = {"buyers": "select who, `when` as at, sale from sales -- each purchase tells of a person"}
    shop.mapping["feeds"]["users"] = {"from": "buyers", "select": {"user_id": "who", "region": "sale"}, "day": "at"}
    (shop.source / "sales.csv").write_text(SALES + "4,ann,tea,2024-03-01T12:00:00Z,1\n")
    users = shop.run().feeds[2]
    assert (users.written, users.left_out) == (3, {"replaced by a later row of the same day": 1})
    assert [(r["user_id"], r["region"]) for r in shop.rows("users", "2024-03-01")] == [("ann", "4"), ("bob", "2")]


def test_consent_lands_on_the_day_it_was_said_and_the_last_word_of_a_day_stands(shop):
    said = {"user_id": "who", "purpose": "'ads'", "granted": "what = 'tea'", "at": "`when`"}
    shop.mapping["feeds"]["consent"] = {"from": "sales", "select": said}
    # ann grants at 10:00 and at 12:00 withdraws, on the 4th withdraws again; bob's 23:30 at -05:00 is a day later
    (shop.source / "sales.csv").write_text(SALES + "4,ann,cup,2024-03-01T12:00:00Z,1\n")
    assert shop.run().feeds[-1].left_out == {"replaced by a later row of the same day": 1}
    assert [(r["user_id"], r["granted"], r["at"].hour) for r in shop.rows("consent", "2024-03-01")] == [
        ("ann", False, 12),
        ("bob", False, 4),
    ]
    # known on the first day all at once, the last word of each person stands
    shop.mapping["feeds"]["consent"]["day"] = "first"
    shop.mapping["market"]["name"] = "another"
    assert shop.run().feeds[-1].left_out == {"replaced by a later row of the same day": 2}


def test_days_limit_what_is_landed_and_older_state_is_on_the_first(shop):
    shop.mapping["days"] = {"first": dt.date(2024, 3, 3), "last": dt.date(2024, 3, 4)}
    shop.mapping["feeds"]["users"] = {"from": "sales", "select": {"user_id": "who"}, "day": "`when`"}
    result = shop.run()
    assert result.feeds[1].left_out == {"outside the days": 2}
    assert [r["user_id"] for r in shop.rows("users", "2024-03-03")] == ["ann", "bob"]
    assert not shop.day("items", "2024-03-02").exists() and len(shop.rows("items", "2024-03-03")) == 3


def test_jsonl_parquet_gzip_bom_and_headerless_files_are_read(shop):
    rows = [{"sale": n, "who": "ann", "what": "tea", "when": f"2024-03-0{n}T10:00:00Z", "paid": 1.5} for n in (1, 2)]
    with gzip.open(shop.source / "s.jsonl.gz", "wt") as handle:
        handle.write("\n".join([*map(json.dumps, rows), "{broken"]))
    shop.mapping["sources"]["sales"] = {"files": "s.jsonl.gz", "format": "jsonl", "types": {"paid": "double"}}
    (shop.source / "goods.csv").write_bytes(b"\xef\xbb\xbf" + GOODS.replace("\n", "\r\n").encode())
    result = shop.run()
    assert result.feeds[1].written == 2 and sum(result.sources[0].rejected.values()) == 1
    assert result.feeds[0].written == 3

    pq.write_table(
        pq.read_table(shop.day("orders", "2024-03-01") / "import.parquet", partitioning=None), shop.source / "o.parquet"
    )
    shop.mapping["market"]["name"] = "other"
    shop.mapping["sources"]["sales"] = {"files": "o.parquet", "format": "parquet"}
    shop.mapping["feeds"]["orders"]["select"] |= {
        "order_line_id": "order_line_id",
        "order_id": "order_id",
        "user_id": "user_id",
        "item_id": "item_id",
        "at": "at",
        "amount_minor": "amount_minor",
    }
    (shop.source / "goods.csv").write_text("tea,drinks\n")
    shop.mapping["sources"]["goods"] = {"files": "goods.csv", "header": False, "columns": ["name", "kind"]}
    del shop.mapping["feeds"]["items"]["select"]["price_minor"]
    assert [f.written for f in shop.run().feeds] == [1, 1]


def test_other_encodings_and_odd_folder_names_are_read(shop, tmp_path):
    odd = shop.source.rename(tmp_path / "in [1] {x}*")
    (odd / "sales.csv").write_bytes(SALES.replace("bob", "b\xf6b").encode("windows-1252"))
    shop.source = odd
    shop.mapping["sources"]["sales"]["encoding"] = "windows-1252"
    shop.run()
    assert [r["user_id"] for r in shop.rows("orders", "2024-03-01")] == ["ann", "b\xf6b"]


def test_the_worked_example_of_the_guide_does_what_the_guide_says(spark, tmp_path):
    guide = (ROOT / "docs/bring-your-own-data.md").read_text()
    (tmp_path / "shop").mkdir()
    for name in ("sales.csv", "goods.csv"):
        text = re.search(rf"`shop/{name}`\n\n```\n(.*?)```", guide, re.DOTALL)[1]
        (tmp_path / "shop" / name).write_text(text)
    (tmp_path / "shop.yaml").write_text(re.search(r"```yaml\n(version.*?)```", guide, re.DOTALL)[1])
    result = import_data(spark, tmp_path / "home", tmp_path / "shop.yaml", tmp_path / "shop", dry_run=True)
    assert re.search(r"--dry-run\n(market.*?)\n```", guide, re.DOTALL)[1] == result.summary()
    done = import_data(spark, tmp_path / "home", tmp_path / "shop.yaml", tmp_path / "shop", landing=tmp_path / "l")
    line = re.search(r"^\{\"reason.*$", guide, re.MULTILINE)[0]
    assert (done.folder / "rejected-sales.jsonl").read_text().strip() == line


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        ("version", 2, ["version", "version 1"]),
        ("colour", "red", ["unknown option ['colour']"]),
        ("market.timezone", "Mars/Base", ["Mars/Base"]),
        ("market.colour", "red", ["market", "colour"]),
        ("days", {"first": "soon"}, ["days.first", "expected a date"]),
        ("sources.sales.files", "../x.csv", ["sources.sales.files", "inside the source folder"]),
        ("sources.sales.files", "none*.csv", ["sources.sales.files", "none*.csv"]),
        ("sources.sales.format", "xls", ["sources.sales.format", "xls", "parquet"]),
        ("sources.sales.header", "yes", ["sources.sales.header", "true or false"]),
        ("sources.sales.types", {"paid": "money"}, ["sources.sales.types.paid", "money"]),
        ("sources.sales.types", {"payd": "int"}, ["sources.sales.types", "payd", "'paid'"]),
        ("sources.sales.encoding", "utf-99", ["sources.sales.encoding", "utf-99"]),
        ("feeds.sails", {}, ["feeds.sails", "orders"]),
        ("feeds.orders.from", "sails", ["feeds.orders.from", "sails", "goods"]),
        ("feeds.orders.day", "first", ["feeds.orders.day"]),
        ("feeds.orders.select.colour", "who", ["feeds.orders.select", "colour", "amount_minor"]),
        ("feeds.orders.select.user_id", "whom", ["feeds.orders.select.user_id", "whom in sales", "'who'"]),
        ("feeds.orders.select.user_id", "who who who", ["feeds.orders.select.user_id", "PARSE_SYNTAX_ERROR"]),
        ("feeds.orders.select.user_id", "upcase(who)", ["feeds.orders.select.user_id", "upcase"]),
        ("feeds.orders.select.user_id", "double(sale)", ["feeds.orders.select.user_id", "cast an id"]),
        ("feeds.orders.select.user_id", "split(who, 'n')", ["feeds.orders.select.user_id", "array"]),
        ("feeds.orders.select.quantity", "100 * who", ["feeds.orders.select.quantity", "CAST_INVALID_INPUT", "types"]),
        ("feeds.orders.select.at", "'soon'", ["no row of ['orders']", "at: is no timestamp"]),
        ("feeds.items.select.price_minor", "-1", ["feeds.items", "every row is rejected", "price_minor: below 0"]),
        ("feeds.orders.where", "whom = 1", ["feeds.orders.where", "whom in sales"]),
        ("feeds.items.day", "sold", ["feeds.items.day", "sold in goods"]),
        ("views", {"v": "select nothing"}, ["views.v"]),
        ("views", {"v": "drop view sales"}, ["views.v", "PARSE_SYNTAX_ERROR"]),
        ("views", {"sales": "select 1"}, ["views", "sales"]),
    ],
)
def test_a_wrong_mapping_names_the_place(shop, path, value, parts):
    *parents, last = path.split(".")
    node = shop.mapping
    for key in parents:
        node = node[key]
    node[last] = value
    shop.fails(*parts)


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("sales.csv", b"", ["sales.csv is empty"]),
        (
            "sales.csv",
            SALES.replace("paid", "price").encode(),
            ["sources.sales.types", "sales.csv has no column ['paid']"],
        ),
        (
            "sales.csv",
            SALES.replace("who", "buyer").encode(),
            ["feeds.orders.select.user_id", "who in sales", "'buyer'"],
        ),
        ("sales.csv", SALES.replace("who", "what").encode(), ["sales.csv names the column 'what' twice"]),
        ("sales.csv", SALES.replace("bob", "b\xf6b").encode("latin-1"), ["sales.csv is not UTF-8 (line 3)"]),
        ("sales2.csv", b"who,sale,what,when,paid\n", ["sales2.csv has columns ['who', 'sale'"]),
    ],
)
def test_a_broken_file_is_named(shop, name, content, parts):
    (shop.source / name).write_bytes(content)
    shop.fails(*parts)


def test_a_truncated_or_damaged_gzip_is_named(shop):
    shop.mapping["sources"]["sales"]["files"] = "sales.csv.gz"
    whole = gzip.compress(SALES.encode() * 100)
    (shop.source / "sales.csv.gz").write_bytes(whole[: len(whole) // 2])
    shop.fails("sales.csv.gz is cut off")
    (shop.source / "sales.csv.gz").write_bytes(SALES.encode())
    shop.fails("sales.csv.gz is a damaged gzip file")


def test_a_link_out_of_the_source_folder_is_refused(shop, tmp_path):
    (tmp_path / "secret.csv").write_text(SALES)
    (shop.source / "sales.csv").unlink()
    (shop.source / "sales.csv").symlink_to(tmp_path / "secret.csv")
    shop.fails("leads out of the source folder")


def test_one_wrong_date_does_not_land_a_century(shop):
    (shop.source / "sales.csv").write_text(SALES + "4,ann,tea,1970-01-01T12:00:00Z,1\n")
    shop.fails("days", "1970-01-01 to 2024-03-04")


@pytest.mark.parametrize("text", ["version: 1\nversion: 1\n", "a: [", "- 1"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ImportMappingError, match=r"m\.yaml: "):
        read_mapping(tmp_path / "m.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "mappings").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_mappings_that_come_with_nightjar_are_legal(path):
    assert read_mapping(path).feeds


@real_data
def test_completejourney_is_imported_whole(spark, tmp_path):
    result = import_data(
        spark, tmp_path, ROOT / "mappings/completejourney.yaml", DATA / "completejourney", landing=tmp_path / "landing"
    )
    assert (str(result.first), str(result.last), result.rejected) == ("2017-01-01", "2017-12-31", 0)
    found = {f.name: f.written for f in result.feeds}
    # 100,000 lines less the 577 with quantity 0.
    assert found["orders"] == found["events"] == 99_423
    assert found["campaigns"] == 27
    assert all((f.days, f.days_new) == (365, 365) for f in result.feeds)
    root = tmp_path / "landing" / "completejourney"
    assert incomplete(tmp_path / "landing", "completejourney", result.last) == []
    items = pq.read_table(root / "items")
    assert set(pq.read_table(root / "orders")["item_id"].to_pylist()) <= set(items["item_id"].to_pylist())
    assert set(pq.read_table(root / "users")["age_band"].to_pylist()) >= {"19-24", "65+", None}


@real_data
def test_movielens_is_imported_for_its_days(spark, tmp_path):
    result = import_data(
        spark, tmp_path, ROOT / "mappings/ml-latest-small.yaml", DATA / "ml-latest-small", landing=tmp_path / "landing"
    )
    users, items, events = result.feeds
    assert (users.written, items.written, result.rejected) == (610, 9_742, 0)
    assert events.read == 100_836 and events.written + events.left_out["outside the days"] == events.read
    titles = pq.read_table(tmp_path / "landing/movielens/items/ds=2018-01-01/import.parquet", partitioning=None)
    assert "American President, The (1995)" in titles["title"].to_pylist()
