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
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs import artifacts, ops
from jobs.catalog import GATES, Catalog
from jobs.contract import (
    Artifact,
    ArtifactInput,
    DayRange,
    LandingInput,
    ModelInput,
    Node,
    Table,
    TableInput,
    ddl,
    digest,
    make_params,
)
from jobs.errors import CheckFailed, ContractError
from jobs.lake import Lake
from jobs.landing import GONE_WITHOUT, feed, incomplete, landed_rows
from jobs.landing_drift import hold_columns
from jobs.publishing import Publisher, now_ms
from jobs.reconcile import reconcile
from jobs.scan import published
from jobs.session import PACKAGES, ROOT, ship_code
from jobs.settings import Settings
from jobs.stages import Staged, Stages, conform

__all__ = ["Runner", "Staged", "code_version", "conform", "run_folder"]
log = logging.getLogger(__name__)
PARALLEL_BUILDS = 3


def code_version() -> str:
    """Hash of the project's source and data files, recorded with every run."""
    found = hashlib.sha256()
    for package in (*PACKAGES, "metrics"):
        for source in sorted(p for p in (ROOT / package).rglob("*") if p.suffix in (".py", ".yaml")):
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
    open_model
        The folder of a pinned model: ``(settings, pin) -> Path``.
    views
        Tables that builds see otherwise than they are stored: name -> function of the rows that were read.
    """

    settings: Settings
    catalog: Catalog
    spark: SparkSession
    run_id: str
    read_landing: Callable[[SparkSession, Settings, str, DayRange], DataFrame]
    open_model: Callable[[Settings, Mapping[str, Any]], Path]
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    staged: dict[str, Staged] = field(default_factory=dict)
    views: dict[str, Callable[[DataFrame], DataFrame]] = field(default_factory=dict)
    _code_shipped: bool = False

    def __post_init__(self) -> None:
        self.lake = Lake(self.settings)
        self.code = code_version()
        self.stages = Stages(self.lake, self.spark)
        self.publisher = Publisher(self.lake, self.catalog, self.stages, self.run_id, self.attempt, self.code)

    # -- a group -------------------------------------------------------------------------------

    def build_group(
        self,
        nodes: Iterable[Node],
        days: DayRange,
        publish: bool = True,
        ranges: Mapping[str, DayRange] = MappingProxyType({}),
    ) -> list[Staged]:
        """Stage the nodes in order, independent ones side by side; publish them unless a gate comes first.

        ``ranges`` are the wider ranges of nodes that are built for more than ``days`` (`jobs.healing`).

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
                    running[pool.submit(self.build, node, ranges.get(name, days))] = name
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                failed = [f for f in done if f.exception() is not None]
                if failed:
                    todo.clear()
                    for other in running:
                        other.cancel()
                    error = failed[0].exception()
                    self.publisher.log_failure(days.last, running[failed[0]], error)
                    raise error
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
        contract = node.contract
        if isinstance(contract, Artifact):
            for day in self._fit_days(contract, days):
                self.build_artifact(node, day)
            return []
        return [self.stage(node, days)]

    def _fit_days(self, contract: Artifact, days: DayRange) -> list[dt.date]:
        """The days of a range on which an artifact is fitted; see `jobs.contract.Artifact`."""
        if contract.every_days == 1:
            # one that is fitted daily serves the newest day; a range needs no older ones
            return [days.last]
        on_calendar = contract.fit_days(days)
        if not contract.fill_gap or days.first in on_calendar:
            return on_calendar
        drifts = artifacts.drift_begins(self.lake, days.first - dt.timedelta(days=1))
        age = 0 if drifts and not self._was_read(contract, days.first) else contract.every_days - 1
        fresh = artifacts.latest_artifact(self.lake, contract.name, days.first, age)
        return on_calendar if fresh else [days.first, *on_calendar]

    def _was_read(self, contract: Artifact, day: dt.date) -> bool:
        """True where a table that reads the artifact has the day: built again, it must come out the same."""
        readers = [n for n in self.catalog.nodes.values() if contract.name in (a.artifact for a in n.artifact_inputs)]
        return any(day in self.lake.days(node.name) for node in readers if isinstance(node.contract, Table))

    def _builds(self, node: Node, days: DayRange) -> list[DayRange]:
        """The parts of a range that are built at once: days, or all between two fits of an artifact that is read."""
        if node.contract.grain == "day":
            return [DayRange.day(day) for day in days]
        read = [self.catalog.node(each.artifact).contract for each in node.artifact_inputs]
        return days.split([day for artifact in read if artifact.every_days > 1 for day in artifact.fit_days(days)])

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
                pin = artifacts.pinned(self.lake, each.role, days.last)
                arguments[each.argument] = self.open_model(self.settings, pin) if pin and pin["path"] else None
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
        frames = []
        if staged is not None:
            frame = self.stages.frame(contract, staged.attempt).where(window.where())
            frames.append(frame.withColumn(contract.replace_by, F.lit("")) if contract.append else frame)
        hidden = set() if staged is None else set(staged.days)
        for lake in (self.lake, self.lake.behind):
            if lake is not None:
                versions = released(lake, window) if contract.append else None
                live = published(self.spark, lake, contract, [day for day in window if day not in hidden], versions)
                frames += [] if live is None else [live]
                if lake.behind is not None:
                    # the days that a private lake built itself hide those of the lake behind it
                    hidden |= set(lake.built(each.table))
        if not frames:
            if not each.optional and each.table != reader:
                raise ContractError(f"{reader} needs {each.table}, which was never built: run it first.")
            return self.spark.createDataFrame([], ddl(contract.schema))
        names = [c.name for c in contract.schema]
        rows = reduce(DataFrame.unionByName, [frame.select(*names) for frame in frames])
        return self.views[each.table](rows) if each.table in self.views else rows

    def table(self, name: str) -> Table:
        return ops.BY_NAME[name] if name in ops.BY_NAME else self.catalog.table(name)

    def artifact(self, each: ArtifactInput, ds: dt.date) -> Path | None:
        """Folder of the newest artifact made for ``ds`` or before, no older than its ``max_age``."""
        found = artifacts.latest_artifact(self.lake, each.artifact, ds, each.max_age)
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

    def _call(self, node: Node, days: DayRange, **more: Any) -> tuple[Any, dict[str, Any]]:
        arguments, read = self.resolve(node, days)
        params = self.params(node)
        if "market" in inspect.signature(node.build).parameters:
            more["market"] = self.settings.market
        return node.build(**arguments, days=days, params=params, **more), read

    def _new_stage(self) -> str:
        """A folder name that was never used: published files stay where they were staged."""
        return f"{self.attempt}-{uuid.uuid4().hex[:8]}"

    def stage(self, node: Node, days: DayRange) -> Staged:
        """Write a build's rows where no reader looks, and check their structure.

        Raises
        ------
        ContractError
            The build made other columns or types than its contract, or days it was not asked for.
        CheckFailed
            A key is null or not unique, a declared check of a table without a gate does not hold, or the step does
            not reconcile with its source.
        """
        contract = node.contract
        started = time.monotonic()
        attempt = self._new_stage()
        read, wrote = {}, False
        for part in self._builds(node, days):
            if not self._nothing_to_read(node, part):
                frame, read = self._call(node, part)
                self.stages.write(contract, frame, attempt)
                wrote = True
        checks = () if contract.group in GATES else contract.checks
        rows = self.stages.check(contract, days, attempt, checks) if wrote else {str(d): 0 for d in days}
        found = None
        if contract.rejects:
            found = reconcile(self.lake, contract, self.stages.folder(contract, attempt), days)
        self._count_landed(node, rows)
        # columns say more of a day that is not complete and brought rows all the same
        remarks = self._gone_without(node, days) | self._hold_columns(node, attempt, days)
        seconds = round(time.monotonic() - started, 3)
        params = digest(self.params(node))
        staged = Staged(contract.name, days, attempt, seconds, rows, read, params, found, remarks)
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
            counts = self.lake.counts(each.table) | staged
        elif not self.lake.known(each.table):
            # never built: reading it raises the error that says so, unless it may be missing
            return 0 if each.optional else 1
        else:
            counts = self.lake.counts(each.table)
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

    def _hold_columns(self, node: Node, attempt: str, days: DayRange) -> dict[str, str]:
        """Remarks by day on the columns that were delivered; one that is gone or retyped is an error."""
        folder = self.stages.folder(node.contract, attempt)
        return {
            day: remark
            for each in node.landing_inputs
            for day, remark in hold_columns(
                self.lake, node.contract, each.feed, folder, days, self.params(node).without
            ).items()
        }

    def _gone_without(self, node: Node, days: DayRange) -> dict[str, str]:
        """A remark on each day for which a feed in use has not landed."""
        where = self.settings.landing, self.settings.market.name
        return {
            str(day): GONE_WITHOUT
            for each in node.landing_inputs
            for day in days
            if incomplete(*where, day, [feed(each.feed)])
        }

    # -- publish -------------------------------------------------------------------------------

    def publish(self, made: Iterable[Staged], version_key: str | None = None) -> dict[str, int]:
        """Publish staged tables, each in one commit; returns the Delta version that each got.

        ``version_key`` is the ``replace_by`` value under which append-only tables get their rows.
        """
        made = list(made)
        versions = self.publisher.publish(made, version_key)
        for staged in made:
            self.staged.pop(staged.table, None)
        return versions

    # -- artifacts -----------------------------------------------------------------------------

    def build_artifact(self, node: Node, ds: dt.date) -> Path:
        """Fit an artifact as of a day, move it to a folder named by its content, record it."""
        started = time.monotonic()
        root = self.settings.artifacts / node.name
        work = root / f".{self.attempt}"
        work.mkdir(parents=True, exist_ok=True)
        facts, read = self._call(node, DayRange.day(ds), out=work)
        target, checksum = artifacts.keep(work, root, ds)
        seconds = round(time.monotonic() - started, 3)
        row = {
            "ds": ds,
            "artifact": node.name,
            "path": str(target),
            "checksum": checksum,
            "facts": json.dumps(facts, sort_keys=True),
            "inputs": json.dumps(read, sort_keys=True),
            "run_id": self.run_id,
            "at_ms": now_ms(),
        }
        self.lake.append(ops.ARTIFACT, [row])
        if node.contract.log is not None:
            self._log_facts(ops.BY_NAME[node.contract.log], facts, row)
        self.publisher.log_artifact(ds, node.name, seconds, read, digest(self.params(node)))
        log.info("%s %s: %s in %.1f s", node.name, ds, facts, seconds)
        return target

    def _log_facts(self, table: Table, facts: dict[str, Any], row: dict[str, Any]) -> None:
        known = {k: json.dumps(v, sort_keys=True) if isinstance(v, dict) else v for k, v in (facts | row).items()}
        self.lake.append(table, [{c.name: known.get(c.name) for c in table.schema}])

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
        log = self.lake.rows(ops.RUN.name, ["table", "attempt", "status"], through=False).to_pylist()
        for node in self.catalog.nodes.values():
            if isinstance(node.contract, Table):
                kept = [r["attempt"] for r in log if r["table"] == node.name and r["status"] == "published"]
                self.lake.sweep(node.contract, attempt, kept)


def released(lake: Lake, window: DayRange) -> list[str]:
    """Ids of the newest release of every day in the window."""
    newest: dict[dt.date, tuple[int, str]] = {}
    for row in lake.rows(ops.RELEASE.name, ["ds", "release_id", "sequence", "kind"], through=False).to_pylist():
        if row["kind"] != "rollback":
            newest[row["ds"]] = max(newest.get(row["ds"], (0, "")), (row["sequence"], row["release_id"]))
    return [release for ds, (_, release) in sorted(newest.items()) if window.first <= ds <= window.last]


def run_folder(settings: Settings, run_id: str) -> Path:
    """Where the processes of a run leave each other what they need to know."""
    return settings.staging / "".join(c if c.isalnum() or c in "-_." else "_" for c in run_id)
