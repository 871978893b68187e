"""Explain: why an item is in a user's list, or is not, from what the night kept: channel by channel, rule by rule.

Nothing is computed again. Each step of the way to a list is a table; an explanation is the rows of one user (and
item) in them, and the first step at which they end.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from jobs import releases
from jobs.errors import SettingsError
from jobs.lake import Lake
from jobs.settings import BLOCK_DAYS, Settings
from jobs.show import names_of
from jobs.takedown import taken_down

Answer = dict[str, Any]


def explain(settings: Settings, user: str, item: str | None, surface: str) -> Answer:
    """What led to a user's list on a surface, or to the place of one item in it.

    Parameters
    ----------
    user, item
        The source's ids; without an item the whole list is explained.

    Returns
    -------
    dict
        ``user``, ``list`` (rows with reasons) and, of an item, ``item``, ``channels``, ``fused``, ``ranked``,
        ``blocks``, ``rules``, ``served`` and ``verdict``.

    Raises
    ------
    PublishError
        Nothing has been published yet.
    SettingsError
        The user or the item is not known.
    """
    lake = Lake(settings)
    case = Case.of(lake, releases.required(lake), user, surface)
    found: Answer = {
        "release_id": case.release["release_id"],
        "kind": case.release["kind"],
        "ds": case.release["ds"],
        "surface": surface,
        "user": case.person(),
        "list": case.listed(),
    }
    if item is None:
        return found
    key = case.key_of("silver.items", "item_id", item)
    found |= {
        "item": case.described(key),
        "channels": case.channels(key),
        "fused": case.step("candidates.fused", key, ["rank", "score", "channel", "channels", "seed_item_id"]),
        "ranked": case.step("candidates.ranked", key, ["rank", "score", "pctr", "pcvr", "relevance", "model_version"]),
        "blocks": case.blocks(key),
        "rules": case.rules(key),
        "served": next((row for row in found["list"] if row["item"] == item), None),
    }
    return found | {"verdict": verdict(found)}


@dataclass(frozen=True)
class Case:
    """One user on one surface of one release."""

    lake: Lake
    release: dict[str, Any]
    user: str
    key: int
    surface: str
    titles: pd.DataFrame

    @classmethod
    def of(cls, lake: Lake, release: dict[str, Any], user: str, surface: str) -> Case:
        case = cls(lake, release, user, 0, surface, names_of(lake, "silver.items", "item_id", release["ds"]))
        return cls(lake, release, user, case.key_of("silver.users", "user_id", user), surface, case.titles)

    @property
    def ds(self) -> dt.date:
        return self.release["ds"]

    def key_of(self, table: str, column: str, original: str) -> int:
        """Surrogate key of an original id in the snapshot that the release was made from."""
        days = [day for day in self.lake.days(table) if day <= self.ds]
        rows = self.lake.rows(table, [column], ds=days[-1], original_id=original).to_pylist() if days else []
        if not rows:
            raise SettingsError(f"{table} of {self.ds} knows no {original!r}: give the source's id.")
        return rows[0][column]

    def rows(self, table: str, columns: list[str], **equal: Any) -> list[Answer]:
        """Rows of a day's table, with the declared columns alone; empty where it was never built."""
        opened = self.lake.open(table)
        if opened is None:
            return []
        present = {field.name for field in opened.schema().fields}
        return self.lake.rows(table, [c for c in columns if c in present], ds=self.ds, **equal).to_pylist()

    def named(self, item: int | None) -> str | None:
        """The source's id of an item."""
        if item is None:
            return None
        return self.titles["original_id"].get(item, str(item))

    def person(self) -> Answer:
        """Whether the user may have, and has, personal lists."""
        profile = self.rows("features.user_profile", ["consent_personalisation", "region"], user_id=self.key)
        active = self.rows("features.user_activity", ["user_id"], user_id=self.key)
        consents = bool(profile and profile[0]["consent_personalisation"])
        return {
            "id": self.user,
            "consents": consents and None not in self.withheld(),
            "active": bool(active),
            "region": profile[0]["region"] if profile else None,
        }

    def withheld(self) -> set[int | None]:
        """Items that feedback since the night keeps from the user; None where consent was withdrawn."""
        of_night = {"base_release_id": releases.base_of(self.release), "user_id": self.key}
        return {row["item_id"] for row in self.rows("ops.withheld", ["item_id"], **of_night)}

    def listed(self) -> list[Answer]:
        """The user's own list; empty where he gets his segment's."""
        wanted = ["rank", "item_id", "slot_type", "score", "channel", "seed_item_id", "reasons", "context"]
        of_release = {"release_id": self.release["release_id"], "surface": self.surface, "user_id": self.key}
        rows = self.rows("serving.recommendations", wanted, **of_release)
        return [self._shown(row) for row in sorted(rows, key=lambda r: r["rank"])]

    def _shown(self, row: Answer) -> Answer:
        item, seed = row.pop("item_id"), row.pop("seed_item_id", None)
        reasons = [reason["text"] for reason in row.pop("reasons", None) or []]
        title = self.titles["title"].get(item)
        return {"rank": row.pop("rank"), "item": self.named(item), "title": title, "reasons": reasons, **row} | {
            "seed": self.named(seed)
        }

    def described(self, item: int) -> Answer:
        """What decides whether anyone may see the item."""
        wanted = ["original_id", "title", "category", "creator_id", "status", "stock", "regions", "age_limit"]
        (row,) = self.rows("silver.items", wanted, item_id=item) or [{}]
        stats = self.rows("features.item_stats", ["is_eligible", "quality"], item_id=item)
        facts = stats[0] if stats else {"is_eligible": False, "quality": None}
        return {**row, **facts, "taken_down": item in taken_down(self.lake)}

    def channels(self, item: int) -> list[Answer]:
        """The place of the item in every channel; without a rank where the channel did not find it."""
        rows = self.rows(
            "candidates.recall", ["channel", "rank", "score", "seed_item_id"], user_id=self.key, item_id=item
        )
        found = {r["channel"]: {**r, "seed": self.named(r.pop("seed_item_id"))} for r in rows}
        built = sorted({*found, *_channels(self.lake, self.ds)})
        return [found.get(name, {"channel": name, "rank": None, "score": None, "seed": None}) for name in built]

    def step(self, table: str, item: int, columns: list[str]) -> Answer | None:
        """The item's row among the user's candidates after a step."""
        rows = self.rows(table, columns, user_id=self.key, item_id=item)
        if rows and "seed_item_id" in rows[0]:
            rows[0]["seed"] = self.named(rows[0].pop("seed_item_id"))
        return rows[0] if rows else None

    def blocks(self, item: int) -> list[str]:
        """What keeps the item away from the user for a week, a sentence each."""
        week = [self.ds - dt.timedelta(days=n) for n in range(BLOCK_DAYS)]
        return sorted(
            [
                *self._refused(item, week),
                *self._blocked(item, week),
                *(
                    f"{case['ds']}: a bad case ({case['type']}) stops it"
                    for case in self.lake.rows("features.badcases", ds=week, item_id=item, stops=True).to_pylist()
                    if case["user_id"] in (None, self.key)
                ),
            ]
        )

    def _refused(self, item: int, week: list[dt.date]) -> Iterator[str]:
        """Refusals, and sales of what does not repeat."""
        (of_item,) = self.rows("silver.items", ["category"], item_id=item) or [{"category": None}]
        once = not self.lake.settings.market.repeats(of_item["category"])
        for did in self.lake.rows("silver.user_item_daily", ds=week, user_id=self.key, item_id=item).to_pylist():
            if did["rejections"]:
                yield f"{did['ds']}: asked not to see it ({did['rejections']} times)"
            if did["purchases"] and once:
                yield f"{did['ds']}: bought it ({did['purchases']} times)"
        if item in self.withheld():
            yield "refused it, blocked its creator or bought it since the lists were made"

    def _blocked(self, item: int, week: list[dt.date]) -> Iterator[str]:
        """Blocks of the item's creator."""
        told = self.lake.rows("silver.events", ds=week, user_id=self.key, action="block_author").to_pylist()
        wanted = [item, *{t["item_id"] for t in told}]
        rows = self.rows("silver.items", ["item_id", "creator_id"], item_id=wanted)
        creators = {r["item_id"]: r["creator_id"] for r in rows if r["creator_id"] is not None}
        for each in told:
            if item in creators and creators.get(each["item_id"]) == creators[item]:
                yield f"{each['ds']}: blocked its creator"

    def rules(self, item: int) -> list[Answer]:
        """What the rules of the list did with the item (``serving.decision_log``)."""
        of_release = {"release_id": self.release["release_id"], "surface": self.surface, "user_id": self.key}
        effects = [e for row in self.rows("serving.decision_log", ["effects"], **of_release) for e in row["effects"]]
        return [{k: v for k, v in e.items() if k != "item_id"} for e in effects if e["item_id"] == item]


