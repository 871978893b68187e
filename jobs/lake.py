"""Delta tables by path: create from a contract, read days, publish staged files in one commit.

A build's files are written by Spark into the table's own folder, under ``stage/attempt=<id>``, where no
reader looks. Publishing is one Delta commit that adds those files and removes the ones they replace:
metadata only, so the window in which a crash could matter is one atomic log entry, and no row is
written twice. A day that has no row ends up with no file.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, Schema, write_deltalake
from deltalake.exceptions import TableNotFoundError
from deltalake.transaction import AddAction, CommitProperties

from jobs.contract import Table
from jobs.errors import ContractError, PublishError
from jobs.locks import Token
from jobs.ops import BY_NAME as LOG_NAMES
from jobs.ops import RUN
from jobs.settings import Settings

_DELTA_TYPES = {"int": "integer", "bigint": "long"}
_PROPERTIES = {"delta.checkpointInterval": "50", "delta.logRetentionDuration": "interval 400 days"}


@dataclass(frozen=True)
class StagedFile:
    """A Parquet file below a table's folder, with its partition and row count."""

    path: str
    rows: int
    bytes: int
    partition: Mapping[str, str]


def delta_type(type_name: str) -> Any:
    """The Delta schema type of a Spark SQL type name (arrays and structs of plain types included)."""
    if type_name.startswith("array<"):
        return {"type": "array", "elementType": delta_type(type_name[6:-1]), "containsNull": True}
    if type_name.startswith("struct<"):
        parts = [part.split(":", 1) for part in _split(type_name[7:-1])]
        return {
            "type": "struct",
            "fields": [
                {"name": name.strip(), "type": delta_type(kind.strip()), "nullable": True, "metadata": {}}
                for name, kind in parts
            ],
        }
    if type_name.startswith("map<"):
        key, value = _split(type_name[4:-1])
        return {
            "type": "map",
            "keyType": delta_type(key.strip()),
            "valueType": delta_type(value.strip()),
            "valueContainsNull": True,
        }
    return _DELTA_TYPES.get(type_name, type_name)


