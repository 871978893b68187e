"""Laws of the catalogue: what every contract keeps by itself."""

import json

import pytest
from deltalake import Schema

from jobs.catalog import GROUPS, Catalog, discover, write_manifest
from jobs.contract import WARN, Column, Node, Table, between, not_null, rows_between
from jobs.errors import ContractError
from jobs.lake import schema_of
from jobs.ops import LOGS
from models.ranking_features import FEATURES

CATALOG = discover()
TABLES = [node.contract for node in CATALOG.nodes.values() if isinstance(node.contract, Table)]


@pytest.mark.parametrize("contract", [*TABLES, *LOGS], ids=lambda c: c.name)
def test_contract_is_documented_and_becomes_a_delta_schema(contract):
    assert contract.description.strip() and contract.owner
    assert all(column.description.strip() for column in contract.columns)
    fields = json.loads(schema_of(contract).to_json())["fields"]
    assert isinstance(schema_of(contract), Schema)
    assert [f["name"] for f in fields] == [c.name for c in contract.schema]
    assert not any(f["nullable"] for f in fields if f["name"] in {"ds", *contract.keys})


@pytest.mark.parametrize("node", CATALOG.nodes.values(), ids=lambda n: n.name)
def test_inputs_have_a_finite_window(node):
    for each in node.table_inputs:
        assert 1 <= each.days <= 400 and 0 <= each.ahead <= 31


@pytest.mark.parametrize("contract", TABLES, ids=lambda c: c.name)
def test_a_user_key_is_marked_as_a_person(contract):
    for column in contract.columns:
        if column.name == "user_id":
            assert column.subject, f"{contract.name}.{column.name} must be subject=True: erasure follows it."


def test_no_sensitive_column_feeds_a_ranker():
    sensitive = {c.name for t in TABLES for c in t.columns if c.sensitive}
    bare = {name.split("_", 1)[1] for name in FEATURES if "_" in name} | set(FEATURES)
    assert not sensitive & bare


def test_gated_groups_have_checks_on_every_table():
    gated = {group.name for group in GROUPS if group.gate}
    unchecked = [t.name for t in TABLES if t.group in gated and not t.checks and not t.keys]
    assert unchecked == []


@pytest.mark.parametrize("check", [rows_between(1), not_null("n"), between("n", 0, 1, WARN)], ids=lambda c: c.kind)
def test_a_check_that_nothing_would_run_is_refused(check):
    def node(group):
        table = Table("audit.things", group, "me", "Things.", [Column("n", "int", "Number.")], ["n"], checks=[check])
        return Node(table, lambda *, days, params: None)

    Catalog({"audit.things": node("serving")}).validate()
    with pytest.raises(ContractError, match="audit.things: .* needs a gate, which group audit has not: declare one of"):
        Catalog({"audit.things": node("audit")}).validate()


def test_the_manifest_is_plain_json_and_complete(tmp_path):
    write_manifest(CATALOG, tmp_path / "manifest.json")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert set(manifest["nodes"]) == set(CATALOG.nodes)
    assert [n for g in manifest["groups"] for n in g["nodes"]] != []


def test_a_node_comes_after_everything_that_it_reads():
    at = {name: i for i, name in enumerate(CATALOG.order)}
    assert all(at[source] < at[name] for name, node in CATALOG.nodes.items() for source in node.upstream)
