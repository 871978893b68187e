"""Publishing: one commit a table replaces its days by staged files; each table and day gets a row in ``ops.run``."""

from __future__ import annotations

import datetime as dt
import json
import resource
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from pyspark.sql import functions as F

from jobs import ops
from jobs.catalog import Catalog
from jobs.contract import DayRange, Table
from jobs.errors import PublishError
from jobs.lake import Lake, StagedFile, by_day
from jobs.locks import Token, exclusive
from jobs.stages import FILE, RAW, REJECT, Staged, Stages

COUNTED_ONLY = ("duplicate",)
"""Refusals that are counted and not kept: the row itself is there, from its first delivery."""


@dataclass(frozen=True)
class Publisher:
    """Publishes what one attempt of a run staged."""

    lake: Lake
    catalog: Catalog
    stages: Stages
    run_id: str
    attempt: str
    code_version: str

    def publish(self, made: Iterable[Staged], version_key: str | None = None) -> dict[str, int]:
        """Publish staged tables and log a row per table and day.

        ``version_key`` is the ``replace_by`` value under which append-only tables get their rows.

        Returns
        -------
        dict
            The Delta version that each table got.

        Raises
        ------
        PublishError
            Another run has published a day that a stage was to replace as it was; nothing is published then.
        """
        made = [(self.catalog.table(staged.table), staged) for staged in made]
        rows: list[dict[str, Any]] = []
        versions: dict[str, int] = {}
        with ExitStack() as held:
            # in one order, so that no two runs wait for each other
            names = sorted({contract.name for contract, _ in made})
            tokens = {name: held.enter_context(exclusive(self.lake.settings.locks, name)) for name in names}
            for contract, staged in made:
                self._refuse_published_since(contract, staged)
            for contract, staged in made:
                if contract.rejects:
                    self._publish_refused(contract, staged)
                files = self.lake.staged_files(contract, self.stages.kept(contract, staged.attempt), version_key)
                slices = [version_key] if contract.append else None
                versions[contract.name] = self._commit(contract, files, staged.days, tokens[contract.name], slices)
                rows += self._log_rows(staged, files, versions[contract.name])
        self.lake.append(ops.RUN, rows)
        return versions

    def _refuse_published_since(self, contract: Table, staged: Staged) -> None:
        """Hold the days against those that the stage is to replace; a day that holds the stage itself is done."""
        if staged.replaces is None:
            return
        live = self.lake.live(contract, staged.days)
        own = by_day(self.lake.staged_files(contract, self.stages.kept(contract, staged.attempt)))
        for day in map(str, staged.days):
            if live.get(day, []) not in (staged.replaces.get(day, []), own.get(day, [])):
                raise PublishError(
                    f"{contract.name} of {day} was published by another run since this one began to build it: "
                    "nothing was published. Stage it again."
                )

    def _commit(
        self, contract: Table, files: list[StagedFile], days: DayRange, token: Token, slices: list[str] | None
    ) -> int:
        said = {"run_id": self.run_id, "attempt": self.attempt}
        return self.lake.publish(contract, files, days, token, said, slices)

    def _publish_refused(self, contract: Table, staged: Staged) -> None:
        """Replace the quarantined rows of the rebuilt days by what this build refused."""
        target = self.lake.stage_folder(ops.QUARANTINE.name, f"{staged.attempt}-{contract.name}")
        # a publish that is repeated finds them written, and they may be live
        written = (target / "_SUCCESS").exists()
        if staged.reconciliation is not None and staged.reconciliation.refused and not written:
            refused = self.stages.refused(contract, staged.attempt).where(~F.col(REJECT).isin(*COUNTED_ONLY))
            refused.select(
                F.col("ds").cast("date").alias("ds"),
                F.lit(contract.name).alias("source"),
                F.col(REJECT).alias("rule"),
                "arrival_ds",
                F.col(FILE).alias("file"),
                F.col(RAW).alias("row"),
                F.lit(self.run_id).alias("run_id"),
            ).coalesce(1).write.mode("overwrite").partitionBy("ds", "source").parquet(str(target))
        files = self.lake.staged_files(ops.QUARANTINE, target)
        with exclusive(self.lake.settings.locks, ops.QUARANTINE.name) as token:
            self._commit(ops.QUARANTINE, files, staged.days, token, [contract.name])

    def _log_rows(self, staged: Staged, files: list[StagedFile], version: int) -> list[dict[str, Any]]:
        found = staged.reconciliation
        rows = []
        for day in staged.days:
            of_day = [f for f in files if f.partition["ds"] == str(day)]
            counts = found.of_day(str(day)) if found else {}
            rows.append(
                self._row(
                    day,
                    staged.table,
                    "published",
                    rows=sum(f.rows for f in of_day),
                    quarantined=counts.get("quarantined"),
                    duplicates=counts.get("duplicates"),
                    late=counts.get("late"),
                    reconciliation=json.dumps(found.by_day.get(str(day), {})) if found else None,
                    seconds=staged.seconds,
                    files=len(of_day),
                    bytes=sum(f.bytes for f in of_day),
                    version=version,
                    inputs=json.dumps(staged.inputs, sort_keys=True),
                    params_hash=staged.params_hash,
                    message=staged.remarks.get(str(day)),
                )
            )
        return rows

    def log_artifact(self, ds: dt.date, name: str, seconds: float, inputs: dict[str, Any], params_hash: str) -> None:
        """Record the build of an artifact."""
        inputs_json = json.dumps(inputs, sort_keys=True)
        row = self._row(ds, name, "published", seconds=seconds, inputs=inputs_json, params_hash=params_hash)
        self.lake.append(ops.RUN, [row])

    def log_failure(self, ds: dt.date, name: str, error: BaseException) -> None:
        """Record that a build failed, and why."""
        self.lake.append(ops.RUN, [self._row(ds, name, "failed", message=short(error))])

    def _row(self, ds: dt.date, table: str, status: str, **more: Any) -> dict[str, Any]:
        return {
            "ds": ds,
            "run_id": self.run_id,
            "attempt": self.attempt,
            "table": table,
            "status": status,
            "code_version": self.code_version,
            "config_hash": self.lake.settings.market.hash,
            "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "at_ms": now_ms(),
            **more,
        }


def short(error: BaseException) -> str:
    """An error's first lines: Spark's carry a page of JVM stack."""
    text = str(error).split("JVM stacktrace")[0].strip()
    return f"{type(error).__name__}: {text[:1500]}"


def now_ms() -> int:
    return time.time_ns() // 1_000_000
