"""Resolves inputs, calls ``build``, checks what came out, and publishes it.

A group of nodes is built in two steps. *Stage*: each build's rows are written where no reader looks;
later nodes of the same run read them before the live table. *Publish*: each table's staged files
replace its days in one commit, under the table's lock. A group with a gate has its declared checks
between the two, in a process of their own (``quality.gate``), so a stage is described by a file.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import inspect
import json
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs import ops
from jobs.catalog import Catalog
from jobs.contract import (
    Artifact,
    ArtifactInput,
    Column,
    DayRange,
    LandingInput,
    ModelInput,
    Node,
    Table,
    TableInput,
    digest,
    make_params,
)
from jobs.errors import CheckFailed, ContractError
from jobs.lake import Lake, StagedFile
from jobs.landing import landed_rows
from jobs.locks import exclusive
from jobs.reconcile import Reconciliation, reconcile, row_counts
from jobs.session import PACKAGES, ROOT, ship_code
from jobs.settings import Settings

log = logging.getLogger(__name__)
REJECT, RAW, FILE = "_reject", "_raw", "_file"
COUNTED_ONLY = ("duplicate",)
PARALLEL_BUILDS = 3


@dataclass(frozen=True)
class Staged:
    """What an attempt built of one table and has not published yet."""

    table: str
    days: DayRange
    attempt: str
    seconds: float
    rows: dict[str, int]
    inputs: dict[str, Any]
    params_hash: str
    reconciliation: Reconciliation | None = None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "days": [str(self.days.first), str(self.days.last)]}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Staged:
        first, last = (dt.date.fromisoformat(d) for d in plain["days"])
        found = plain["reconciliation"]
        return cls(
            **{
                **plain,
                "days": DayRange(first, last),
                "reconciliation": None if found is None else Reconciliation(**found),
            }
        )


def code_version() -> str:
    """Hash of the project's Python source, recorded with every run."""
    found = hashlib.sha256()
    for package in PACKAGES:
        for source in sorted((ROOT / package).rglob("*.py")):
            found.update(source.read_bytes())
    return found.hexdigest()[:16]


