"""Writes docs/landing.md from the feeds: ``python -m jobs.landing_docs``. A test holds the page to the code."""

from __future__ import annotations

from pathlib import Path

from jobs.landing import FEEDS, Feed

HEAD = """# The landing zone

This page is generated from `jobs/landing.py` (`python -m jobs.landing_docs`).

The landing zone is Nightjar's contract with its sources: an event tracking plan. A feed's day of **arrival**
is a folder:

```
<landing>/<market>/<feed>/ds=2024-03-14/part-0.jsonl.gz
                                        _manifest.json
```

- Files: `.csv`, `.csv.gz`, `.jsonl`, `.jsonl.gz` (UTF-8) or `.parquet`. Names and number are free.
- The manifest completes the delivery and names each file with its rows, bytes and SHA-256:
  `{"version": 1, "feed": "events", "ds": "2024-03-14", "rows": 2, "files": [{"name": "part-0.jsonl.gz", "rows": 2,
  "bytes": 118, "sha256": "…"}]}`. `jobs.landing.write_manifest` writes it. Other rows than it
  promises, also where it promises none, stop the day.
- Landed files are immutable. A late file comes with a manifest of its own, `_manifest.<part>.json`. The next night
  reads it where its day is no further back than rows may be late; a file of an older day is read when that day is run.
- A delivery during the day is a part named `intraday…` (`_manifest.intraday-1015.json`). The intraday run reads it
  within minutes; it does not complete the day, and the night reads it with the rest (a repeated id counts once a day).
- A night waits until every feed that the market has ever landed has a manifest for the day, at most until 8 hours after
  the end of the day in the market's time zone. After that a *needed* feed stops the night; any other is gone without,
  and the report says so. A night of an older day does not wait, nor does `nightjar night`. The market's file may say
  otherwise: `feeds: {reviews: {wait_hours: 2}, events: {wait_hours: 12, needed: true}}`; `wait_hours: 0` is for a feed
  that does not come daily, which is then not missed either. Airflow waits for a day at most.
- Facts belong to the day of their own time; up to 3 days late (the market's `late_days`) they still reach it.
- The id of a fact is unique within that day: of several rows the first delivered counts (by day of arrival, then by
  name of the file), the others are counted as duplicates. The same id with a time of another day, a neighbour too, is
  another fact, because each day is built by itself: who delivers a row again must leave its time as it was.
- State rows replace what was known of their key from their day of arrival on. Where state has a time of its own
  (consent has), the row that was said last holds, whatever arrives after it; one that is dated after its day of arrival
  counts as said on that day. Of one moment the row of the later day holds, then that of the file that sorts last.
- A `surface` is one of those named below, or of the market's own file (option `surfaces`, docs/lists.md).
- Columns may be left out unless required. Columns that are not declared here are kept in bronze, as `extra`, and the
  report names them.
- A column that has no value though it usually has some, or whose values are of another type, stops the day before
  anything is published, and is named. Renamed is both gone and new. The market's file names what a source has dropped
  for good: `params: {bronze.events: {without: [place]}}`.
- A row that breaks a rule is kept in `ops.quarantine` with the rule's name; nothing is lost. Coordinates are not
  kept there; of a line that could not be read, and may hold some, digits are masked. The file beside it is named.
"""


def render() -> str:
    """The page, as Markdown."""
    return HEAD + "\n" + "\n".join(_feed(feed) for feed in FEEDS)


def _feed(feed: Feed) -> str:
    key = ", ".join(f"`{k}`" for k in feed.key)
    mode = feed.mode if feed.time is None else f"{feed.mode} at `{feed.time}`"
    lines = [
        f"## {feed.name}",
        "",
        f"{feed.description} {mode.capitalize()}; key {key}{'; needed' if feed.needed else ''}.",
        "",
        "| column | type | required | meaning |",
        "|---|---|---|---|",
    ]
    for field in feed.fields:
        limits = [
            f"{field.low:g} or more" if field.low is not None and field.high is None else "",
            f"{field.low:g} to {field.high:g}" if field.low is not None and field.high is not None else "",
            f"one of {', '.join(field.values)}" if field.values else "",
            field.unit or "",
            "sensitive" if field.sensitive else "",
        ]
        notes = "; ".join(n for n in limits if n)
        lines.append(
            f"| {field.name} | {field.type} | {'yes' if field.required else ''} | "
            f"{field.description}{f' ({notes})' if notes else ''} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    Path(__file__).parent.parent.joinpath("docs", "landing.md").write_text(render())
