"""Bring any tabular data into the landing zone, by a mapping file and no code.

`read_mapping` reads the file, `import_data` applies it. The language is described in
docs/bring-your-own-data.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from jobs.importer import land, sql
from jobs.importer.feeds import LEFT_OUT, OUTSIDE, SUPERSEDED, WHERE, FeedFrame, build_feed, span, within
from jobs.importer.files import SourceFiles, check_files
from jobs.importer.mapping import DataMapping, read_mapping
from jobs.importer.sources import KEPT, SourceFrame, SourceResult, read_sources, read_views
from jobs.locks import exclusive
from jobs.settings import Market, landing_root, market_file, save_market

__all__ = ["DataMapping", "FeedResult", "ImportResult", "SourceResult", "import_data", "read_mapping"]

# A single wrong date (1970, 2107) would land tens of thousands of empty days.
MOST_DAYS = 1_500
_CHARSETS = "spark.sql.legacy.javaCharsets"


@dataclass(frozen=True)
class FeedResult:
    """What became of a feed's rows: ``read`` is ``written`` and ``left_out`` and ``rejected`` together.

    Parameters
    ----------
    left_out
        Rows not landed on purpose, by reason: the mapping's ``where``, or outside its days.
    rejected
        Rows that cannot be used, by reason.
    examples
        One source row for each reason of a reject.
    days, days_new
        Days with a manifest, and those of them that this import landed.
    """

    name: str
    read: int
    written: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, str] = field(default_factory=dict)
    first: dt.date | None = None
    last: dt.date | None = None
    days: int = 0
    days_new: int = 0


@dataclass(frozen=True)
class ImportResult:
    """The outcome of an import; ``folder`` holds its record and its rejects, and is None for a dry run."""

    import_id: str
    market: Market
    first: dt.date
    last: dt.date
    sources: tuple[SourceResult, ...]
    feeds: tuple[FeedResult, ...]
    dry_run: bool
    folder: Path | None = None

    @property
    def rejected(self) -> int:
        return sum(sum(r.rejected.values()) for r in (*self.sources, *self.feeds))

    def summary(self) -> str:
        """The result as lines of text."""
        verb = "would be landed" if self.dry_run else "landed"
        lines = [f"market {self.market.name}, {self.first} to {self.last}"]
        for source in self.sources:
            lines.append(f"source {source.name}: {source.rows} rows from {len(source.files)} file(s)")
            lines += [f"  rejected {count}: {reason}" for reason, count in source.rejected.items()]
        for feed in self.feeds:
            span_text = f", {feed.first} to {feed.last}" if feed.first else ""
            lines.append(f"feed {feed.name}: {feed.read} rows read, {feed.written} {verb}{span_text}")
            lines += [f"  left out {count}: {reason}" for reason, count in feed.left_out.items()]
            for reason, count in feed.rejected.items():
                lines.append(f"  rejected {count}: {reason}; such as {feed.examples.get(reason, '')}")
        if self.folder:
            lines.append(f"record and rejects: {self.folder}")
        return "\n".join(lines)


def import_data(
    spark: SparkSession,
    home: Path,
    mapping_path: Path,
    source_dir: Path,
    dry_run: bool = False,
    landing: Path | None = None,
) -> ImportResult:
    """Land the files of ``source_dir`` as a mapping says.

    Parameters
    ----------
    spark
        A session from `jobs.session.connect`, with the time zone UTC. The server reads the same folders.
    home
        The installation's folder; the record and the rejects go to ``imports/<import id>`` in it.
    dry_run
        Read and check everything, write nothing.
    landing
        Root of the landing zone; default ``NIGHTJAR_LANDING``, else ``<home>/landing``.

    Raises
    ------
    ImportMappingError
        The mapping or a source file is wrong, all rows of a feed are rejected, or a day is landed
        already with other content. Nothing is landed then.
    SettingsError
        The market exists with another time zone.
    """
    mapping = read_mapping(Path(mapping_path))
    files = check_files(mapping, Path(source_dir))
    if market_file(mapping.market.name, home).exists():
        # what an operator has edited since, surfaces for one, says what may land
        mapping = dataclasses.replace(mapping, market=save_market(mapping.market, home))
    landing = landing or landing_root(home)
    with sql.quiet(), _sources(spark, mapping, files) as sources:
        frames = {name: source.clean for name, source in sources.items()} | read_views(spark, mapping)
        feeds = {name: build_feed(mapping, m, frames[m.source]) for name, m in mapping.feeds.items()}
        run = _Run(mapping, _import_id(mapping), home, landing, sources, feeds)
        if dry_run:
            return run.check()
        with exclusive(home / "locks" / mapping.market.name, "import"):
            return run.land()


@contextlib.contextmanager
def _sources(
    spark: SparkSession, mapping: DataMapping, files: Mapping[str, SourceFiles]
) -> Iterator[dict[str, SourceFrame]]:
    """The opened sources; afterwards their names and the server's memory are free again."""
    sources: dict[str, SourceFrame] = {}
    # Without it Spark reads seven encodings only, none of them a spreadsheet's.
    spark.conf.set(_CHARSETS, "true")
    try:
        sources |= read_sources(spark, mapping, files)
        yield sources
    finally:
        spark.conf.unset(_CHARSETS)
        for name in (*mapping.sources, *mapping.views):
            spark.catalog.dropTempView(name)
        for source in sources.values():
            source.frame.unpersist()


def _import_id(mapping: DataMapping) -> str:
    now = dt.datetime.now(dt.UTC)
    return f"{mapping.market.name}-{now:%Y%m%dT%H%M%S}-{hashlib.sha256(mapping.path.read_bytes()).hexdigest()[:8]}"