@dataclass
class Runner:
    """Builds nodes for days, for one attempt of one run.

    Parameters
    ----------
    settings, catalog, spark
        Where, what, with which engine.
    run_id
        The run (an Airflow run id or a command's id); its staging is shared by its tasks.
    read_landing
        Reads a feed for days: ``(spark, settings, feed, days) -> DataFrame``.
    """

    settings: Settings
    catalog: Catalog
    spark: SparkSession
    run_id: str
    read_landing: Callable[[SparkSession, Settings, str, DayRange], DataFrame]
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    staged: dict[str, Staged] = field(default_factory=dict)
    _code_shipped: bool = False

    def __post_init__(self) -> None:
        self.lake = Lake(self.settings)
        self.code = code_version()

    # -- a group -------------------------------------------------------------------------------

    def build_group(
        self, nodes: Iterable[Node], days: DayRange, publish: bool = True, healed: DayRange | None = None
    ) -> list[Staged]:
        """Stage the nodes in order, independent ones side by side; publish them unless a gate comes first.

        ``healed`` is the wider range that nodes other than snapshots are rebuilt for, so that late rows
        reach their own day.

        Raises
        ------
        NightjarError
            The first build or structural check that failed; nothing of the group is published then.
        """
        todo = {node.name: node for node in nodes}
        if any(isinstance(node.contract, Table) and node.contract.workers for node in todo.values()):
            self.ship_code()
        made: list[Staged] = []
        running: dict[Future[list[Staged]], str] = {}
        with ThreadPoolExecutor(PARALLEL_BUILDS) as pool:
            while todo or running:
                waiting = set(todo) | set(running.values())
                for name in [n for n, node in todo.items() if not waiting & set(node.upstream)]:
                    node = todo.pop(name)
                    snapshot = isinstance(node.contract, Table) and node.contract.rejects == "state"
                    running[pool.submit(self.build, node, days if snapshot else healed or days)] = name
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                failed = [f for f in done if f.exception() is not None]
                if failed:
                    todo.clear()
                    for other in running:
                        other.cancel()
                    name = running[failed[0]]
                    self._log_failure(name, days, failed[0].exception())
                    raise failed[0].exception()
                for future in done:
                    running.pop(future)
                    made += future.result()
        if publish:
            self.publish(made)
        return made

    def ship_code(self) -> None:
        if not self._code_shipped:
            ship_code(self.spark)
            self._code_shipped = True

    def build(self, node: Node, days: DayRange) -> list[Staged]:
        """Build one node: an artifact (recorded at once) or a table (staged)."""
        if isinstance(node.contract, Artifact):
            self.build_artifact(node, days)
            return []
        ranges = [days] if node.contract.grain == "range" else [DayRange.day(d) for d in days]
        if len(ranges) == 1:
            return [self.stage(node, ranges[0])]
        return [self._stage_days(node, days, ranges)]

    def _stage_days(self, node: Node, days: DayRange, ranges: list[DayRange]) -> Staged:
        """A node that builds one day at a time, over a range: the days share an attempt folder."""
        folder = self._new_stage()
        parts = [self.stage(node, day, folder) for day in ranges]
        merged = Staged(
            node.name,
            days,
            folder,
            sum(p.seconds for p in parts),
            {k: v for p in parts for k, v in p.rows.items()},
            parts[-1].inputs,
            parts[-1].params_hash,
        )
        self.staged[node.name] = merged
        return merged

    # -- inputs --------------------------------------------------------------------------------

    def resolve(self, node: Node, days: DayRange) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arguments of ``build`` by name, and what was read: versions and paths."""
        arguments: dict[str, Any] = {}
        read: dict[str, Any] = {}
        for each in node.contract.inputs:
            if isinstance(each, LandingInput):
                arguments[each.argument] = self.read_landing(self.spark, self.settings, each.feed, days)
                read[f"landing.{each.feed}"] = str(days)
            elif isinstance(each, ModelInput):
                pin = pinned(self.lake, each.role, days.last)
                arguments[each.argument] = Path(pin["path"]) if pin and pin["path"] else None
                read[f"model.{each.role}"] = f"{pin['model']}/{pin['version']}" if pin else None
            elif isinstance(each, ArtifactInput):
                found = self.artifact(each, days.last)
                arguments[each.argument] = found
                read[each.artifact] = None if found is None else str(found)
            else:
                arguments[each.argument] = self.read(each, days, reader=node.name)
                read[each.table] = self.lake.version(each.table)
        return arguments, read

    def read(self, each: TableInput, days: DayRange, reader: str) -> DataFrame:
        """An input's rows in its window: this run's staged days first, the live table's for the others.

        Raises
        ------
        ContractError
            The table was never built, or no longer has the declared columns.
        """
        contract = self.table(each.table)
        window = each.window(days)
        staged = self.staged.get(each.table)
        opened = self.lake.open(each.table)
        if opened is not None and (differences := self.lake.differences(contract, opened)):
            raise ContractError(f"{reader} cannot read {each.table}: {'; '.join(differences)}.")
        frames = []
        if opened is not None:
            live = self.spark.read.format("delta").load(str(self.lake.path(each.table))).where(window.where())
            if contract.append:
                live = live.where(F.col(contract.replace_by).isin(released(self.lake, window)))
            frames.append(live if staged is None else live.where(f"NOT ({staged.days.where()})"))
        if staged is not None:
            frame = self.staged_frame(contract, staged).where(window.where())
            frames.append(frame.withColumn(contract.replace_by, F.lit("")) if contract.append else frame)
        if not frames:
            if not each.optional and each.table != reader:
                raise ContractError(f"{reader} needs {each.table}, which was never built: run it first.")
            schema = ", ".join(f"{c.name} {c.type}" for c in contract.schema)
            return self.spark.createDataFrame([], schema)
        names = [c.name for c in contract.schema]
        frames = [frame.select(*names) for frame in frames]
        return frames[0] if len(frames) == 1 else frames[0].unionByName(frames[1])

    def table(self, name: str) -> Table:
        return ops.BY_NAME[name] if name in ops.BY_NAME else self.catalog.table(name)

    def staged_frame(self, contract: Table, staged: Staged) -> DataFrame:
        """The rows that an attempt staged for publishing."""
        schema = ", ".join(f"{c.name} {c.type}" for c in stage_schema(contract))
        folders = [str(p) for p in self._kept_folders(contract, staged.attempt)]
        if not any(True for f in folders for _ in Path(f).rglob("*.parquet")):
            return self.spark.createDataFrame([], schema)
        return self.spark.read.schema(schema).option("basePath", folders[0]).parquet(*folders)

    def _stage_folder(self, contract: Table, attempt: str) -> Path:
        return self.lake.path(contract.name) / "stage" / attempt

    def _kept_folders(self, contract: Table, attempt: str) -> list[Path]:
        folder = self._stage_folder(contract, attempt)
        return [folder / "kept=true"] if contract.rejects else [folder]

    def artifact(self, each: ArtifactInput, ds: dt.date) -> Path | None:
        """Folder of the newest artifact made for ``ds`` or before, no older than its ``max_age``."""
        found = latest_artifact(self.lake, each.artifact, ds, each.max_age)
        if found is None and not each.optional:
            raise ContractError(
                f"There is no artifact {each.artifact} of the {each.max_age} days up to {ds}: "
                f"run `nightjar run {each.artifact} --ds {ds}`."
            )
        return found

    # -- stage ---------------------------------------------------------------------------------

    def params(self, node: Node) -> Any:
        values = self.settings.market.params.get(node.name, {})
        return make_params(node.params, dict(values), f"market {self.settings.market.name}, params of {node.name}")

    def _call(self, node: Node, days: DayRange, **more: Any) -> tuple[Any, dict[str, Any], str]:
        arguments, read = self.resolve(node, days)
        params = self.params(node)
        if "market" in inspect.signature(node.build).parameters:
            more["market"] = self.settings.market
        return node.build(**arguments, days=days, params=params, **more), read, digest(params)

    def _new_stage(self) -> str:
        """A folder name that was never used: published files stay where they were staged."""
        return f"{self.attempt}-{uuid.uuid4().hex[:8]}"

    def stage(self, node: Node, days: DayRange, attempt: str | None = None) -> Staged:
        """Write a build's rows where no reader looks, and check their structure.

        Raises
        ------
        ContractError
            The build made other columns or types than its contract, or days it was not asked for.
        CheckFailed
            A key is null or not unique, or the step does not reconcile with its source.
        """
        contract = node.contract
        started = time.monotonic()
        attempt = attempt or self._new_stage()
        folder = self._stage_folder(contract, attempt)
        if self._nothing_to_read(node, days):
            rows, read, params_hash = {str(d): 0 for d in days}, {}, digest(self.params(node))
        else:
            frame, read, params_hash = self._call(node, days)
            partitions = (["kept"] if contract.rejects else []) + stage_partitions(contract)
            writer = conform(contract, frame).hint("rebalance", *[F.col(p) for p in partitions])
            writer.write.mode("append").partitionBy(*partitions).parquet(str(folder))
            rows = self._check_structure(contract, days, attempt)
        found = None
        if contract.rejects:
            found = reconcile(self.spark, self.lake, contract, str(folder), days)
        self._count_landed(node, rows)
        staged = Staged(
            contract.name,
            days,
            attempt,
            round(time.monotonic() - started, 3),
            rows,
            read,
            params_hash,
            reconciliation=found,
        )
        self.staged[contract.name] = staged
        log.info("%s %s: %s rows staged in %.1f s", contract.name, days, sum(rows.values()), staged.seconds)
        return staged

    def _nothing_to_read(self, node: Node, days: DayRange) -> bool:
        """True when every input table has no row in its window: whatever the build, it makes no row."""
        if not node.table_inputs or node.landing_inputs:
            return False
        return not any(self._rows_within(each, each.window(days)) for each in node.table_inputs)

    def _rows_within(self, each: TableInput, window: DayRange) -> int:
        if each.table in self.staged:
            staged = self.staged[each.table].rows
            counts = row_counts(self.lake, each.table) | staged
        elif self.lake.open(each.table) is None:
            # never built: reading it raises the error that says so, unless it may be missing
            return 0 if each.optional else 1
        else:
            counts = row_counts(self.lake, each.table)
        return sum(n for ds, n in counts.items() if window.first <= dt.date.fromisoformat(ds) <= window.last)

    def _count_landed(self, node: Node, rows: dict[str, int]) -> None:
        """Hold what was read of a feed against its manifests, a day at a time."""
        for each in node.landing_inputs:
            for ds, read in rows.items():
                promised = landed_rows(
                    self.settings.landing, self.settings.market.name, each.feed, dt.date.fromisoformat(ds)
                )
                if read != promised:
                    raise CheckFailed(
                        f"{node.name} {ds}: the manifests of {each.feed} promise {promised} rows, {read} were read."
                    )

    def _check_structure(self, contract: Table, days: DayRange, attempt: str) -> dict[str, int]:
        """Rows per day, after one aggregation that proves keys, NOT NULL columns and days."""
        probe = Staged(contract.name, days, attempt, 0.0, {}, {}, "")
        frame = self.staged_frame(contract, probe)
        required = [c.name for c in stage_schema(contract) if not c.nullable and c.name != "ds"]
        measures = [F.count(F.lit(1)).alias("rows")]
        measures += [F.count_if(F.col(name).isNull()).alias(f"null_{name}") for name in required]
        if keys := contract.keys:
            identity = F.struct(*keys, *stage_partitions(contract)[1:])
            measures.append(F.count_distinct(identity).alias("distinct"))
        found = [r.asDict() for r in frame.groupBy("ds").agg(*measures).collect()]
        for row in found:
            if row["ds"] not in set(days):
                raise ContractError(f"{contract.name}: the build made rows of {row['ds']}, asked for {days}.")
            for name in required:
                if row[f"null_{name}"]:
                    raise CheckFailed(f"{contract.name} {row['ds']}: {row[f'null_{name}']} rows have no {name}.")
            if keys and row["distinct"] != row["rows"]:
                raise CheckFailed(
                    f"{contract.name} {row['ds']}: {row['rows'] - row['distinct']} rows repeat a key "
                    f"({', '.join(keys)})."
                )
        return {str(d): 0 for d in days} | {str(row["ds"]): row["rows"] for row in found}

    # -- publish -------------------------------------------------------------------------------

    def publish(self, made: Iterable[Staged], version_key: str | None = None) -> dict[str, int]:
        """Publish staged tables, each in one commit, and log a row per table and day.

        ``version_key`` is the ``replace_by`` value under which append-only tables get their rows.

        Returns
        -------
        dict
            The Delta version that each table got.
        """
        rows: list[dict[str, Any]] = []
        versions: dict[str, int] = {}
        for staged in made:
            contract = self.catalog.table(staged.table)
            self._publish_rejects(contract, staged)
            files = [
                f
                for folder in self._kept_folders(contract, staged.attempt)
                if folder.exists()
                for f in self.lake.staged_files(contract, folder, version_key)
            ]
            with exclusive(self.settings.locks, contract.name) as token:
                version = self.lake.publish(
                    contract,
                    files,
                    staged.days,
                    token,
                    {"run_id": self.run_id, "attempt": staged.attempt},
                    slices=[version_key] if contract.append else None,
                )
            versions[contract.name] = version
            rows += self._log_rows(staged, files, version)
            self.staged.pop(staged.table, None)
        self.lake.append(ops.RUN, rows)
        return versions

    def _publish_rejects(self, contract: Table, staged: Staged) -> None:
        """Replace the quarantined rows of the rebuilt days by what this build refused."""
        if not contract.rejects:
            return
        folder = self._stage_folder(contract, staged.attempt) / "kept=false"
        target = self.lake.path(ops.QUARANTINE.name) / "stage" / f"{staged.attempt}-{contract.name}"
        refused = staged.reconciliation is not None and staged.reconciliation.refused
        if refused:
            frame = self.spark.read.parquet(str(folder)).where(~F.col(REJECT).isin(*COUNTED_ONLY))
            frame.select(
                F.col("ds").cast("date").alias("ds"),
                F.lit(contract.name).alias("source"),
                F.col(REJECT).alias("rule"),
                "arrival_ds",
                F.col(FILE).alias("file"),
                F.col(RAW).alias("row"),
                F.lit(self.run_id).alias("run_id"),
            ).coalesce(1).write.mode("overwrite").partitionBy("ds", "source").parquet(str(target))
        files: list[StagedFile] = self.lake.staged_files(ops.QUARANTINE, target) if target.exists() else []
        with exclusive(self.settings.locks, ops.QUARANTINE.name) as token:
            self.lake.publish(
                ops.QUARANTINE,
                files,
                staged.days,
                token,
                {"run_id": self.run_id},
                slices=[contract.name],
            )

    def _log_rows(self, staged: Staged, files: list[StagedFile], version: int) -> list[dict[str, Any]]:
        found = staged.reconciliation
        rows = []
        for day in staged.days:
            of_day = [f for f in files if f.partition["ds"] == str(day)]
            counts = found.of_day(str(day)) if found else {}
            rows.append(
                {
                    "ds": day,
                    "run_id": self.run_id,
                    "attempt": staged.attempt,
                    "table": staged.table,
                    "status": "published",
                    "rows": sum(f.rows for f in of_day),
                    "quarantined": counts.get("quarantined"),
                    "duplicates": counts.get("duplicates"),
                    "late": counts.get("late"),
                    "reconciliation": json.dumps(found.by_day.get(str(day), {})) if found else None,
                    "seconds": staged.seconds,
                    "files": len(of_day),
                    "bytes": sum(f.bytes for f in of_day),
                    "version": version,
                    "inputs": json.dumps(staged.inputs, sort_keys=True),
                    "params_hash": staged.params_hash,
                    "code_version": self.code,
                    "at_ms": now_ms(),
                }
            )
        return rows

    def _log_failure(self, name: str, days: DayRange, error: BaseException | None) -> None:
        self.lake.append(
            ops.RUN,
            [
                {
                    "ds": days.last,
                    "run_id": self.run_id,
                    "attempt": self.attempt,
                    "table": name,
                    "status": "failed",
                    "message": short(error),
                    "code_version": self.code,
                    "at_ms": now_ms(),
                }
            ],
        )

    # -- artifacts -----------------------------------------------------------------------------

    def build_artifact(self, node: Node, days: DayRange) -> Path:
        """Fit an artifact as of the last day, move it to a folder named by its content, record it."""
        ds = days.last
        started = time.monotonic()
        root = self.settings.artifacts / node.name
        work = root / f".{self.attempt}"
        work.mkdir(parents=True, exist_ok=True)
        facts, read, params_hash = self._call(node, DayRange.day(ds), out=work)
        checksum = folder_checksum(work)
        target = root / f"{ds}-{checksum[:12]}"
        if target.exists():
            shutil.rmtree(work)
        else:
            work.rename(target)
        seconds = round(time.monotonic() - started, 3)
        self.lake.append(
            ops.ARTIFACT,
            [
                {
                    "ds": ds,
                    "artifact": node.name,
                    "path": str(target),
                    "checksum": checksum,
                    "facts": json.dumps(facts, sort_keys=True),
                    "inputs": json.dumps(read, sort_keys=True),
                    "run_id": self.run_id,
                    "at_ms": now_ms(),
                }
            ],
        )
        self.lake.append(
            ops.RUN,
            [
                {
                    "ds": ds,
                    "run_id": self.run_id,
                    "attempt": self.attempt,
                    "table": node.name,
                    "status": "published",
                    "seconds": seconds,
                    "inputs": json.dumps(read, sort_keys=True),
                    "params_hash": params_hash,
                    "code_version": self.code,
                    "at_ms": now_ms(),
                }
            ],
        )
        log.info("%s %s: %s in %.1f s", node.name, ds, facts, seconds)
        return target

    # -- attempts ------------------------------------------------------------------------------

    def stage_file(self, group: str) -> Path:
        return run_folder(self.settings, self.run_id) / f"{group}.json"

    def save_stage(self, group: str, made: list[Staged]) -> None:
        """Leave the group's stage for its gate, which is another process."""
        path = self.stage_file(group)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps([s.to_json() for s in made], indent=1))
        partial.replace(path)

    def load_stage(self, group: str) -> list[Staged]:
        path = self.stage_file(group)
        if not path.exists():
            raise ContractError(f"Run {self.run_id} staged nothing of group {group}: run that step first.")
        made = [Staged.from_json(plain) for plain in json.loads(path.read_text())]
        self.staged |= {s.table: s for s in made}
        return made

    def sweep(self, attempt: str) -> None:
        """Delete what a dead attempt staged and did not publish."""
        log = self.lake.rows(ops.RUN.name, ["table", "attempt", "status"]).to_pylist()
        for node in self.catalog.nodes.values():
            if isinstance(node.contract, Table):
                kept = [r["attempt"] for r in log if r["table"] == node.name and r["status"] == "published"]
                self.lake.sweep(node.contract, attempt, kept)


