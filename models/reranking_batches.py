"""Reranking in Spark's Python workers: rows of users in, a pool for each surface and context, rows of lists out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.errors import ContractError
from models.pool import Pool, Shelf, Touched
from models.reranking import Lists, rerank
from models.rules.rule import Rule
from models.style import style_match
from models.surfaces import Surface

USER_COLUMNS = ("surface", "user_id", "context", "signals", "region", "least_age")
HEADS = ("score", "pctr", "pcvr", "relevance")
CANDIDATE = ("rank", "item_id", *HEADS, "injected", "own", "barred")
TOUCH = ("item_id", "age", "shown", "clicked", "bought", "told")
PLACED = (
    "array<struct<rank:int,item_id:bigint,slot_type:string,rank_before:int,score_before:double,score_after:double,"
    "propensity:double,arm:string,style_match:double,style_items:int>>"
)
EFFECTS = "array<struct<rule:string,action:string,item_id:bigint,rank_before:int,rank:int,why:string>>"
OUTPUT = (
    "surface string, user_id bigint, context string, policy string, signals array<double>, candidates int, "
    "categories int, "
    f"placed {PLACED}, effects {EFFECTS}, ad_slots array<int>"
)
NO_POLICY = "none"
USERS_AT_ONCE = 128
"""So many fit the processor's cache with their candidates' vectors."""


@dataclass(frozen=True)
class Plan:
    """A surface with the options of a context, and its chain of rules; ``bar``: its bit in ``barred`` (`bars`)."""

    surface: Surface
    rules: Sequence[Rule]
    bar: int = 0

    @property
    def curates(self) -> bool:
        """Entries of the curated pool have places here."""
        return any(rule.name == "curated" for rule in self.rules)

    @property
    def policy(self) -> str:
        """The policy of the places of exploration."""
        return next((rule.policy for rule in self.rules if hasattr(rule, "policy")), NO_POLICY)


def reranker(
    shelf: Path, day: dt.date, plans: Mapping[tuple[str, str], Plan], repeat_categories: tuple[str, ...]
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """A function for ``mapInArrow``: users with their candidates in, their lists out (`OUTPUT`)."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        loaded = Shelf.load(shelf)
        for batch in batches:
            for (surface, context), rows in groups(batch):
                plan = plan_for(plans, surface, context)
                for start in range(0, len(rows), USERS_AT_ONCE):
                    users = batch.take(pa.array(rows[start : start + USERS_AT_ONCE]))
                    pool = pool_of(users, loaded, day, context, plan, repeat_categories)
                    yield described(users, pool, rerank(pool, plan.surface, plan.rules), plan)

    return run


def bars(surfaces: Iterable[Surface]) -> dict[tuple[str, ...], int]:
    """A bit for each different set of channels that some surface is without."""
    found = sorted({surface.without for surface in surfaces if surface.without})
    return {without: 1 << at for at, without in enumerate(found)}


def plan_for(plans: Mapping[tuple[str, str], Plan], surface: str, context: str) -> Plan:
    """The plan of a context.

    Raises
    ------
    ContractError
        The context was decided under other options than the lists are made with.
    """
    if (surface, context) not in plans:
        raise ContractError(
            f"candidates.contexts has context {context} of surface {surface}, which the market no longer has: "
            "build candidates.contexts again."
        )
    return plans[surface, context]


def groups(batch: pa.RecordBatch) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """Rows by surface and context, in their order."""
    found: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(zip(batch["surface"].to_pylist(), batch["context"].to_pylist())):
        found.setdefault(key, []).append(row)
    for key in sorted(found):
        yield key, np.array(found[key])


def flat(lists: pa.Array, name: str, kind: type) -> np.ndarray:
    """One field of all structs of a column of lists; a missing number is NaN."""
    values = pc.struct_field(lists.flatten(), name)
    return values.to_numpy(zero_copy_only=False).astype(kind)