@dataclass(frozen=True)
class _Run:
    """One import: the frames are defined, nothing is computed yet."""

    mapping: DataMapping
    import_id: str
    home: Path
    landing: Path
    sources: Mapping[str, SourceFrame]
    feeds: Mapping[str, FeedFrame]

    def check(self) -> ImportResult:
        sources = tuple(s.result(self.mapping) for s in self.sources.values())
        first, last = self._span()
        results = tuple(
            self._write(feed, first, last, lambda rows, _: rows.write.format("noop").mode("overwrite").save())
            for feed in self.feeds.values()
        )
        return ImportResult(self.import_id, self.mapping.market, first, last, sources, results, True)

    def land(self) -> ImportResult:
        sources = tuple(s.result(self.mapping) for s in self.sources.values())
        first, last = self._span()
        count = (last - first).days + 1
        market = self.landing / self.mapping.market.name
        staging = market / "_import"
        shutil.rmtree(staging, ignore_errors=True)
        try:
            results = [
                self._write(f, first, last, lambda rows, feed: land.stage(feed, rows, staging / feed.name, count))
                for f in self.feeds.values()
            ]
            self._refuse_nothing(results)
            files = {
                f.name: land.day_files(self.mapping, f.mapped.feed, staging / f.name, self.landing, first, last)
                for f in self.feeds.values()
            }
            new = land.land(self.mapping, files)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        market_in_force = save_market(self.mapping.market, self.home)
        landed = tuple(dataclasses.replace(r, days=count, days_new=new[r.name]) for r in results)
        folder = self.home / "imports" / self.import_id
        result = ImportResult(self.import_id, market_in_force, first, last, sources, landed, False, folder)
        self._record(result)
        return result

    def _span(self) -> tuple[dt.date, dt.date]:
        first, last = span(self.mapping, self.feeds)
        count = (last - first).days + 1
        if count > MOST_DAYS and not (self.mapping.first and self.mapping.last):
            raise self.mapping.error(
                "days",
                f"the rows are of {first} to {last}, {count} days: give days: {{first: ..., last: ...}}, "
                f"or mend the dates that are wrong.",
            )
        return first, last

    def _write(self, feed: FeedFrame, first: dt.date, last: dt.date, write: Any) -> FeedResult:
        """Run a feed's one job and take its counts from it."""
        reasons = (*feed.reasons, OUTSIDE, SUPERSEDED)
        seen = Observation(f"rows_{feed.name}")
        rows = within(feed, first, last)
        good = F.col("_reason").isNull()
        counts = [F.count_if(F.col("_reason") == reason).alias(f"r{n}") for n, reason in enumerate(reasons)]
        low, high = (f(F.when(good, F.col("_day"))).alias(n) for f, n in ((F.min, "low"), (F.max, "high")))
        columns = (F.count_if(good).alias("written"), low, high, *counts)
        try:
            write(rows.observe(seen, *columns), feed)
            # The optimiser removes what it knows to be empty, and the observation with it.
            values = seen.get or rows.agg(*columns).collect()[0].asDict()
            before = feed.before.get.get("rows")
            before = feed.base.count() if before is None else before
        except PySparkException as error:
            raise feed.run_error(self.mapping, error) from None
        by_reason = {reason: values[f"r{n}"] for n, reason in enumerate(reasons) if values[f"r{n}"]}
        if filtered := before - values["written"] - sum(by_reason.values()):
            by_reason[WHERE] = filtered
        rejected = {reason: n for reason, n in by_reason.items() if reason not in LEFT_OUT}
        return FeedResult(
            feed.name,
            before,
            values["written"],
            {r: n for r, n in by_reason.items() if r in LEFT_OUT},
            rejected,
            self._examples(rows) if rejected else {},
            values["low"],
            values["high"],
        )

    def _examples(self, rows: DataFrame) -> dict[str, str]:
        bad = rows.where(F.col("_reason").isNotNull() & ~F.col("_reason").isin(*LEFT_OUT))
        return dict(tuple(r) for r in bad.groupBy("_reason").agg(F.min("_row")).collect())

    def _refuse_nothing(self, results: Iterable[FeedResult]) -> None:
        """A feed of which every row is rejected is a wrong mapping; landed files could not be taken back."""
        for result in results:
            if result.rejected and not result.written:
                raise self.mapping.error(
                    f"feeds.{result.name}",
                    f"every row is rejected: {dict(result.rejected)}; such as "
                    f"{next(iter(result.examples.values()), '')}.",
                )

    def _record(self, result: ImportResult) -> None:
        """Keep the result and the rejects; ``rejected-<name>.jsonl`` for each feed or source that has some."""
        assert result.folder is not None
        result.folder.mkdir(parents=True, exist_ok=True)
        for source in result.sources:
            if source.rejected:
                _write_lines(result.folder / f"rejected-{source.name}.jsonl", self.sources[source.name].rejects())
        for feed in result.feeds:
            if feed.rejected:
                rows = within(self.feeds[feed.name], result.first, result.last)
                bad = rows.where(F.col("_reason").isNotNull() & ~F.col("_reason").isin(*LEFT_OUT)).limit(KEPT)
                found = bad.select("_reason", "_file", "_row").collect()
                lines = [{"reason": r["_reason"], "file": r["_file"], "row": json.loads(r["_row"])} for r in found]
                _write_lines(result.folder / f"rejected-{feed.name}.jsonl", lines)
        plain = {**dataclasses.asdict(result), "market": result.market.to_mapping(), "mapping": str(self.mapping.path)}
        (result.folder / "result.json").write_text(json.dumps(plain, indent=1, default=str))


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with open(path, "w", encoding="utf-8") as handle:
        for row in rows:
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")