def _split(text: str) -> list[str]:
    """Split at the commas that are not within angle brackets."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += (char == "<") - (char == ">")
        if char == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def schema_of(contract: Table) -> Schema:
    """The Delta schema of a contract: types, NOT NULL and comments."""
    return Schema.from_json(
        json.dumps(
            {
                "type": "struct",
                "fields": [
                    {
                        "name": column.name,
                        "type": delta_type(column.type),
                        "nullable": column.nullable,
                        "metadata": {"comment": column.description},
                    }
                    for column in contract.schema
                ],
            }
        )
    )


class Lake:
    """The tables of one market.

    Parameters
    ----------
    settings
        Gives the root and the market, and for a private lake the one that it reads through to.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def behind(self) -> Lake | None:
        """The lake that is read for days which this one did not build; it is never written to."""
        if self.settings.read_through is None:
            return None
        return Lake(replace(self.settings, lake=self.settings.read_through, read_through=None))

    def built(self, table: str) -> list[dt.date]:
        """Days of a table that this lake built itself, those that came out empty included."""
        log = self._rows(RUN.name, ["ds", "table", "status"], [("table", "in", [table])]).to_pylist()
        return sorted({row["ds"] for row in log if row["status"] == "published"})

    def path(self, table: str) -> Path:
        return self.settings.table_path(table)

    def stage_folder(self, table: str, attempt: str) -> Path:
        """Where an attempt stages rows; spelt like a partition, so that Spark reads published files of many at once."""
        return self.path(table) / "stage" / f"attempt={attempt}"

    def open(self, table: str, version: int | None = None) -> DeltaTable | None:
        """The Delta table, or None when it was never created."""
        try:
            return DeltaTable(str(self.path(table)), version=version)
        except TableNotFoundError:
            return None

    def version(self, table: str) -> int | None:
        opened = self.open(table)
        return None if opened is None else opened.version()

    def days(self, table: str, at: int | None = None) -> list[dt.date]:
        """Days that hold at least one row, in order; ``at`` as of `rows`."""
        return sorted(dt.date.fromisoformat(ds) for ds in self.counts(table, at=at))

    def known(self, table: str) -> bool:
        """True where the table was ever built, here or in the lake behind."""
        return self.open(table) is not None or (self.behind is not None and self.behind.known(table))

    def ensure(self, contract: Table) -> DeltaTable:
        """The table, created from its contract where it is not there yet.

        Raises
        ------
        ContractError
            The table exists with another schema: migrate it first.
        """
        opened = self.open(contract.name)
        if opened is None:
            return DeltaTable.create(
                str(self.path(contract.name)),
                schema_of(contract),
                mode="ignore",
                partition_by=list(contract.partitions),
                name=contract.name,
                description=contract.description,
                configuration=dict(_PROPERTIES),
            )
        differences = self.differences(contract, opened)
        if differences:
            raise ContractError(
                f"{contract.name} differs from its contract: {'; '.join(differences)}. Run `nightjar migrate`."
            )
        return opened

    @staticmethod
    def differences(contract: Table, opened: DeltaTable) -> list[str]:
        """What an existing table lacks, has too much or has of another type, a sentence each."""
        wanted = {f["name"]: f["type"] for f in json.loads(schema_of(contract).to_json())["fields"]}
        present = {f["name"]: f["type"] for f in json.loads(opened.schema().to_json())["fields"]}
        plain = {name: json.dumps(kind, sort_keys=True) for name, kind in wanted.items()}
        other = {name: json.dumps(kind, sort_keys=True) for name, kind in present.items()}
        return [
            *(f"column {n} is new" for n in wanted if n not in present),
            *(f"column {n} is no longer declared" for n in present if n not in wanted),
            *(
                f"column {n} is {other[n]}, declared {plain[n]}"
                for n in wanted
                if n in present and plain[n] != other[n]
            ),
        ]

    def staged_files(self, contract: Table, root: Path, version_key: str | None = None) -> list[StagedFile]:
        """The Parquet files below ``root``, with the partition that their folders spell.

        An append-only table's files get ``version_key`` as value of its version column, which is
        not known when they are written: partition values live in the log alone.
        """
        table_root = self.path(contract.name)
        found = []
        for file in sorted(root.rglob("*.parquet")):
            parts = dict(part.split("=", 1) for part in file.relative_to(root).parts[:-1])
            if contract.append and version_key is not None:
                parts[contract.replace_by] = version_key
            partition = {name: unquote(parts[name]) for name in contract.partitions}
            rows = pq.read_metadata(file).num_rows
            if rows:
                found.append(StagedFile(str(file.relative_to(table_root)), rows, file.stat().st_size, partition))
        return found

    def publish(
        self,
        contract: Table,
        files: Iterable[StagedFile],
        days: Iterable[dt.date],
        token: Token,
        metadata: Mapping[str, Any],
        slices: Collection[str] | None = None,
    ) -> int:
        """Replace ``days`` (or their ``slices`` of ``replace_by``) by staged files, in one commit.

        A day that holds these files already stays as it is, so a publish may be repeated: Delta forbids a commit
        that adds and removes one path.

        Returns
        -------
        int
            The version that holds them.

        Raises
        ------
        ContractError
            A file lies outside the days or slices to be replaced.
        PublishError
            The token is no longer the newest.
        """
        opened = self.ensure(contract)
        files, wanted = list(files), {str(day) for day in days}
        for file in files:
            if file.partition["ds"] not in wanted or (
                slices is not None and file.partition[contract.replace_by] not in slices
            ):
                raise ContractError(f"{contract.name}: the build made rows of {file.partition}, outside {days}.")
        token.verify()
        # a day's files come and go together, so those that are staged are all live or none
        staged, live = by_day(files), by_day(_files(contract, opened, wanted, slices))
        changed = {day for day in wanted if staged.get(day) != live.get(day)}
        if not changed:
            return opened.version()
        filters: list[tuple[str, str, Any]] = [("ds", "in", sorted(changed))]
        if slices is not None:
            filters.append((contract.replace_by, "in", sorted(slices)))
        opened.create_write_transaction(
            [self._add(contract, file) for file in files if file.partition["ds"] in changed],
            "overwrite",
            schema_of(contract),
            partition_by=list(contract.partitions),
            partition_filters=filters,
            commit_properties=CommitProperties(
                custom_metadata={
                    "userMetadata": json.dumps({**metadata, "token": token.value}, sort_keys=True, default=str)
                }
            ),
        )
        opened.update_incremental()
        return opened.version()

    def _add(self, contract: Table, file: StagedFile) -> AddAction:
        return AddAction(
            path=file.path,
            size=file.bytes,
            partition_values=dict(file.partition),
            modification_time=int(os.path.getmtime(self.path(contract.name) / file.path) * 1000),
            data_change=True,
            stats=json.dumps({"numRecords": file.rows}),
        )

    def version_before(self, table: str, run_id: str) -> int | None:
        """The version of a table before the first commit of a run; None where the run committed nothing to it."""
        opened = self.open(table)
        made = []
        for entry in opened.history() if opened is not None else []:
            said = json.loads(entry.get("userMetadata") or "{}")
            if said.get("run_id") == run_id:
                made.append(entry["version"])
        return min(made) - 1 if made else None

    def files_at(
        self, contract: Table, version: int, days: Iterable[dt.date], slices: Collection[str] | None = None
    ) -> list[StagedFile]:
        """The files that days (or their ``slices``) had at a version, to be published again.

        Raises
        ------
        PublishError
            A file is gone: the table was vacuumed since.
        """
        opened = self.open(contract.name, version)
        found = [] if opened is None else _files(contract, opened, {str(day) for day in days}, slices)
        for file in found:
            if not (self.path(contract.name) / file.path).exists():
                raise PublishError(
                    f"{contract.name}: {file.path} of version {version} is gone, so it cannot be restored."
                )
        return found

    def live(self, contract: Table, days: Iterable[dt.date]) -> dict[str, list[str]]:
        """The paths of the files that days hold now, by day; a day without rows has none."""
        opened = self.open(contract.name)
        return {} if opened is None else by_day(_files(contract, opened, {str(day) for day in days}))

    def sweep(self, contract: Table, attempt: str, keep: Iterable[str] = ()) -> None:
        """Delete what an attempt (any stage folder that its name begins) left behind.

        A folder in ``keep``, and one that holds a live file, stays: it was published.
        """
        opened = self.open(contract.name)
        live = set() if opened is None else {unquote(str(p)) for p in opened.file_uris()}
        kept = {self.stage_folder(contract.name, each) for each in keep}
        for root in self.stage_folder(contract.name, attempt).parent.glob(f"attempt={attempt}*"):
            if root not in kept and not any(f"{root}/" in path for path in live):
                shutil.rmtree(root)

    def append(self, contract: Table, rows: list[dict[str, Any]]) -> None:
        """Append rows to a log table (``ops.*``); small, and safe beside other appenders."""
        if rows:
            self.ensure(contract)
            write_deltalake(str(self.path(contract.name)), arrow_rows(contract, rows), mode="append")

    def rows(
        self,
        table: str,
        columns: list[str] | None = None,
        through: bool = True,
        at: int | None = None,
        **equal: Any,
    ) -> pa.Table:
        """A small table (or some of its partitions) as Arrow, read without Spark; empty if there is none.

        ``equal`` names columns and the value, or list of values, that they must have; ``ds`` as a date or text.
        A private lake adds what it did not build itself from the one behind it, unless ``through`` is False.
        ``at`` is the version that is read, the newest by default.
        """
        filters = [(name, "in", [_value(name, v) for v in _listed(value)]) for name, value in equal.items()]
        own = self._rows(table, columns, filters, at)
        if self.behind is None or not through:
            return own
        # logs are read as one; of a data table each day belongs to one of the two
        days = [] if table in LOG_NAMES else self.built(table)
        theirs = self.behind._rows(table, columns, [*filters, *([("ds", "not in", days)] if days else [])])
        if not own.column_names or not theirs.column_names:
            return own if own.column_names else theirs
        return pa.concat_tables([own, theirs], promote_options="default")

    def _rows(
        self, table: str, columns: list[str] | None, filters: list[tuple[str, str, Any]], at: int | None = None
    ) -> pa.Table:
        opened = self.open(table, at)
        if opened is None:
            return pa.table({})
        return opened.to_pyarrow_table(columns=columns, filters=filters or None)

    def counts(self, table: str, through: bool = True, at: int | None = None) -> dict[str, int]:
        """Rows of every day of a table, from the Delta log's own statistics."""
        counts: dict[str, int] = {}
        if through and self.behind is not None:
            own = {str(day) for day in self.built(table)}
            counts = {ds: n for ds, n in self.behind.counts(table).items() if ds not in own}
        opened = self.open(table, at)
        if opened is not None:
            for action in pa.table(opened.get_add_actions(flatten=True)).to_pylist():
                ds = str(action["partition.ds"])
                counts[ds] = counts.get(ds, 0) + action["num_records"]
        return counts