def stage_schema(contract: Table) -> list[Column]:
    """The columns that a build makes: all but the version key of an append-only table."""
    return [c for c in contract.schema if not (contract.append and c.name == contract.replace_by)]


def stage_partitions(contract: Table) -> list[str]:
    return ["ds"] if contract.append else list(contract.partitions)


def released(lake: Lake, window: DayRange) -> list[str]:
    """Ids of the newest release of every day in the window."""
    newest: dict[dt.date, tuple[int, str]] = {}
    for row in lake.rows(ops.RELEASE.name, ["ds", "release_id", "sequence", "kind"]).to_pylist():
        if row["kind"] != "rollback":
            newest[row["ds"]] = max(newest.get(row["ds"], (0, "")), (row["sequence"], row["release_id"]))
    return [release for ds, (_, release) in sorted(newest.items()) if window.first <= ds <= window.last]


def conform(contract: Table, frame: DataFrame) -> DataFrame:
    """Select the declared columns in order, rounded as declared; a row-preserving step's marks too.

    Raises
    ------
    ContractError
        A column is missing or has another type than declared.
    """
    types = {f.name: f.dataType.simpleString() for f in frame.schema.fields}
    wrong = [
        f"{c.name} is {types.get(c.name, 'missing')}, declared {c.type}"
        for c in stage_schema(contract)
        if types.get(c.name) != c.type.replace(" ", "")
    ]
    if wrong:
        raise ContractError(f"{contract.name}: the build does not keep its contract: {'; '.join(wrong)}.")
    selected = [_rounded(c) for c in stage_schema(contract)]
    if contract.rejects:
        selected += [F.col(REJECT).isNull().alias("kept"), F.col(REJECT), F.col(RAW), F.col(FILE)]
    return frame.select(*selected)


