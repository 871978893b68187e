"""Metric definitions: what a file may say, and that a recorded meaning never changes under its version."""

from __future__ import annotations

import datetime as dt
import doctest
import re
from pathlib import Path

import pytest

from features.user_activity import Params as Activity
from jobs.catalog import discover
from jobs.contract import Column, Table
from jobs.errors import ContractError
from quality import business_metrics, metric_definitions, metric_docs
from quality.metric_definitions import meaning, read_definition, read_definitions

ROOT = Path(__file__).resolve().parents[2]
SALES = Table(
    "silver.sales",
    "silver",
    "me",
    "Sales.",
    [Column("user_id", "bigint", "User."), Column("kind", "string", "Kind."), Column("amount", "bigint", "Amount.")],
    ["user_id"],
)
TABLES = {SALES.name: SALES}
GOOD = {
    "name": "turnover",
    "version": 1,
    "description": "What was sold.",
    "calibre": "Sales of more than {least}.",
    "source": "silver.sales",
    "parameters": "{least: 5}",
    "scope": "kind = 'sale' and amount > {least}",
    "expression": "sum(amount)",
    "unit": "minor",
    "owner": "me",
    "valid_from": "2024-03-01",
}
RATIO = {"source": None, "parameters": None, "scope": None, "expression": None, "calibre": "All of them."}


def write(folder: Path, recorded: bool = True, file: str | None = None, **changes) -> Path:
    """A definition's file; with the digest that the message of the loader asks for."""
    values = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
    version = values.get("version", 1)
    path = folder / (file or f"{values['name']}{'' if version == 1 else f'.v{version}'}.yaml")
    path.write_text("".join(f"{name}: {value}\n" for name, value in values.items()))
    if recorded:
        try:
            read_definition(path)
        except ContractError as error:
            asked = re.search(r"digest: record .* digest: (\w+)", str(error))
            if not asked:
                raise
            path.write_text(path.read_text() + f"digest: {asked[1]}\n")
    return path


# -- what comes with Nightjar --------------------------------------------------------------------


def test_the_definitions_that_come_with_nightjar_fit_the_catalogue():
    nodes = discover().nodes.values()
    business_metrics.validate({n.name: n.contract for n in nodes if isinstance(n.contract, Table)})


