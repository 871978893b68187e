r"""What is usual of a table: its rows and its missing values on the same weekday of the weeks before.

Read from the footers of the Parquet files, staged and published, which count rows and nulls: no query runs, and
nothing has to be recorded beforehand. With fewer than ``least_weeks`` such days there is no bound, and no check.
The bounds are those of ``audit.health``: median and median absolute deviation, but at least ``least_change`` of the
rows, or ``least_share`` of missing values, away.
"""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.contract import FAIL, WARN, Check, Table, make_params
from jobs.errors import ContractError
from jobs.lake import Lake
from jobs.settings import Market

OPTIONS = "gate.anomalies"
"""Key of a market's ``params`` with the options of `Params`."""
ROWS, NULLS = Check("usual_rows", {}), Check("usual_nulls", {})


@dataclass(frozen=True)
class Params:
    """When a table is not as usual.

    Parameters
    ----------
    verdict
        ``warn``, or ``fail`` to stop the publish.
    weeks, least_weeks
        Same weekdays that are looked back on, and that a bound needs.
    width
        Of the bounds, in standard deviations.
    least_change
        A smaller change of the rows, by their median, is usual.
    least_share
        A smaller growth of a column's share of missing values is usual.
    """

    verdict: str = WARN
    weeks: int = 8
    least_weeks: int = 4
    width: float = 4.0
    least_change: float = 0.3
    least_share: float = 0.05


@dataclass
class Contents:
    """Rows of a day, and missing values by column where the files count them."""

    rows: int = 0
    nulls: dict[str, int] = field(default_factory=dict)

    def add(self, path: Path) -> None:
        """Count a file in."""
        footer = pq.read_metadata(path)
        self.rows += footer.num_rows
        for group in (footer.row_group(at) for at in range(footer.num_row_groups)):
            for column in (group.column(at) for at in range(group.num_columns)):
                if column.statistics is not None and column.statistics.has_null_count:
                    name = column.path_in_schema
                    self.nulls[name] = self.nulls.get(name, 0) + column.statistics.null_count

    def share(self, column: str) -> float | None:
        """Part of the rows without a value; None where it was not counted."""
        return self.nulls[column] / self.rows if self.rows and column in self.nulls else None


def params_of(market: Market) -> Params:
    """The options of a market.

    Raises
    ------
    ContractError
        An option is unknown or mistyped, or the verdict is neither warn nor fail.
    """
    made = make_params(Params, dict(market.params.get(OPTIONS, {})), f"market {market.name}, params of {OPTIONS}")
    if made.verdict not in (WARN, FAIL):
        raise ContractError(
            f"market {market.name}, params of {OPTIONS}: verdict is {made.verdict!r}, not warn or fail."
        )
    return made


def staged_contents(files: Iterable[Path]) -> Contents:
    """What staged files hold."""
    found = Contents()
    for path in files:
        found.add(path)
    return found


def past_contents(lake: Lake, contract: Table, ds: dt.date, weeks: int, slices: Iterable[str] | None) -> list[Contents]:
    """What the same weekdays before ``ds`` held, the days without rows left out.

    ``slices`` are the ``replace_by`` values that count (releases), where the table keeps several a day.
    """
    opened = lake.open(contract.name)
    wanted = {str(ds - dt.timedelta(weeks=n)) for n in range(1, weeks + 1)}
    kept = None if slices is None else set(slices)
    found: dict[str, Contents] = {}
    for action in pa.table(opened.get_add_actions(flatten=True)).to_pylist() if opened is not None else []:
        day = str(action["partition.ds"])
        if day in wanted and (kept is None or action[f"partition.{contract.replace_by}"] in kept):
            found.setdefault(day, Contents()).add(lake.path(contract.name) / unquote(action["path"]))
    return [found[day] for day in sorted(found)]


def judge(contract: Table, today: Contents, past: list[Contents], params: Params) -> Iterator[dict[str, Any]]:
    """The rows of the two checks, as the gate records them; none without enough of a past."""
    if len(past) < params.least_weeks:
        return
    low, high = bounds([c.rows for c in past], params.width, params.least_change)
    said = f"{today.rows:,} rows; {len(past)} same weekdays before: {low:,.0f} to {high:,.0f}"
    yield _row(ROWS, params, low <= today.rows <= high, said, today.rows)
    grown = {c.name: s for c in contract.columns if (s := _growth(c.name, today, past, params))}
    said = "; ".join(f"{name}: {text}" for name, text in grown.items()) or "no column is missing more than usual"
    yield _row(NULLS, params, not grown, said, today.rows)


def bounds(past: list[int], width: float, least_change: float) -> tuple[float, float]:
    """Between which the next value is usual.

    Examples
    --------
    Median 100, deviations 0, 0, 2, 2: their median 1 times 1.4826 times 4 is less than 30 % of 100.

    >>> bounds([98, 100, 100, 102], 4.0, 0.3)
    (70.0, 130.0)
    """
    middle = statistics.median(past)
    reach = max(width * _deviation(past), least_change * middle)
    return max(0.0, middle - reach), middle + reach


def _deviation(values: list[float]) -> float:
    middle = statistics.median(values)
    return 1.4826 * statistics.median(abs(v - middle) for v in values)


def _growth(column: str, today: Contents, past: list[Contents], params: Params) -> str | None:
    """How much more is missing than is usual; None where it is not."""
    share, before = today.share(column), [s for c in past if (s := c.share(column)) is not None]
    if share is None or len(before) < params.least_weeks:
        return None
    most = statistics.median(before) + max(params.width * _deviation(before), params.least_share)
    return f"{share:.1%} missing, usual is at most {most:.1%}" if share > most else None


def _row(check: Check, params: Params, success: bool, said: str, rows: int) -> dict[str, Any]:
    return {
        "check": check.name,
        "column": None,
        "verdict_if_failed": params.verdict,
        "success": success,
        "observed": said,
        "unexpected": None,
        "rows": rows,
    }
