"""What commands share: the settings in force, days, run ids, and printing."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.contract import DayRange
    from jobs.settings import Settings


def day(text: str) -> dt.date:
    """The type of an option that is a day."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; write it as 2024-03-14") from None


def load() -> Settings:
    """Settings of the market in force."""
    from jobs.settings import load_settings

    return load_settings()


def new_run(command: str) -> str:
    """A run id for one command."""
    return f"{command}-{uuid.uuid4().hex[:12]}"


def show(options: argparse.Namespace, plain: Any, text: str) -> None:
    """Print what was asked for: the plain data for machines, or the text."""
    print(json.dumps(plain, indent=1, default=str, ensure_ascii=False) if options.format == "json" else text)


def as_text(rows: list[dict[str, Any]], width: int | None = 60) -> str:
    """Rows as a table for people; longer texts than ``width`` are cut."""
    import pandas as pd

    if not rows:
        return "(nothing)"
    return pd.DataFrame(rows).to_string(index=False, max_colwidth=width)


def days_of(options: argparse.Namespace) -> DayRange:
    """The days that --ds, or --from and --to, name."""
    from jobs.contract import DayRange
    from jobs.errors import SettingsError

    if options.ds:
        return DayRange(options.ds, options.ds)
    if options.first and options.last:
        return DayRange(options.first, options.last)
    raise SettingsError("Say which days: --ds DAY, or --from DAY --to DAY.")
