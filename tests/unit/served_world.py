"""A few served rows, planted by hand in a lake: three users, two of them with lists."""

from __future__ import annotations

import datetime as dt
import json

from jobs import ops, steps
from jobs.lake import Lake
from jobs.settings import Market, Settings

DAY = dt.date(2024, 3, 14)
RELEASE = "2024-03-14-abc"
ANNA, BERT, CARL = 1, 2, 3
USERS = {ANNA: ("anna", "north"), BERT: ("bert", "south"), CARL: ("carl", None)}
ITEMS = {10 + n: f"i{n}" for n in range(8)}
DETAIL = "5 people liked it — viel"
REASON = [{"kind": "basic", "code": "popular", "text": "Liked by 5 — viel", "evidence": "5"}]


def plant(lake: Lake, table: str, rows: list[dict], **common) -> None:
    contract = ops.BY_NAME.get(table) or steps.catalog().table(table)
    lake.append(contract, [{"ds": DAY, **common, **row} for row in rows])


def listed(user: int, items: list[int], surface: str = "feed") -> list[dict]:
    return [
        {
            "surface": surface,
            "user_id": user,
            "rank": rank,
            "item_id": item,
            "slot_type": "organic",
            "score": 1 / rank,
            "reasons": REASON,
            "detail": DETAIL,
            "language": "zh",
            "context": "weekend",
        }
        for rank, item in enumerate(items, 1)
    ]


def shared(segment: str, items: list[int], surface: str = "feed", ranks: tuple[int, ...] = (), spare: int = 0) -> list:
    """Rows of a fallback list, at ranks from 1 by default; the last ``spare`` ones stand behind it."""
    return [
        {
            "surface": surface,
            "segment": segment,
            "rank": rank,
            "item_id": item,
            "score": 1.0,
            "reasons": REASON,
            "detail": DETAIL,
            "spare": at >= len(items) - spare,
        }
        for at, (rank, item) in enumerate(zip(ranks or range(1, 99), items))
    ]


def plant_release(lake: Lake, release: str = RELEASE, kind: str = "nightly", sequence: int = 1, **more) -> None:
    tables = {f"serving.{name}": {"rows": 1} for name in ("recommendations", "fallback", "similar_items")}
    row = {"release_id": release, "kind": kind, "sequence": sequence, "model": "m", "model_version": "2"}
    plant(lake, "ops.release", [{**row, "tables": json.dumps(tables), "at_ms": sequence, **more}])


def served(home) -> Settings:
    """Anna has a list and a factor, Bert a region with a list, Carl neither."""
    settings = Settings(home, home / "lake", home / "landing", Market("shop"))
    lake = Lake(settings)
    plant(
        lake,
        "silver.users",
        [{"user_id": u, "original_id": name, "region": r, "arrival_ds": DAY} for u, (name, r) in USERS.items()],
    )
    plant(
        lake,
        "silver.items",
        [
            {"item_id": i, "original_id": name, "title": f"Title {name}", "category": "a" if i < 14 else "b"}
            | {"arrival_ds": DAY, "creator_id": 7}
            for i, name in ITEMS.items()
        ],
    )
    plant_release(lake)
    plant(lake, "serving.recommendations", listed(ANNA, [12, 11]), release_id=RELEASE)
    plant(lake, "serving.recommendations", listed(ANNA, [17]), release_id="2024-03-14-old")
    fallback = [*shared("everyone", [15, 16, 17], spare=1), *shared("region=south", [16])]
    plant(lake, "serving.fallback", fallback, release_id=RELEASE)
    similar = [{"item_id": 10, "rank": 1, "similar_item_id": 11, "score": 0.5, "source": "together"}]
    plant(lake, "serving.similar_items", similar, release_id=RELEASE)
    boosts = [{"user_id": ANNA, "category": "a", "rank": 1, "boost": 1.5}]
    plant(lake, "serving.category_boosts", boosts, release_id=RELEASE)
    return settings
