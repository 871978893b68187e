"""Feature tables of a real night hold the rows that plain SQL finds in the same files."""

import pytest

from bench.features import BESIDE, by_sql, hold_equal
from jobs.steps import catalog


@pytest.mark.parametrize("table", BESIDE)
def test_published_rows_are_those_of_plain_sql(world, table):
    node, ds = catalog().node(table), world.lake.days(table)[-1]
    ours = world.lake.rows(table, ds=ds).to_pylist()
    found, _ = by_sql(world.lake, catalog(), node, ds)
    assert len(ours) > 50
    hold_equal(node.contract, ours, found)