def _channels(lake: Lake, ds: dt.date) -> set[str]:
    opened = lake.open("candidates.recall")
    if opened is None:
        return set()
    files = pa.table(opened.get_add_actions(flatten=True)).to_pylist()
    return {file["partition.channel"] for file in files if str(file["partition.ds"]) == str(ds)}


def verdict(found: Answer) -> str:
    """One sentence: the place of the item, or the first step at which it was left out."""
    if found["served"]:
        served = found["served"]
        why = f": {served['reasons'][0]}" if served["reasons"] else ""
        return f"It is shown at rank {served['rank']} ({served['slot_type']}){why}."
    return f"It is not in a list of the user's own: {next(_stops(found))}."


def _stops(found: Answer) -> Iterator[str]:
    """Where the way to the list ends, in the order of the night."""
    item, ranked = found["item"], found["ranked"]
    if not found["user"]["consents"]:
        yield "the user does not consent to personal lists"
    if not found["user"]["active"]:
        yield "the user was not active in 28 days"
    if item["taken_down"]:
        yield "it was taken down"
    if not item["is_eligible"]:
        yield f"it is not on offer (status {item['status']}, stock {item['stock']})"
    if found["blocks"]:
        yield "; ".join(found["blocks"])
    if not any(channel["rank"] for channel in found["channels"]):
        yield "no channel has it among the user's best"
    if found["fused"] is None:
        yield "channels found it, but it is not for the user's region or age, or beyond the budget of fusion"
    if ranked is None:
        yield "it was a candidate and was not scored"
    else:
        effects = [f"{e['rule']} ({e['action']}): {e['why']}" for e in found["rules"]]
        what = "; ".join(effects) or "that was not enough under the rules of the list"
        yield f"it has rank {ranked['rank']} among the candidates, and {what}"


