"""Landing files of a day: encoded so that the same rows are the same bytes, completed by manifests last."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from jobs.errors import LandingError
from jobs.landing import FEEDS, day_folder, write_manifest
from jobs.simulator import columns
from jobs.simulator.config import WorldConfig
from jobs.simulator.faults import NOT_UTF8, NOT_UTF8_MARK

FORMATS = {"impressions": ".parquet", "events": ".jsonl.gz", "reviews": ".jsonl.gz"}
_OTHERWISE = ".csv.gz"
_GZIP_LEVEL = 3
_NEEDS_ESCAPE = r'["\\\x00-\x1f]'


def json_lines(rows: pa.Table) -> pa.ChunkedArray:
    """One JSON object a row, without the columns that are null in it."""
    parts = []
    for name in rows.column_names:
        values = rows.column(name)
        if pa.types.is_string(values.type):
            if pc.any(pc.match_substring_regex(values, _NEEDS_ESCAPE)).as_py():
                texts = values.to_pylist()
                values = pa.array([None if text is None else json.dumps(text, ensure_ascii=False) for text in texts])
            else:
                values = pc.binary_join_element_wise('"', values, '"', "")
        parts.append(pc.binary_join_element_wise(f'"{name}":', values.cast(pa.string()), ""))
    joined = pc.binary_join_element_wise(*parts, ",", null_handling="skip")
    return pc.binary_join_element_wise("{", joined, "}", "")


def encode(suffix: str, rows: pa.Table, damaged: dict[str, pa.Table]) -> bytes:
    """The bytes of a landing file; damaged rows stand at its end."""
    if suffix == ".jsonl.gz":
        lines = [line.encode() for line in json_lines(rows).to_pylist()]
        for kind, bad in damaged.items():
            texts = [line.encode() for line in json_lines(bad).to_pylist()]
            if kind == "unparseable":
                texts = [text[: len(text) // 2] for text in texts]
            lines += [text.replace(NOT_UTF8_MARK.encode(), NOT_UTF8) for text in texts]
        return gzip.compress(b"".join(line + b"\n" for line in lines), _GZIP_LEVEL, mtime=0)
    every = pa.concat_tables([rows, *damaged.values()])
    buffer = io.BytesIO()
    if suffix == ".parquet":
        pyarrow.parquet.write_table(every, buffer, compression="zstd")
        return buffer.getvalue()
    pyarrow.csv.write_csv(every, buffer)
    return gzip.compress(buffer.getvalue(), _GZIP_LEVEL, mtime=0)


class DayWriter:
    """Writes one arrival day of every feed; nothing is complete until `close`.

    Raises
    ------
    LandingError
        Something of the day was landed before.
    """

    def __init__(self, landing: Path, config: WorldConfig, day: int) -> None:
        self._ds = config.date(day)
        self._folders = {f.name: day_folder(landing, config.market, f.name, self._ds) for f in FEEDS}
        for name, folder in self._folders.items():
            if list(folder.glob("_manifest*.json")):
                raise LandingError(
                    f"{name} of {self._ds} has landed already in {folder}: landed files are immutable. "
                    f"Simulate a later day, or use another market or landing folder."
                )
            folder.mkdir(parents=True, exist_ok=True)
        self._rows: dict[str, dict[str, int]] = {name: {} for name in self._folders}

    def add(self, feed: str, part: str, rows: pa.Table, damaged: dict[str, pa.Table] | None = None) -> None:
        """Write a file of a feed; an empty one is written only as the feed's first, for its header."""
        damaged = damaged or {}
        count = len(rows) + sum(len(bad) for bad in damaged.values())
        if not count and self._rows[feed]:
            return
        suffix = FORMATS.get(feed, _OTHERWISE)
        name = f"part-{part}{suffix}"
        (self._folders[feed] / name).write_bytes(encode(suffix, rows, damaged))
        self._rows[feed][name] = count

    def close(self) -> dict[str, int]:
        """Complete the day: write every feed's manifest, and return its rows by feed."""
        for feed, files in self._rows.items():
            if not files:
                self.add(feed, "00000", columns.schema(feed).empty_table())
            write_manifest(self._folders[feed], feed, self._ds, self._rows[feed])
        return {feed: sum(files.values()) for feed, files in self._rows.items()}