def test_the_catalogue_is_refused_when_a_definition_does_not_fit_it(tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.setattr(business_metrics, "DEFINITIONS", read_definitions(tmp_path))
    with pytest.raises(ContractError, match="turnover.yaml: source: there is no table 'silver.sales'."):
        discover()


def test_the_active_user_has_the_numbers_of_the_business():
    found = read_definitions()["active_users@1"]
    assert (dict(found.parameters), found.days) == ({"logins": 3, "clicks": 10}, 7)
    assert found.numerator == "count_if(logins >= 3 and clicks >= 10)"
    assert found.calibre.startswith("A person counts with 3 or more logins and 10 or more clicks in the 7 days")


def test_the_feature_s_active_user_is_the_metric_s_in_force():
    found = max((d for d in read_definitions().values() if d.name == "active_users"), key=lambda d: d.version)
    feature = Activity()
    assert found.source == "silver.user_daily" and found.grain == ("user_id",)
    assert (dict(found.parameters), found.days) == (
        {"logins": feature.active_logins, "clicks": feature.active_clicks},
        feature.active_days,
    )


def test_the_page_of_metrics_is_written_from_the_definitions():
    assert (ROOT / "docs" / "metrics.md").read_text() == metric_docs.render(), "run python -m quality.metric_docs"


def test_the_examples_of_the_docstrings_hold():
    found = doctest.testmod(metric_definitions)
    assert found.attempted and not found.failed


# -- what a file may say -------------------------------------------------------------------------


def test_a_definition_is_read_with_its_numbers_filled_in(tmp_path):
    write(tmp_path)
    found = read_definitions(tmp_path, TABLES)["turnover@1"]
    assert found.scope == "kind = 'sale' and amount > 5"
    assert (found.calibre, found.valid_from) == ("Sales of more than 5.", dt.date(2024, 3, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"owner": None}, "turnover.yaml: owner: it is missing."),
        ({"colour": "red"}, "turnover.yaml: colour: there is no such option"),
        ({"version": "'1'", "file": "turnover.yaml"}, "turnover.yaml: version: '1' must be a whole number from 1."),
        ({"days": "0"}, "turnover.yaml: days: 0 must be a whole number from 1."),
        ({"valid_from": "soon"}, "turnover.yaml: valid_from: 'soon' must be a day, as 2024-03-14."),
        ({"dimensions": "kind"}, "turnover.yaml: dimensions: 'kind' must be a list of columns."),
        ({"parameters": "{least: many}"}, "turnover.yaml: parameters.least: 'many' must be a number."),
        ({"parameters": "{most: 5}"}, r"turnover.yaml: calibre: there is no parameter 'least'; there are \['days', "),
        ({"expression": None}, "turnover.yaml: expression: give either an expression, or numerator and denominator"),
        ({"numerator": "sum(amount)"}, "turnover.yaml: expression: give either"),
        ({"expression": None, "numerator": "sum(amount)"}, "denominator: a numerator and a denominator come together"),
        ({"expression": "sum(amount) / count(1)"}, r"turnover.yaml: expression: 'sum\(amount\) / count\(1\)' must be"),
        ({"expression": "avg(amount)"}, "must be one of sum, count, count_if, min or max of an expression"),
        ({"grain": "[user_id]"}, "turnover.yaml: measures: grain and measures come together."),
        ({"source": None}, "turnover.yaml: scope: a ratio of other metrics has a source of its own nowhere."),
        ({"version": 2, "file": "turnover.yaml"}, "version: version 2 of turnover belongs into turnover.v2.yaml."),
        ({"name": "sales", "file": "turnover.yaml"}, "version: version 1 of sales belongs into sales.yaml."),
        ({"owner": "me\nowner: you"}, "turnover.yaml: it is not YAML: owner stands twice"),
    ],
)
def test_a_file_that_is_no_definition_is_refused_with_file_and_option(tmp_path, change, message):
    with pytest.raises(ContractError, match=message):
        write(tmp_path, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "silver.sale"}, "turnover.yaml: source: there is no table 'silver.sale'."),
        ({"expression": "sum(amonut)"}, "turnover.yaml: expression: silver.sales has no column 'amonut'; it has"),
        ({"scope": "kinds = 'sale'"}, "turnover.yaml: scope: silver.sales has no column 'kinds'"),
        ({"dimensions": "[city]"}, "turnover.yaml: dimensions: silver.sales has no column 'city'"),
        (
            {"grain": "[user_id]", "measures": "{spent: sum(amount)}", "expression": "count_if(amount > 3)"},
            r"turnover.yaml: expression: what the grain makes has no column 'amount'; it has \['spent', 'user_id'\]",
        ),
        (
            {"grain": "[user_id]", "measures": "{spent: sum(cost)}", "expression": "count_if(spent > 3)"},
            "turnover.yaml: measures.spent: silver.sales has no column 'cost'",
        ),
    ],
)
def test_an_unknown_table_or_column_is_found_when_definitions_are_read(tmp_path, change, message):
    write(tmp_path, **change)
    with pytest.raises(ContractError, match=message):
        read_definitions(tmp_path, TABLES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"denominator": "buyers@1"}, "share.yaml: denominator: without a source it must be a metric as name@version"),
        ({"denominator": "turnover"}, "share.yaml: denominator: without a source it must be a metric as name@version"),
        ({"denominator": "share@1"}, "share.yaml: denominator: share@1 is a ratio itself."),
        ({"dimensions": "[kind]"}, "share.yaml: dimensions: turnover@1 is not broken down by 'kind'."),
    ],
)
def test_a_ratio_names_metrics_that_are_there(tmp_path, change, message):
    write(tmp_path)
    ratio = {**RATIO, "name": "share", "numerator": "turnover@1", "denominator": "turnover@1"}
    write(tmp_path, **{**ratio, **change})
    with pytest.raises(ContractError, match=message):
        read_definitions(tmp_path)


# -- versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("sum(amount)", "sum(2 * amount)"),
        ("amount > {least}", "amount >= {least}"),
        ("{least: 5}", "{least: 6}"),
        ("unit: minor", "unit: major"),
    ],
)
def test_a_changed_meaning_under_the_same_version_is_refused(tmp_path, before, after):
    path = write(tmp_path)
    path.write_text(path.read_text().replace(before, after))
    with pytest.raises(
        ContractError, match=r"turnover.yaml: digest: the meaning of turnover@1 has changed .* into turnover.v2.yaml"
    ):
        read_definition(path)


def test_words_owner_and_breakdowns_may_change(tmp_path):
    path = write(tmp_path)
    path.write_text(path.read_text().replace("owner: me", "owner: you\ndimensions: [kind]").replace("What was", "All"))
    assert read_definition(path).owner == "you"


def test_a_definition_without_a_digest_is_told_which_to_record(tmp_path):
    path = write(tmp_path, recorded=False)
    with pytest.raises(ContractError, match="turnover.yaml: digest: record what version 1 means: digest: [0-9a-f]{16}"):
        read_definition(path)


def test_a_new_version_stands_beside_the_old_one(tmp_path):
    write(tmp_path)
    write(tmp_path, version=2, expression="sum(2 * amount)", valid_from="2024-04-01")
    found = read_definitions(tmp_path, TABLES)
    assert list(found) == ["turnover@1", "turnover@2"]
    assert meaning(found["turnover@1"]) != meaning(found["turnover@2"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "turnover.v3.yaml: version: there is no version 2 of turnover."),
        ({"version": 2, "valid_from": "2024-02-01"}, "turnover.v2.yaml: valid_from: 2024-02-01 lies before that of"),
    ],
)
def test_versions_follow_each_other(tmp_path, change, message):
    write(tmp_path)
    write(tmp_path, **change)
    with pytest.raises(ContractError, match=message):
        read_definitions(tmp_path)
