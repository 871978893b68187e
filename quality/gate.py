"""The gate between staging and publishing: every staged table against its contract, in Great Expectations.

One suite a table, made from the declared checks and the keys. Each rule that is not a plain column rule
(repeated keys, a forbidden condition) becomes a column of the judged frame, so that Great Expectations
folds all rules of a table into one aggregation. The library takes seconds to import, so it is imported
here only when a gate runs, and one process judges all tables of a group.

The verdict is derived result by result, because the library's own ``success`` is false for a failed
warning and true for a suite without expectations. What could not be judged counts as failed.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import ADDS_UP, FAIL, KNOWN_IN, Check, DayRange, Table, TableInput
from jobs.errors import CheckFailed, ContractError
from jobs.ops import DATA_QUALITY
from jobs.runner import released
from jobs.waivers import NO_ANSWER, waived, was_answered
from quality import anomalies
from quality.data_docs import Page, publish_docs

if TYPE_CHECKING:
    from jobs.runner import Runner
    from jobs.stages import Staged

log = logging.getLogger(__name__)
PARALLEL_TABLES = 3
EXAMPLES = 3
UNIQUE, NO_EXPECTATIONS = "unique", "no_expectations"
REPEATS = "rows_of_this_key"
"""Column of the judged frame: how many rows have the row's key."""