def rows_of(lists: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Of every struct of a column of lists the row, and its place within the list."""
    length = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    first = np.cumsum(length) - length
    row = np.repeat(np.arange(len(length)), length)
    return row, np.arange(len(row)) - first[row]


def pool_of(
    users: pa.RecordBatch, shelf: Shelf, day: dt.date, context: str, plan: Plan, repeat_categories: tuple[str, ...]
) -> Pool:
    """The pool of rows of users; candidates beyond the surface's number and items not on the shelf are left out."""
    lists = users["candidates"]
    row, column = rows_of(lists)
    first = column < plan.surface.candidates
    row, column = row[first], column[first]
    at = shelf.find(flat(lists, "item_id", np.int64)[first])
    shape = (users.num_rows, int(column.max(initial=-1)) + 1)
    places = np.full(shape, -1)
    places[row, column] = at
    heads = {}
    for name in HEADS:
        heads[name] = np.full(shape, np.nan)
        heads[name][row, column] = flat(lists, name, np.float64)[first]
    known = {name: np.zeros(shape, dtype=bool) for name in ("injected", "own", "barred")}
    for name, mask in known.items():
        values = flat(lists, name, np.int64)[first]
        mask[row, column] = (values & plan.bar if name == "barred" else values) > 0
    return Pool(
        day=day,
        context=context,
        shelf=shelf,
        user_id=users["user_id"].to_numpy(),
        at=np.maximum(places, 0),
        present=places >= 0,
        heads=heads,
        touched=_touched(users["touched"], shelf),
        region=np.array(users["region"].to_pylist(), dtype=object),
        least_age=users["least_age"].to_numpy(zero_copy_only=False).astype(np.float64),
        curated=_curated(users["curated"], shelf, places) if plan.curates else np.full(shape, np.nan),
        **known,
        signals=np.array(users["signals"].to_pylist(), dtype=np.float64),
        evidence=users["evidence"][0].as_py() or (),
        repeat_categories=repeat_categories,
    )


def _touched(lists: pa.Array, shelf: Shelf) -> Touched:
    row, _ = rows_of(lists)
    counts = [flat(lists, name, np.int64) for name in ("age", "shown", "clicked", "bought")]
    return Touched(row, shelf.find(flat(lists, "item_id", np.int64)), *counts, flat(lists, "told", object))


def _curated(lists: pa.Array, shelf: Shelf, places: np.ndarray) -> np.ndarray:
    """Boosts of curated entries at their candidates, NaN elsewhere."""
    boosts = np.full(places.shape, np.nan)
    row, _ = rows_of(lists)
    at, boost = shelf.find(flat(lists, "item_id", np.int64)), flat(lists, "boost", np.float64)
    for user, item, value in zip(row, at, boost):
        boosts[user, (places[user] == item) & (item >= 0)] = value
    return boosts


def described(users: pa.RecordBatch, pool: Pool, lists: Lists, plan: Plan) -> pa.RecordBatch:
    """Lists as rows of `OUTPUT`."""
    free = [n for n in plan.surface.ad_slots if n <= plan.surface.length]
    count = users.num_rows
    columns: dict[str, Any] = {name: users[name] for name in ("surface", "user_id", "context", "signals")}
    columns["policy"] = pa.array([plan.policy] * count, pa.string())
    columns["candidates"] = pa.array(pool.present.sum(axis=1), pa.int32())
    columns["categories"] = pa.array(pool.variety(), pa.int32())
    columns["placed"] = _placed(pool, lists)
    columns["effects"] = _effects(pool, lists)
    columns["ad_slots"] = pa.array([free] * count, pa.list_(pa.int32()))
    names = [part.split()[0] for part in OUTPUT.split(", ") if " " in part]
    return pa.RecordBatch.from_arrays([columns[name] for name in names], names=names)


def _placed(pool: Pool, lists: Lists) -> pa.ListArray:
    user, number = np.nonzero(lists.chosen >= 0)
    candidate = lists.chosen[user, number]
    match, items = style_match(pool, lists)
    fields = {
        "rank": pa.array(np.array(lists.places, dtype=np.int32)[number] + 1, pa.int32()),
        "item_id": pa.array(pool.shelf.ids[pool.at[user, candidate]], pa.int64()),
        "slot_type": pa.array(lists.slot_type[user, number], pa.string()),
        "rank_before": pa.array(candidate + 1, pa.int32()),
        "score_before": pa.array(pool.heads["score"][user, candidate], pa.float64(), from_pandas=True),
        "score_after": pa.array(lists.value[user, number], pa.float64(), from_pandas=True),
        "propensity": pa.array(lists.propensity[user, number], pa.float64(), from_pandas=True),
        "arm": pa.array(lists.arm[user, number], pa.string()),
        "style_match": pa.array(match[user, number], pa.float64(), from_pandas=True),
        "style_items": pa.array(items[user, number], pa.int32()),
    }
    return _listed(fields, user, pool.shape[0])


def _effects(pool: Pool, lists: Lists) -> pa.ListArray:
    effects = [e for e in lists.effects if len(e.user)]
    sizes = [len(e.user) for e in effects]
    user = np.concatenate([np.zeros(0, dtype=np.int64), *(e.user for e in effects)])
    candidate = np.concatenate([np.zeros(0, dtype=np.int64), *(e.candidate for e in effects)])
    order = np.argsort(user, kind="stable")
    place = np.repeat([e.place for e in effects], sizes).astype(np.float64)
    why = [w for e in effects for w in ([e.why] * len(e.user) if isinstance(e.why, str) else e.why)]

    def named(attribute: str) -> pa.Array:
        each = [getattr(e, attribute) for e in effects]
        return pa.array(np.repeat(np.array(each, dtype=object), sizes)[order], pa.string())

    fields = {
        "rule": named("rule"),
        "action": named("action"),
        "item_id": pa.array(pool.shelf.ids[pool.at[user, candidate]][order], pa.int64()),
        "rank_before": pa.array((candidate + 1)[order], pa.int32()),
        "rank": pa.array(np.where(place >= 0, place + 1, np.nan)[order], pa.int32(), from_pandas=True),
        "why": pa.array(np.array(why, dtype=object)[order], pa.string()),
    }
    return _listed(fields, user[order], pool.shape[0])


def _listed(fields: Mapping[str, pa.Array], user: np.ndarray, users: int) -> pa.ListArray:
    """Structs as lists by user; ``user`` ascends."""
    ends = np.searchsorted(user, np.arange(users), side="right")
    offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(list(fields.values()), names=list(fields)))
