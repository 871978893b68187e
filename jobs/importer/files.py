"""The source files before Spark sees them: are they there, whole, readable, and under one header?

Spark reports a damaged file deep inside a job, or not at all (a file whose columns stand in another
order is read by position). One pass here names the file and the line.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import ImportMappingError
from jobs.importer.mapping import RESERVED, DataMapping, Source

_CHUNK = 1 << 20


@dataclass(frozen=True)
class SourceFiles:
    """The files of a source and, for CSV and Parquet, the columns they share."""

    paths: tuple[Path, ...]
    columns: tuple[str, ...] = ()


def check_files(mapping: DataMapping, source_dir: Path) -> dict[str, SourceFiles]:
    """Find and check the files of every source.

    Raises
    ------
    ImportMappingError
        A glob matches nothing or leads out of the folder; a file is empty, truncated, not in its
        encoding, or has other columns than the first one.
    """
    root = source_dir.resolve()
    if not root.is_dir():
        raise ImportMappingError(f"{source_dir}: there is no such source folder.")
    return {name: _check_source(mapping, source, root) for name, source in mapping.sources.items()}


def _check_source(mapping: DataMapping, source: Source, root: Path) -> SourceFiles:
    where = f"sources.{source.name}"
    paths = _find(mapping, source, root)
    columns: tuple[str, ...] = ()
    for path in paths:
        found = _check_file(mapping, source, path)
        if path != paths[0] and found != columns:
            raise mapping.error(where, f"{path} has columns {list(found)}, but {paths[0]} has {list(columns)}.")
        columns = found
    # JSON names its columns line by line: Spark finds them.
    if source.format != "jsonl":
        if clash := sorted(set(columns) & set(RESERVED)):
            raise mapping.error(where, f"the column name {clash[0]} is reserved: rename it in {paths[0]}.")
        if unknown := sorted(set(source.types) - set(columns)):
            raise mapping.error(f"{where}.types", f"{paths[0]} has no column {unknown}; it has {list(columns)}.")
    return SourceFiles(tuple(paths), columns)


def _find(mapping: DataMapping, source: Source, root: Path) -> list[Path]:
    where = f"sources.{source.name}.files"
    # Spark takes names that begin with _ or . for hidden and reads nothing from them.
    paths = sorted(p for p in root.glob(source.files) if p.is_file() and p.name[0] not in "_.")
    if not paths:
        raise mapping.error(where, f"no file in {root} matches {source.files!r}.")
    for path in paths:
        if not path.resolve().is_relative_to(root):
            raise mapping.error(where, f"{path} leads out of the source folder: copy the file into it.")
    return paths


def _check_file(mapping: DataMapping, source: Source, path: Path) -> tuple[str, ...]:
    where = f"sources.{source.name}"
    if path.stat().st_size == 0:
        raise mapping.error(where, f"{path} is empty.")
    if source.format == "parquet":
        try:
            return tuple(pq.read_schema(path).names)
        except (pa.ArrowException, OSError) as error:
            raise mapping.error(where, f"{path} is not readable Parquet: {_first_line(error)}") from None
    _check_text(mapping, source, path)
    return _header(mapping, source, path) if source.format == "csv" else ()


def _check_text(mapping: DataMapping, source: Source, path: Path) -> None:
    """Read the file to its end, decompressed and decoded."""
    where = f"sources.{source.name}"
    try:
        decoder = codecs.getincrementaldecoder(source.encoding)()
    except LookupError:
        raise mapping.error(f"{where}.encoding", f"there is no encoding {source.encoding!r}.") from None
    lines, chunk = 1, b""
    try:
        with open_bytes(path) as handle:
            while chunk := handle.read(_CHUNK):
                decoder.decode(chunk)
                lines += chunk.count(b"\n")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        line = lines + error.object[: error.start].count(b"\n")
        raise mapping.error(
            where, f"{path} is not {source.encoding} (line {line}): set encoding:, for example windows-1252."
        ) from None
    except EOFError:
        raise mapping.error(where, f"{path} is cut off: the gzip file has no end. Copy it again.") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise mapping.error(where, f"{path} is a damaged gzip file ({error}): copy it again.") from None


def _header(mapping: DataMapping, source: Source, path: Path) -> tuple[str, ...]:
    if not source.header:
        return source.columns
    where = f"sources.{source.name}"
    with open_text(path, source.encoding) as handle:
        names = next(csv.reader(handle, delimiter=source.separator, quotechar=source.quote), None)
    if not names:
        raise mapping.error(where, f"{path} has no header line.")
    names = [name or f"_c{place}" for place, name in enumerate(names)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise mapping.error(where, f"{path} names the column {twice[0]!r} twice.")
    return tuple(names)


def open_bytes(path: Path) -> io.BufferedIOBase:
    """The file's bytes, decompressed."""
    return gzip.open(path) if path.suffix == ".gz" else open(path, "rb")  # type: ignore[return-value]


def open_text(path: Path, encoding: str) -> io.TextIOWrapper:
    """The file's text without a byte order mark; line ends as they are."""
    utf8 = encoding.lower().replace("-", "") == "utf8"
    return io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig" if utf8 else encoding, newline="")


def line_numbers(path: Path, encoding: str, wanted: set[str]) -> Iterator[tuple[str, int]]:
    """Where the ``wanted`` lines stand in a file, first line 1."""
    with open_text(path, encoding) as handle:
        for number, line in enumerate(handle, 1):
            if (text := line.rstrip("\r\n")) in wanted:
                yield text, number


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
