"""Export: the current release as files that a service loads, by original ids, with a list for every user.

Whoever has no list of his own gets his segment's: fallbacks are resolved here. Beside the lists go the similar items
of every item's page and the category factors for search. ``manifest.json`` has rows, bytes and SHA-256 of every file;
the folder appears at once, whole.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs import releases
from jobs.errors import PublishError, SettingsError
from jobs.lake import Lake
from jobs.landing import sha256
from jobs.settings import BLOCK_DAYS, Settings
from jobs.show import names_of

USERS_AT_ONCE = 50_000
EVERYONE = "everyone"


@dataclass(frozen=True)
class Exported:
    """A table of the export: its columns, those that a service looks up by first, and its order within them."""

    name: str
    keys: tuple[str, ...]
    schema: pa.Schema

    @property
    def key(self) -> tuple[str, ...]:
        return (*self.keys, "rank")


_TEXT, _RANK, _NUMBER = pa.string(), pa.int32(), pa.float64()
LISTS = Exported(
    "recommendations",
    ("user_id", "surface"),
    pa.schema(
        [
            ("user_id", _TEXT),
            ("surface", _TEXT),
            ("rank", _RANK),
            ("item_id", _TEXT),
            ("slot_type", _TEXT),
            ("score", _NUMBER),
            ("reasons", _TEXT),
            ("detail", _TEXT),
            ("language", _TEXT),
            ("context", _TEXT),
            ("source", _TEXT),
            ("release_id", _TEXT),
        ]
    ),
)
SIMILAR = Exported(
    "similar_items",
    ("item_id",),
    pa.schema(
        [
            ("item_id", _TEXT),
            ("rank", _RANK),
            ("similar_item_id", _TEXT),
            ("score", _NUMBER),
            ("source", _TEXT),
            ("release_id", _TEXT),
        ]
    ),
)
BOOSTS = Exported(
    "category_boosts",
    ("user_id",),
    pa.schema([("user_id", _TEXT), ("rank", _RANK), ("category", _TEXT), ("boost", _NUMBER), ("release_id", _TEXT)]),
)


def export(settings: Settings, to: Path, form: str) -> dict[str, Any]:
    """Write the current release to the new folder ``to``.

    Parameters
    ----------
    form
        ``parquet`` (a file a table), ``jsonl`` (a line for each key, with its rows) or ``sqlite`` (one file).

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    SettingsError
        The folder exists.
    PublishError
        Nothing has been published yet, or a surface has no list for everyone.
    """
    if to.exists():
        raise SettingsError(f"{to} exists already: name a folder that is not there yet.")
    served = Served.load(Lake(settings))
    partial = to.with_name(f"{to.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rows = WRITERS[form](partial, {LISTS: served.lists(), SIMILAR: served.similar(), BOOSTS: served.boosts()})
    manifest = {
        "version": 1,
        "market": settings.market.name,
        "form": form,
        **{name: str(served.release[name]) for name in ("release_id", "ds", "kind", "model", "model_version")},
        "users": len(served.users),
        "rows": rows,
        "files": [
            {
                "name": path.name,
                "rows": rows.get(path.name.split(".")[0], sum(rows.values())),
                "bytes": path.stat().st_size,
                "sha256": sha256(path),
            }
            for path in sorted(partial.iterdir())
        ],
    }
    (partial / "manifest.json").write_text(json.dumps(manifest, indent=1))
    partial.rename(to)
    return manifest


@dataclass(frozen=True)
class Served:
    """The tables of the current release by original ids; frames come in parts of ``USERS_AT_ONCE`` users."""

    lake: Lake
    release: dict[str, Any]
    users: pd.DataFrame
    items: pd.Series

    @classmethod
    def load(cls, lake: Lake) -> Served:
        release = releases.required(lake)
        ds: dt.date = release["ds"]
        days = [day for day in lake.days("silver.users") if day <= ds]
        wanted = ["user_id", "original_id", "region"]
        users = lake.rows("silver.users", wanted, ds=days[-1]).to_pandas() if days else pd.DataFrame(columns=wanted)
        items = names_of(lake, "silver.items", "item_id", ds)["original_id"]
        return cls(lake, release, users.sort_values("original_id", kind="stable").reset_index(drop=True), items)

    def rows(self, table: str) -> pd.DataFrame:
        of = {"ds": self.release["ds"], "release_id": self.release["release_id"]}
        return self.lake.rows(table, **of).to_pandas()

    def lists(self) -> Iterator[pd.DataFrame]:
        """Every user's list on every surface: his own, or that of the segment in ``source``."""
        own = self.rows("serving.recommendations")
        shared = self.rows("serving.fallback").sort_values("rank", kind="stable")
        surfaces = sorted({*own["surface"], *shared["surface"]})
        if lacking := [s for s in surfaces if s not in set(shared.loc[shared["segment"] == EVERYONE, "surface"])]:
            raise PublishError(f"Surface {lacking[0]} of {self.release['release_id']} has no list for everyone.")
        own = own.assign(source="personal", segment=None)
        language = self.lake.settings.market.language
        shared = shared.assign(slot_type="organic", source=shared["segment"], language=language, context=None)
        refused = self.refused(shared["item_id"].unique().tolist())
        for start in range(0, len(self.users), USERS_AT_ONCE):
            part = self.users.iloc[start : start + USERS_AT_ONCE]
            mine = own.merge(part[["user_id", "original_id"]], on="user_id")
            both = pd.concat([mine, self._fallbacks(part, mine, shared, surfaces, refused)], ignore_index=True)
            named = both.assign(
                user_id=both["original_id"],
                item_id=both["item_id"].map(self.items),
                reasons=[json.dumps(list(reasons), ensure_ascii=False, default=str) for reasons in both["reasons"]],
            )
            yield named.sort_values(list(LISTS.key), kind="stable")

    @staticmethod
    def _fallbacks(
        part: pd.DataFrame, own: pd.DataFrame, shared: pd.DataFrame, surfaces: list[str], refused: pd.DataFrame
    ) -> pd.DataFrame:
        """The rows of the segment's lists for each user and surface without a list of its own.

        What a user refused is left out: the rest moves up, and spare rows fill the places that become free.
        """
        wanted = part[["user_id", "original_id", "region"]].merge(pd.DataFrame({"surface": surfaces}), how="cross")
        has = own[["original_id", "surface"]].drop_duplicates().assign(has=True)
        wanted = wanted.merge(has, on=["original_id", "surface"], how="left")
        wanted = wanted[wanted["has"].isna()].drop(columns="has")
        known = shared[["surface", "segment"]].drop_duplicates().assign(known=True)
        wanted["segment"] = "region=" + wanted["region"].astype("string")
        wanted = wanted.merge(known, on=["surface", "segment"], how="left")
        wanted["segment"] = wanted["segment"].where(wanted["known"].notna(), EVERYONE)
        rows = wanted.drop(columns=["known", "region"]).merge(shared, on=["surface", "segment"])
        rows = rows.merge(refused.assign(refused=True), on=["user_id", "item_id"], how="left")
        rows = rows[rows["refused"].isna()].drop(columns=["refused", "rank"])
        places = shared.loc[~shared["spare"].eq(True), ["surface", "segment", "rank"]]
        return _numbered(rows, "original_id").merge(_numbered(places), on=["surface", "segment", "_nth"])

    def refused(self, items: list[int]) -> pd.DataFrame:
        """Pairs ``user_id, item_id`` of these items that the user refused, blocked or just bought.

        The same week as for lists of one's own (models.fused), and what looks for feedback found since.
        """
        ds, market = self.release["ds"], self.lake.settings.market
        week = [ds - dt.timedelta(days=n) for n in range(BLOCK_DAYS)]
        wanted = ["user_id", "item_id", "rejections", "purchases"]
        did = self.lake.rows("silver.user_item_daily", wanted, ds=week, item_id=items)
        if did.num_rows:
            did = did.filter((pc.field("rejections") > 0) | (pc.field("purchases") > 0))
        known = self.lake.rows("silver.items", ["item_id", "category", "creator_id"], ds=ds).to_pylist()
        repeat = {r["item_id"] for r in known if market.repeats(r["category"])}
        creators = {r["item_id"]: r["creator_id"] for r in known if r["creator_id"] is not None}
        told = self.lake.rows("silver.events", ["user_id", "item_id"], ds=week, action="block_author").to_pylist()
        blocked = {(t["user_id"], creators[t["item_id"]]) for t in told if t["item_id"] in creators}
        base = releases.base_of(self.release)
        since = self.lake.rows("ops.withheld", ["user_id", "item_id"], base_release_id=base, item_id=items)
        pairs = {
            *((r["user_id"], r["item_id"]) for r in did.to_pylist() if r["rejections"] or r["item_id"] not in repeat),
            *((user, item) for user, creator in blocked for item in items if creators.get(item) == creator),
            *((r["user_id"], r["item_id"]) for r in since.to_pylist()),
        }
        return pd.DataFrame(sorted(pairs), columns=["user_id", "item_id"], dtype="int64")

    def similar(self) -> Iterator[pd.DataFrame]:
        rows = self.rows("serving.similar_items")
        named = {name: rows[name].map(self.items) for name in ("item_id", "similar_item_id")}
        yield rows.assign(**named).sort_values(list(SIMILAR.key), kind="stable")

    def boosts(self) -> Iterator[pd.DataFrame]:
        rows = self.rows("serving.category_boosts")
        named = rows.merge(self.users[["user_id", "original_id"]], on="user_id")
        yield named.assign(user_id=named["original_id"]).sort_values(list(BOOSTS.key), kind="stable")