def as_sentences(found: Answer) -> Iterator[str]:
    """An explanation for people, line by line."""
    person = found["user"]
    yield f"Release {found['release_id']} ({found['kind']}), surface {found['surface']}, user {person['id']}"
    yield (
        f"  consents: {_yes(person['consents'])}; active in 28 days: {_yes(person['active'])}; "
        f"region: {person['region'] or 'not known'}"
    )
    yield from _way_of_item(found) if "item" in found else _whole_list(found["list"])


def _whole_list(rows: list[Answer]) -> Iterator[str]:
    if not rows:
        yield "  No list of the user's own: that of the region is shown, or the one for everyone."
    for row in rows:
        seed = f", by {row['seed']}" if row["seed"] else ""
        yield f"  {row['rank']:>3}  {row['item']}  {row['title']}  [{row['slot_type']}, {row['channel']}{seed}]"
        yield f"       {'; '.join(row['reasons'])}"


def _way_of_item(found: Answer) -> Iterator[str]:
    item = found["item"]
    yield f"Item {item['original_id']}: {item['title']} ({item['category']})"
    yield (
        f"  may be recommended: {_yes(item['is_eligible'])} (status {item['status']}, stock {item['stock']}, "
        f"taken down: {_yes(item['taken_down'])}); regions: {item['regions'] or 'all'}; "
        f"age limit: {item['age_limit'] or 'none'}"
    )
    for each in found["channels"]:
        place = f"rank {each['rank']}, score {each['score']}" if each["rank"] else "not among the user's best"
        yield f"  channel {each['channel']}: {place}{', by ' + each['seed'] if each['seed'] else ''}"
    for name in ("fused", "ranked"):
        yield f"  {name}: {_facts(found[name]) if found[name] else 'not there'}"
    yield f"  blocks of {BLOCK_DAYS} days: {'; '.join(found['blocks']) or 'none'}"
    for effect in found["rules"]:
        yield f"  rule {_facts(effect)}"
    yield found["verdict"]


def _facts(row: Answer) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items() if value is not None)


def _yes(value: Any) -> str:
    return "yes" if value else "no"