def _rounded(column: Column) -> Any:
    if column.digits is None:
        return F.col(column.name)
    return F.round(column.name, column.digits).cast(column.type).alias(column.name)


def latest_artifact(lake: Lake, name: str, ds: dt.date, max_age: int = 30) -> Path | None:
    """Folder of the newest artifact ``name`` made for a day in ``[ds - max_age, ds]``, or None."""
    rows = lake.rows(ops.ARTIFACT.name).to_pylist()
    oldest = ds - dt.timedelta(days=max_age)
    fit = [r for r in rows if r["artifact"] == name and oldest <= r["ds"] <= ds]
    if not fit:
        return None
    return Path(max(fit, key=lambda r: (r["ds"], r["at_ms"]))["path"])


def pinned(lake: Lake, role: str, ds: dt.date) -> dict[str, Any] | None:
    """The newest pin of a role for exactly ``ds``, or None."""
    rows = [r for r in lake.rows(ops.MODEL_PIN.name).to_pylist() if r["role"] == role and r["ds"] == ds]
    return max(rows, key=lambda r: r["at_ms"]) if rows else None


def folder_checksum(folder: Path) -> str:
    """SHA-256 over the names and bytes of a folder's files."""
    found = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        found.update(str(file.relative_to(folder)).encode())
        found.update(file.read_bytes())
    return found.hexdigest()


def short(error: BaseException | None) -> str:
    """An error's first lines: Spark's carry a page of JVM stack."""
    text = str(error).split("JVM stacktrace")[0].strip()
    return f"{type(error).__name__}: {text[:1500]}"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def run_folder(settings: Settings, run_id: str) -> Path:
    """Where the processes of a run leave each other what they need to know."""
    return settings.staging / "".join(c if c.isalnum() or c in "-_." else "_" for c in run_id)
