"""A managed backfill shows what would change, changes nothing before the swap, and can be undone."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import pytest

from jobs import backfill, steps
from jobs.contract import DayRange
from jobs.errors import ContractError, PublishError
from jobs.landing import feed
from jobs.quarantine import refused
from jobs.releases import content_of
from jobs.tables import silver
from tests.engine.deliveries import event, land_events

D1, D2, D3 = (dt.date(2024, 3, n) for n in (13, 14, 15))
DAYS = DayRange(D1, D2)


def build(runner, days):
    return steps.run_nodes(runner, [runner.catalog.node(n) for n in ("bronze.events", "silver.events")], days)


@pytest.fixture
def opened(settings, monkeypatch):
    monkeypatch.setenv("NIGHTJAR_SPARK", settings.spark)
    land_events(settings, D1, [event(1, at="2024-03-13T09:00:00Z", dwell_ms="100")])
    land_events(settings, D2, [event(2, dwell_ms="10"), event(3, dwell_ms="20"), event(4, action="clikc")])
    with steps.opened("demo", "first") as runner:
        build(runner, DAYS)
    return lambda run_id: steps.opened("demo", run_id)


@pytest.fixture
def repaired(monkeypatch):
    """A silver.events that knows one more action and counts dwell in other units: both days change."""
    events = feed("events")
    wider = tuple(replace(f, values=(*f.values, "clikc")) if f.name == "action" else f for f in events.fields)
    node = silver.node(replace(events, fields=wider))

    def doubled(bronze, *, days, params, market):
        made = node.build(bronze, days=days, params=params, market=market)
        return made.withColumn("dwell_ms", made["dwell_ms"] * 2)

    monkeypatch.setitem(steps.catalog().nodes, "silver.events", replace(node, build=doubled))


def by_day(rows):
    return {str(r["ds"]): r for r in rows}


def test_the_difference_is_counted_to_the_row_and_nothing_changes_before_the_swap(opened, repaired):
    with opened("fix") as runner:
        before = content_of(runner, "silver.events", DAYS)
        found = by_day(backfill.stage(runner, ["silver.events"], DAYS))
        one, two = found[str(D1)], found[str(D2)]
        counts = ("rows_live", "rows_staged", "rows_added", "rows_removed", "rows_changed", "changed_share")
        assert [one[c] for c in counts] == [1, 1, 0, 0, 1, 1.0]
        # event 4 is accepted now; 2 and 3 changed: 3 of 3 rows
        assert [two[c] for c in counts] == [2, 3, 1, 0, 2, 1.0]
        assert json.loads(two["figures"])["dwell_ms"] == [30, 60]
        assert content_of(runner, "silver.events", DAYS) == before
        assert {c: len(runner.lake.rows("ops.backfill")) for c in "x"} == {"x": 2}
        said = backfill.markdown(backfill.summary(list(found.values())))
        assert "| silver.events |" in said and "dwell_ms" in said
        assert backfill.discard(runner) and not backfill.discard(runner)
        assert content_of(runner, "silver.events", DAYS) == before


def test_a_swap_is_undone_by_restore_refused_rows_and_log_included(opened, repaired, settings):
    with opened("fix") as runner:
        before, held = content_of(runner, "silver.events", DAYS), refused(runner.lake)
        backfill.stage(runner, ["silver.events"], DAYS)
    with opened("fix") as runner:  # another process than the one that staged
        assert backfill.swap(runner) == {"silver.events": 4}
        assert content_of(runner, "silver.events", DAYS) != before
        assert refused(runner.lake) == [] and len(held) == 1
        rows = backfill.restore(settings, runner.catalog, "fix")
        assert {(str(r["ds"]), r["rows"]) for r in rows} == {(str(D1), 1), (str(D2), 2)}
        assert content_of(runner, "silver.events", DAYS) == before
        assert refused(runner.lake) == held
        # the log is that of the restored rows again, so the next build reconciles
        assert build(runner, DayRange.day(D2))["silver.events"] == 3


def published_by_another(opened):
    """Silver of the second day, from the same files."""
    with opened("other") as runner:
        steps.run_nodes(runner, [runner.catalog.node("silver.events")], DayRange.day(D2))


def test_a_day_published_meanwhile_stops_the_swap_of_every_table(opened, monkeypatch):
    with opened("fix") as runner:
        real = runner.build_group

        def meanwhile(nodes, *args, **more):
            # bronze is staged already, silver is not
            if "silver.events" in [node.name for node in nodes]:
                published_by_another(opened)
            return real(nodes, *args, **more)

        monkeypatch.setattr(runner, "build_group", meanwhile)
        backfill.stage(runner, ["bronze.events+"], DAYS)
        versions = {name: runner.lake.version(name) for name in ("bronze.events", "silver.events", "ops.quarantine")}
        with pytest.raises(PublishError, match="silver.events of 2024-03-14 was published by another run since"):
            backfill.swap(runner)
        assert {name: runner.lake.version(name) for name in versions} == versions


def test_a_swap_that_was_half_done_is_finished_by_its_next_try(opened, settings):
    with opened("fix") as runner:
        backfill.stage(runner, ["bronze.events+"], DAYS)
        made = runner.load_stage(backfill.STAGE)
        runner.publish(made[:1])  # and then it was killed
    with opened("fix") as runner:
        versions = {staged.table: runner.lake.version(staged.table) for staged in made}
        assert backfill.swap(runner) == {"bronze.events": 4, "silver.events": 3}
        assert runner.lake.version("bronze.events") == versions["bronze.events"]
        assert runner.lake.version("silver.events") == versions["silver.events"] + 1


def test_a_day_published_again_is_not_restored(opened, settings):
    published_by_another(opened)
    with opened("x") as runner, pytest.raises(PublishError, match="published again by run other"):
        backfill.restore(settings, runner.catalog, "first")
    with opened("x") as runner, pytest.raises(PublishError, match="'nobody' published no table"):
        backfill.restore(settings, runner.catalog, "nobody")


def test_a_rebuild_of_the_same_rows_changes_none(opened):
    with opened("same") as runner:
        rows = backfill.stage(runner, ["bronze.events+"], DAYS)
        assert {r["table"] for r in rows} == {"bronze.events", "silver.events"}
        assert {r["changed_share"] for r in rows} == {0.0}
        assert {r["figures"] for r in rows} == {"{}"}
        backfill.discard(runner)


def test_lists_are_not_rebuilt(opened):
    with opened("lists") as runner, pytest.raises(ContractError, match="does not rebuild serving.recommendations"):
        backfill.stage(runner, ["serving.recommendations"], DAYS)