def by_day(files: Iterable[StagedFile]) -> dict[str, list[str]]:
    """The paths of files, in order, by day."""
    found: dict[str, list[str]] = {}
    for file in sorted(files, key=lambda file: file.path):
        found.setdefault(file.partition["ds"], []).append(file.path)
    return found


def _files(
    contract: Table, opened: DeltaTable, days: Container[str], slices: Container[str] | None = None
) -> list[StagedFile]:
    """The files of an opened table that days (or their slices) hold."""
    found = []
    for action in pa.table(opened.get_add_actions(flatten=True)).to_pylist():
        partition = {name: str(action[f"partition.{name}"]) for name in contract.partitions}
        if partition["ds"] in days and (slices is None or partition[contract.replace_by] in slices):
            found.append(StagedFile(unquote(action["path"]), action["num_records"], action["size_bytes"], partition))
    return found


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | set) else [value]


def _value(name: str, value: Any) -> Any:
    return dt.date.fromisoformat(value) if name == "ds" and isinstance(value, str) else value


def arrow_rows(contract: Table, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as Arrow in the contract's schema; a missing column is null, an undeclared one an error."""
    names = [c.name for c in contract.schema]
    for row in rows:
        if unknown := set(row) - set(names):
            raise ContractError(f"{contract.name}: row has undeclared columns {sorted(unknown)}.")
    # without comments: a table that was made when a column had other words takes the rows all the same
    schema = pa.schema([field.remove_metadata() for field in pa.schema(schema_of(contract).to_arrow())])
    return pa.Table.from_pylist([{n: row.get(n) for n in names} for row in rows], schema=schema)
