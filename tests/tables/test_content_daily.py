from __future__ import annotations

from jobs.contract import DayRange, NoParams
from jobs.runner import conform
from jobs.tables.content_daily import CONTRACT, build

DAILY = "ds date, item_id bigint, impressions int, clicks int, purchases int, dwell_ms bigint"
ITEMS = "ds date, item_id bigint, content_type string"
DS, NEXT = "2024-03-10", "2024-03-11"


def test_counts_of_items_are_summed_by_what_they_were_that_day(frame):
    daily = [(DS, 1, 10, 2, 1, 500), (DS, 2, 5, 1, 0, 300), (DS, 3, 1, 0, 0, 0), (NEXT, 1, 7, 3, 2, 100)]
    # item 1 becomes an article on the next day; of item 3 nothing is known, item 4 was shown to nobody
    items = [(DS, 1, "video"), (DS, 2, "video"), (DS, 4, "video"), (NEXT, 1, "article")]
    days = DayRange.covering([DayRange.day(DS), DayRange.day(NEXT)])
    made = build(frame(DAILY, daily), frame(ITEMS, items), days=days, params=NoParams())
    rows = {(str(r["ds"]), r["content_type"]): tuple(r)[2:] for r in conform(CONTRACT, made).collect()}
    assert rows == {
        (DS, "video"): (15, 3, 1, 800),
        (DS, "unknown"): (1, 0, 0, 0),
        (NEXT, "article"): (7, 3, 2, 100),
    }
