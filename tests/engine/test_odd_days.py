"""Days that are unlike others: one without any row, one with ten times as many, one that is a fifth one person's."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from jobs import steps
from jobs.contract import DayRange
from jobs.landing import day_folder, write_manifest
from jobs.settings import Market, load_settings, save_market

USUAL, EMPTY, BUSY = (dt.date(2024, 3, d) for d in (1, 2, 3))
TABLES = (
    *(f"{layer}.{feed}" for layer in ("bronze", "silver") for feed in ("events", "impressions", "orders")),
    "silver.user_item_daily",
    "features.user_sequence",
    "candidates.item_neighbours",
)
ROWS, HEAVY = 200, "u0"


def clicks(day: dt.date, rows: int, heavy_share: float = 0.0) -> list[dict]:
    """Clicks of 20 users on 120 items through a day; of ``heavy_share`` of the rows the user is the same one."""
    heavy = int(rows * heavy_share)
    noon = dt.datetime.combine(day, dt.time(12), dt.UTC)
    return [
        {
            "event_id": f"{day}-{n}",
            "user_id": HEAVY if n < heavy else f"u{1 + n % 20}",
            "item_id": f"i{n % 120 if n < heavy else n % 7}",
            "at": (noon + dt.timedelta(seconds=n)).isoformat(),
            "action": "click",
        }
        for n in range(rows)
    ]


def land(settings, day: dt.date, rows: list[dict]) -> None:
    folder = day_folder(settings.landing, "demo", "events", day)
    folder.mkdir(parents=True)
    (folder / "part.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "none.csv").write_text("event_id,user_id,at,action\n")
    write_manifest(folder, "events", day, {"part.jsonl": len(rows), "none.csv": 0})


@pytest.fixture(scope="module")
def lake(tmp_path_factory, spark_server):
    """Three days built as one range, and the empty one once more by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTJAR_HOME", str(tmp_path_factory.mktemp("odd")))
        patch.setenv("NIGHTJAR_SPARK", spark_server)
        save_market(Market("demo"))
        settings = load_settings("demo")
        land(settings, USUAL, clicks(USUAL, ROWS))
        land(settings, EMPTY, [])
        land(settings, BUSY, clicks(BUSY, 10 * ROWS, heavy_share=0.2))
        with steps.opened("demo", "odd") as runner:
            for name in TABLES:
                runner.build_group([runner.catalog.node(name)], DayRange(USUAL, BUSY))
            for name in TABLES:
                if name.endswith((".events", "sequence")):
                    runner.build_group([runner.catalog.node(name)], DayRange.day(EMPTY))
            yield runner.lake


def test_an_empty_day_is_built_and_has_no_row(lake):
    assert lake.counts("silver.events") == {str(USUAL): ROWS, str(BUSY): 10 * ROWS}
    log = lake.rows("ops.run", ["ds", "table", "status", "rows"]).to_pylist()
    assert [(r["status"], r["rows"]) for r in log if r["ds"] == EMPTY and r["table"] == "silver.events"] == [
        ("published", 0)
    ] * 2


def test_windows_reach_over_an_empty_day(lake):
    sequences = lake.rows("features.user_sequence", ["ds", "length"]).to_pylist()
    # 20 users clicked 7 items each on the first day, and nobody anything on the next
    assert [(r["length"]) for r in sequences if r["ds"] == EMPTY] == [7] * 20


def test_every_row_of_a_busy_day_is_accounted_for(lake):
    (row,) = [r for r in lake.rows("ops.run", ds=BUSY).to_pylist() if r["table"] == "silver.events"]
    assert json.loads(row["reconciliation"]) == {str(BUSY): {"written": 10 * ROWS}}


def test_a_heavy_user_counts_their_last_items_only(lake):
    sequences = lake.rows("features.user_sequence", ["ds", "length"]).to_pylist()
    lengths = sorted(r["length"] for r in sequences if r["ds"] == BUSY)
    # of 120 items the last 50; and everyone else the same 7
    assert lengths == [7] * 20 + [50]
    neighbours = lake.rows("candidates.item_neighbours", ["ds", "item_id"]).to_pylist()
    assert len({r["item_id"] for r in neighbours if r["ds"] == BUSY}) <= 57