def _numbered(rows: pd.DataFrame, *of: str) -> pd.DataFrame:
    """The rows with ``_nth``, their number within a list; they stand in the order of their ranks."""
    return rows.assign(_nth=rows.groupby([*of, "surface", "segment"], sort=False).cumcount())


Tables = dict[Exported, Iterator[pd.DataFrame]]


def _arrow(table: Exported, frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame[table.schema.names], schema=table.schema, preserve_index=False)


def write_parquet(folder: Path, tables: Tables) -> dict[str, int]:
    """One file a table, sorted by key; returns the rows of each."""
    rows = {}
    for table, frames in tables.items():
        with pq.ParquetWriter(folder / f"{table.name}.parquet", table.schema) as writer:
            rows[table.name] = 0
            for frame in frames:
                writer.write_table(_arrow(table, frame))
                rows[table.name] += len(frame)
    return rows


def write_jsonl(folder: Path, tables: Tables) -> dict[str, int]:
    """One file a table, one line a key: the key, the release, and ``rows`` in order of rank."""
    rows = {}
    for table, frames in tables.items():
        rows[table.name] = 0
        with open(folder / f"{table.name}.jsonl", "w", encoding="utf-8") as lines:
            for frame in frames:
                plain = _arrow(table, frame).to_pandas()
                for key, of_key in plain.groupby(list(table.keys), sort=False):
                    lines.write(json.dumps(_line(table, key, of_key), ensure_ascii=False) + "\n")
                rows[table.name] += len(plain)
    return rows


