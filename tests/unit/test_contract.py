from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

import pytest

from jobs.contract import (
    DS,
    ArtifactInput,
    Column,
    DayRange,
    Node,
    Table,
    TableInput,
    between,
    digest,
    make_params,
    no_rows_where,
)
from jobs.errors import ContractError

D1, D2, D3 = (dt.date(2024, 2, d) for d in (28, 29, 27))
GOOD = Table(
    "silver.things",
    "silver",
    "me",
    "Things.",
    [Column("thing_id", "bigint", "Key."), Column("price", "double", "Price.", digits=2)],
    ["thing_id"],
)


# -- columns and tables --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text", "integer", "array<>", "", "Bigint"])
def test_a_type_that_spark_does_not_know_is_named(kind):
    with pytest.raises(ContractError, match=f"Column price has type '{kind}', which is not a Spark SQL type"):
        Column("price", kind, "Price.")


@pytest.mark.parametrize("kind", ["double", "float"])
def test_a_float_column_declares_its_decimals(kind):
    with pytest.raises(ContractError, match=rf"Column price is a {kind}: declare digits="):
        Column("price", kind, "Price.")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "things"}, "things is no table name: it must be one of"),
        ({"name": "gold.things"}, "gold.things is no table name"),
        ({"grain": "week"}, "silver.things: grain must be 'day' or 'range', not 'week'."),
        ({"columns": [*GOOD.columns, Column("price", "int", "Again.")]}, r"declares \['price'\] more than once"),
        ({"columns": [*GOOD.columns, DS]}, "ds is there by itself, do not declare it"),
        ({"keys": ["user_id"]}, "keys names column 'user_id', which it does not declare"),
        ({"replace_by": "channel"}, "replace_by names column 'channel', which it does not declare"),
        ({"checks": [between("prise", 0, 1)]}, "names column 'prise', which it does not declare"),
    ],
)
def test_an_illegal_table_is_refused_with_a_sentence(change, sentence):
    with pytest.raises(ContractError, match=sentence):
        replace(GOOD, **change)


def test_ds_comes_first_and_keys_are_not_nullable():
    assert [(c.name, c.nullable) for c in GOOD.schema] == [("ds", False), ("thing_id", False), ("price", True)]
    assert GOOD.partitions == ("ds",)


def test_a_replace_by_column_is_a_partition_and_never_null():
    table = replace(GOOD, replace_by="price")
    assert table.partitions == ("ds", "price")
    assert not table.column("price").nullable


def test_a_column_that_a_table_lacks_is_named_beside_those_it_has():
    with pytest.raises(ContractError, match=r"silver.things has no column 'cost'; it has \['ds', 'thing_id'"):
        GOOD.column("cost")


def test_the_name_of_a_check_tells_its_bounds():
    assert between("price", 0, None).name == "between(price, low=0)"
    assert no_rows_where("a > b", "it ends first").name == "no_rows_where(condition=a > b,why=it ends first)"


# -- days ----------------------------------------------------------------------------------------


def test_a_range_runs_forwards_over_every_day():
    days = DayRange(D3, dt.date(2024, 3, 1))
    assert [str(d) for d in days] == ["2024-02-27", "2024-02-28", "2024-02-29", "2024-03-01"]
    assert (len(days), str(days)) == (4, "2024-02-27 to 2024-03-01")


def test_a_range_that_runs_backwards_is_refused():
    with pytest.raises(ContractError, match="The range of days 2024-02-28 to 2024-02-27 runs backwards"):
        DayRange(D1, D3)


def test_a_day_is_given_as_date_or_text():
    assert DayRange.day("2024-02-29") == DayRange.day(D2) == DayRange(D2, D2)
    assert (len(DayRange.day(D2)), str(DayRange.day(D2))) == (1, "2024-02-29")


def test_a_range_as_a_predicate():
    assert DayRange.day(D2).where() == "ds = DATE'2024-02-29'"
    assert DayRange(D1, D2).where("event_ds") == "event_ds >= DATE'2024-02-28' AND event_ds <= DATE'2024-02-29'"


@pytest.mark.parametrize(
    ("given", "first", "last"),
    [
        ({}, "2024-03-10", "2024-03-11"),
        ({"days": 7}, "2024-03-04", "2024-03-11"),
        ({"days": 7, "lag": 1}, "2024-03-03", "2024-03-10"),
        ({"ahead": 3}, "2024-03-10", "2024-03-14"),
    ],
)
def test_the_window_of_an_input(given, first, last):
    days = DayRange(dt.date(2024, 3, 10), dt.date(2024, 3, 11))
    assert TableInput("silver.things", **given).window(days) == DayRange(*map(dt.date.fromisoformat, (first, last)))


def test_an_argument_is_the_last_part_of_the_name_or_the_alias():
    assert TableInput("silver.things").argument == "things"
    assert TableInput("silver.things", alias="yesterday").argument == "yesterday"
    assert ArtifactInput("models.als").argument == "als"


def test_upstream_leaves_the_node_s_own_yesterday_out():
    table = replace(
        GOOD,
        inputs=[
            TableInput("bronze.things"),
            TableInput("silver.things", lag=1),
            TableInput("bronze.things", alias="again"),
            ArtifactInput("models.als"),
        ],
    )
    assert Node(table, print).upstream == ["bronze.things", "models.als"]


# -- params --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    length: int = 20
    share: float = 0.3
    off: tuple[str, ...] = ()
    strict: bool = False
    name: str | None = None


def test_options_are_taken_over():
    made = make_params(Options, {"length": 5, "off": ["a"], "name": "x"}, "market demo")
    assert made == Options(5, 0.3, ("a",), False, "x")


def test_a_whole_number_is_a_float():
    assert make_params(Options, {"share": 1}, "market demo").share == 1


def test_an_unknown_option_is_named_beside_the_known_ones():
    with pytest.raises(ContractError, match=r"market demo: unknown option \['lenght'\]; it knows \['length', 'name'"):
        make_params(Options, {"lenght": 5}, "market demo")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("length", "5"),
        ("length", 5.5),
        ("share", "0.3"),
        ("share", True),
        ("off", "a"),
        ("strict", "yes"),
    ],
)
def test_a_mistyped_option_is_named_beside_its_default(option, value):
    with pytest.raises(ContractError, match=f"market demo: option {option} is .*, but must be like its default"):
        make_params(Options, {option: value}, "market demo")


def test_a_digest_depends_on_content_alone():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})
    assert digest(Options()) == digest({"length": 20, "share": 0.3, "off": [], "strict": False, "name": None})


def test_a_range_is_cut_before_days():
    days = DayRange(dt.date(2024, 3, 1), dt.date(2024, 3, 10))
    assert [str(part) for part in days.split([dt.date(2024, 3, 8), dt.date(2024, 3, 1), dt.date(2024, 4, 1)])] == [
        "2024-03-01 to 2024-03-07",
        "2024-03-08 to 2024-03-10",
    ]
    assert days.split([]) == [days]