@dataclass
class Judged:
    """One staged table with its suites: of all its days, of the night's day (numbers of rows), and beside other tables.

    ``beside`` has numbers of checks with the frame that holds the table against another one.
    """

    contract: Table
    days: DayRange
    ds: dt.date
    frame: DataFrame
    checks: list[Check]
    beside: list[tuple[list[int], DataFrame]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.contract.name


def run_gate(runner: Runner, staged: Sequence[Staged], group: str, ds: dt.date) -> list[dict[str, Any]]:
    """Judge what a group staged; record every check, write the Data Docs, stop on a failed FAIL check.

    Parameters
    ----------
    runner
        Of the run that staged; gives frames, contracts, lake and settings.
    staged
        What the group staged (`Runner.load_stage`).
    group
        The gate's name.
    ds
        The day of the night.

    Returns
    -------
    list of dict
        The rows appended to ``audit.data_quality``.

    Raises
    ------
    CheckFailed
        A check whose verdict is ``fail`` did not hold, or a check could not be judged. The message
        names table, check and what was observed.
    """
    started = time.monotonic()
    tables = [judged(runner, each, ds) for each in staged]
    library = Library()
    with ThreadPoolExecutor(PARALLEL_TABLES) as pool:
        list(pool.map(library.judge, tables))
    shared = {"run_id": runner.run_id, "gate": group, "at_ms": time.time_ns() // 1_000_000}
    excused = waived(runner.lake, ds)
    rows = [
        {"ds": ds, "table": each.name, **shared, **row, "waiver": waiver_of(each.name, row, excused)}
        for each in tables
        for row in each.rows
    ]
    runner.lake.append(DATA_QUALITY, rows)
    site = runner.settings.home / "data_docs" / runner.settings.market.name
    try:
        publish_docs(library, site, group, ds, runner.run_id, [page for each in tables for page in each.pages])
    except Exception:
        # a page that cannot be drawn holds no data back: the table above has every verdict
        log.warning("The Data Docs of gate %s could not be written.", group, exc_info=True)
    log.info("gate %s: %d checks of %d tables in %.1f s", group, len(rows), len(tables), time.monotonic() - started)
    stop_on_failure(rows, group, ds)
    return rows


def waiver_of(table: str, row: dict[str, Any], excused: Mapping[tuple[str, str], str]) -> str | None:
    """The waiver of a failed check, where a person gave one; nobody could excuse what a check did not say."""
    return excused.get((table, row["check"])) if not row["success"] and was_answered(row) else None


def stop_on_failure(rows: Sequence[dict[str, Any]], group: str, ds: dt.date) -> None:
    """Raise CheckFailed with every failed FAIL check that nobody waived."""
    failed = [r for r in rows if not r["success"] and r["verdict_if_failed"] == FAIL and not r["waiver"]]
    if failed:
        said = "; ".join(f"{r['table']}: {r['check']} found {r['observed']}" for r in failed)
        raise CheckFailed(f"Gate {group} of {ds} stops the publish: {said}.")


def judged(runner: Runner, staged: Staged, ds: dt.date) -> Judged:
    """A staged table with its checks and the columns that they judge."""
    contract = runner.table(staged.table)
    frame = runner.stages.frame(contract, staged.attempt).where(staged.days.where())
    checks = checks_of(contract)
    made = Judged(contract, staged.days, ds, with_rules(contract, frame, checks), checks)
    made.beside = list(beside_others(runner, made, frame))
    made.rows += unusual(runner, staged, contract, ds)
    return made


def beside_others(runner: Runner, table: Judged, frame: DataFrame) -> Iterator[tuple[list[int], DataFrame]]:
    """A frame for each kind of check that holds the table against another one, with a column a check."""

    def other(check: Check) -> DataFrame:
        return runner.read(TableInput(check.args["table"], optional=True), table.days, table.name)

    sums = [at for at, check in enumerate(table.checks) if check.kind == ADDS_UP]
    if sums:
        mine = frame.groupBy("ds").agg(*[F.expr(table.checks[at].args["ours"]).alias(ours(at)) for at in sums])
        for at in sums:
            sum_of = F.expr(table.checks[at].args["theirs"]).alias(theirs(at))
            mine = mine.join(other(table.checks[at]).groupBy("ds").agg(sum_of), "ds", "full")
        both = [(at, F.coalesce(ours(at), F.lit(0)), F.coalesce(theirs(at), F.lit(0))) for at in sums]
        yield sums, mine.withColumns({broken(at): ~a.eqNullSafe(b) for at, a, b in both})
    for at, check in enumerate(table.checks):
        if check.kind == KNOWN_IN:
            values = F.col(check.args["other"] or check.column).alias(check.column)
            good = other(check).where(check.args["where"] or "true")
            known = good.select("ds", values).distinct().withColumn("known", F.lit(True))
            used = frame.where(F.col(check.column).isNotNull()).select("ds", check.column).distinct()
            found = used.join(known, ["ds", check.column], "left")
            yield [at], found.withColumn(broken(at), F.col("known").isNull())


def unusual(runner: Runner, staged: Staged, contract: Table, day: dt.date) -> list[dict[str, Any]]:
    """A day's rows and missing values against the same weekday's."""
    lake, params = runner.lake, anomalies.params_of(runner.settings.market)
    weeks = DayRange(day - dt.timedelta(weeks=params.weeks), day - dt.timedelta(days=1))
    past = anomalies.past_contents(
        lake, contract, day, params.weeks, released(lake, weeks) if contract.append else None
    )
    if len(past) < params.least_weeks:
        return []
    root = runner.stages.kept(contract, staged.attempt)
    files = [path for path in sorted(root.rglob("*.parquet")) if f"ds={day}" in path.parts]
    return list(anomalies.judge(contract, anomalies.staged_contents(files), past, params))


def keys_of(contract: Table) -> list[str]:
    """Columns that identify a staged row, ``ds`` first; a version key is not known before publishing."""
    further = [k for k in (contract.replace_by, *contract.keys) if k]
    unknown = {contract.replace_by} if contract.append else set()
    return ["ds", *dict.fromkeys(k for k in further if k not in unknown)] if contract.keys else []


def checks_of(contract: Table) -> list[Check]:
    """Declared checks, each once, then not-null and unique keys."""
    keys = keys_of(contract)
    of_keys = [Check("not_null", {"mostly": 1.0}, FAIL, key) for key in keys]
    if keys:
        of_keys.append(Check(UNIQUE, {"keys": "+".join(keys)}, FAIL))
    return list({check.name: check for check in [*of_keys, *contract.checks]}.values())


def with_rules(contract: Table, frame: DataFrame, checks: Sequence[Check]) -> DataFrame:
    """The frame with a column for every rule that is not about one column alone."""
    for at, check in enumerate(checks):
        if check.kind == UNIQUE:
            same = Window.partitionBy(*keys_of(contract))
            frame = frame.withColumn(REPEATS, F.count(F.lit(1)).over(same))
        elif check.kind == "no_rows_where":
            frame = frame.withColumn(broken(at), F.coalesce(F.expr(check.args["condition"]), F.lit(False)))
    return frame


def ours(at: int) -> str:
    """Column of a frame beside another table: this table's side of check number ``at``."""
    return f"ours_{at}"


def theirs(at: int) -> str:
    """The other table's side."""
    return f"theirs_{at}"


def broken(at: int) -> str:
    """Column of the judged frame that is true where check number ``at`` is broken."""
    return f"breaks_check_{at}"


class Library:
    """Great Expectations, in a context that lives as long as the gate: only pages and rows are kept."""

    def __init__(self) -> None:
        os.environ["GX_ANALYTICS_ENABLED"] = "false"
        with warnings.catch_warnings():
            # the library's own deprecations are not this project's to mend
            warnings.simplefilter("ignore")
            import great_expectations as gx
            import great_expectations.expectations as expectations
            from great_expectations.core.run_identifier import RunIdentifier
            from great_expectations.data_context.types import base
        self.gx, self.expectations = gx, expectations
        self.context = gx.get_context(
            project_config=base.DataContextConfig(
                # a site of its own would be a folder left behind in /tmp by every gate
                store_backend_defaults=base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
                progress_bars=base.ProgressBarsConfig(globally=False),
                analytics_enabled=False,
            )
        )
        self.run = RunIdentifier(run_name=dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S.%fZ"))

    def expectation(self, at: int, check: Check) -> Any:
        """The library's form of a check.

        Raises
        ------
        ContractError
            The kind of check is not known.
        """
        known, args = self.expectations, check.args
        named = {
            "meta": {"check": at},
            "severity": "critical" if check.verdict == FAIL else "warning",
            "description": args.get("why"),
        }
        if check.kind == "not_null":
            return known.ExpectColumnValuesToNotBeNull(column=check.column, mostly=args["mostly"], **named)
        if check.kind == "between":
            return known.ExpectColumnValuesToBeBetween(
                column=check.column, min_value=args["low"], max_value=args["high"], **named
            )
        if check.kind == "in_set":
            return known.ExpectColumnValuesToBeInSet(column=check.column, value_set=list(args["values"]), **named)
        if check.kind == "rows_between":
            return known.ExpectTableRowCountToBeBetween(min_value=args["low"], max_value=args["high"], **named)
        if check.kind in ("no_rows_where", ADDS_UP, KNOWN_IN):
            return known.ExpectColumnValuesToBeInSet(column=broken(at), value_set=[False], **named)
        if check.kind == UNIQUE:
            named["description"] = f"Each {args['keys']} has one row."
            return known.ExpectColumnValuesToBeBetween(column=REPEATS, max_value=1, **named)
        raise ContractError(f"The gate knows no check of kind {check.kind!r}.")

    def judge(self, table: Judged) -> None:
        """Fill a table's rows and pages; whatever goes wrong is a failed check and not an exception."""
        if not table.checks:
            table.rows.append(row_of(NO_EXPECTATIONS, None, FAIL, False, "nothing to check: declare keys or checks"))
            return
        of_one_day = {at for at, c in enumerate(table.checks) if c.kind == "rows_between" and len(table.days) > 1}
        apart = of_one_day | {at for wanted, _ in table.beside for at in wanted}
        parts = [
            (table.name, table.frame, [at for at in range(len(table.checks)) if at not in apart]),
            (f"{table.name}.last_day", table.frame.where(DayRange.day(table.ds).where()), sorted(of_one_day)),
            *((f"{table.name}.beside_{wanted[0]}", frame, wanted) for wanted, frame in table.beside),
        ]
        for name, frame, wanted in parts:
            if wanted:
                self._judge_part(table, name, frame, wanted)

    def _judge_part(self, table: Judged, name: str, frame: DataFrame, wanted: list[int]) -> None:
        started = time.monotonic()
        try:
            result = self._validate(name, frame, [(at, table.checks[at]) for at in wanted])
            found = {r.expectation_config.meta["check"]: r for r in result.results}
        except Exception as error:  # an unreadable frame or rule: every check of this part is unjudged
            log.warning("%s could not be judged.", name, exc_info=True)
            table.rows += [unjudged(table.checks[at], first_line(error)) for at in wanted]
            return
        rows = [verdict(table.checks[at], found.get(at)) for at in wanted]
        for at, row in zip(wanted, rows, strict=True):
            if not row["success"] and row["unexpected"]:
                row["observed"] += self._examples(name, frame, at, table.checks[at])
        table.rows += rows
        table.pages.append(Page.of(name, self.run, result, rows, time.monotonic() - started))

    def _validate(self, name: str, frame: DataFrame, checks: Sequence[tuple[int, Check]], examples: int = 0) -> Any:
        # a source of its own, because sources keep the batch at hand and threads must not share it
        source = self.context.data_sources.add_spark(name, persist=False)
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("staged")
        suite = self.gx.ExpectationSuite(name=name, expectations=[self.expectation(at, c) for at, c in checks])
        suite = self.context.suites.add(suite)
        definition = self.gx.ValidationDefinition(name=name, data=batch, suite=suite)
        result_format = {"result_format": "BASIC", "partial_unexpected_count": examples}
        return self.context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": frame}, result_format=result_format, run_id=self.run
        )

    def _examples(self, name: str, frame: DataFrame, at: int, check: Check) -> str:
        """A few offending values, read only for checks that failed."""
        if check.kind not in ("between", "in_set", ADDS_UP, KNOWN_IN):
            return ""
        try:
            if check.kind == ADDS_UP:
                bad = frame.where(broken(at)).orderBy("ds").limit(EXAMPLES).collect()
                sides = ", ".join(f"{r['ds']}: {r[ours(at)] or 0} here, {r[theirs(at)] or 0} there" for r in bad)
                return f" ({sides})"
            wrong = F.col(broken(at)) if check.kind == KNOWN_IN else ~holds(check)
            bad = frame.where(F.col(check.column).isNotNull()).where(wrong).select(check.column)
            values = [str(r[0]) for r in bad.distinct().orderBy(check.column).limit(EXAMPLES).collect()]
        except Exception:
            log.warning("%s: no examples of %s.", name, check.name, exc_info=True)
            return ""
        return f", as {', '.join(values)}"


def holds(check: Check) -> Any:
    """A between or in_set check as a Spark condition on non-null values."""
    column = F.col(check.column)
    if check.kind == "in_set":
        return column.isin(*check.args["values"])
    low, high = check.args["low"], check.args["high"]
    above = F.lit(True) if low is None else column >= low
    return above if high is None else above & (column <= high)


def row_of(
    name: str,
    column: str | None,
    verdict_if_failed: str,
    success: bool,
    observed: str,
    unexpected: int | None = None,
    rows: int | None = None,
) -> dict[str, Any]:
    return {
        "check": name,
        "column": column,
        "verdict_if_failed": verdict_if_failed,
        "success": success,
        "observed": observed,
        "unexpected": unexpected,
        "rows": rows,
    }


def unjudged(check: Check, why: str) -> dict[str, Any]:
    """A check without an answer: failed, whatever its verdict."""
    return row_of(check.name, check.column, FAIL, False, f"{NO_ANSWER}: {why}")


def verdict(check: Check, result: Any | None) -> dict[str, Any]:
    """The row of one check, from the library's result, or from its absence."""
    if result is None:
        return unjudged(check, "the check was skipped")
    if errors := list(raised(result.exception_info or {})):
        return unjudged(check, errors[0])
    found = result.result
    if check.kind == "rows_between":
        rows = int(found["observed_value"])
        return row_of(check.name, None, check.verdict, bool(result.success), f"{rows:,} rows", None, rows)
    rows, bad = found.get("element_count"), found.get("unexpected_count")
    if rows == 0:
        bad = 0  # a sum over no rows is null
    if rows is None or bad is None:
        return unjudged(check, "the result has no count")
    said = f"{bad:,} of {rows:,} rows breaking it"
    return row_of(check.name, check.column, check.verdict, bool(result.success), said, int(bad), int(rows))


def raised(info: dict[str, Any]) -> Iterator[str]:
    """Messages of the exceptions of a result, which the library keeps flat or by metric."""
    if info.get("raised_exception"):
        yield first_line(info.get("exception_message") or "an exception without a message")
    for value in info.values():
        if isinstance(value, str) and value.lstrip().startswith("{"):
            yield first_line(value)
        elif not isinstance(value, (str, bool, type(None))):
            inner = value if isinstance(value, dict) else getattr(value, "__dict__", {})
            if inner.get("raised_exception", True):
                yield first_line(inner.get("exception_message") or repr(value))


def first_line(error: object) -> str:
    text = str(error).strip() or repr(error)
    return text.splitlines()[0][:300]