def _line(table: Exported, key: tuple[str, ...], of_key: pd.DataFrame) -> dict[str, Any]:
    release = of_key["release_id"].iloc[0]
    entries = of_key.drop(columns=[*table.keys, "release_id"]).to_dict("records")
    for entry in entries:
        if "reasons" in entry:
            entry["reasons"] = json.loads(entry["reasons"])
    return dict(zip(table.keys, key, strict=True)) | {"release_id": release, "rows": entries}


def write_sqlite(folder: Path, tables: Tables) -> dict[str, int]:
    """One database; each table is clustered by its key, so that a list is one short read."""
    rows = {}
    with closing(sqlite3.connect(folder / "lists.sqlite")) as database:
        for table, frames in tables.items():
            columns = ", ".join(f"{f.name} {_sql_type(f.type)}" for f in table.schema)
            database.execute(
                f"CREATE TABLE {table.name} ({columns}, PRIMARY KEY ({', '.join(table.key)})) WITHOUT ROWID"
            )
            places = ", ".join("?" * len(table.schema))
            rows[table.name] = 0
            for frame in frames:
                values = _arrow(table, frame).to_pydict()
                database.executemany(f"INSERT INTO {table.name} VALUES ({places})", zip(*values.values()))
                rows[table.name] += len(frame)
        database.commit()
    return rows


def _sql_type(kind: pa.DataType) -> str:
    return {pa.int32(): "INTEGER", pa.float64(): "REAL"}.get(kind, "TEXT")


WRITERS: dict[str, Callable[[Path, Tables], dict[str, int]]] = {
    "parquet": write_parquet,
    "jsonl": write_jsonl,
    "sqlite": write_sqlite,
}
