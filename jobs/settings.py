"""Where things are and how a market behaves: typed, frozen, from the environment and one file a market.

``NIGHTJAR_HOME``     state of this installation (lake, landing, artifacts, logs); default ``.nightjar``
``NIGHTJAR_LAKE``     root of the Delta tables; default ``<home>/lake``
``NIGHTJAR_READ_THROUGH``  a lake that is read, never written, for what a private lake did not build; default none
``NIGHTJAR_LANDING``  root of the landing zone; default ``<home>/landing``
``NIGHTJAR_MARKET``   the market to work on; default ``demo``
``NIGHTJAR_SCHEDULE`` ``on``: Airflow's scheduled runs do their work; default ``off``, runs are started by hand
``NIGHTJAR_ALERTS``   address of a webhook for alerts; default none
``NIGHTJAR_LATE_HOURS`` hours after the end of its day from which a night is late; default 12
``NIGHTJAR_FEEDBACK_CRON``  how often the DAG feedback looks when the schedule is on; default every 15 minutes
``NIGHTJAR_PROMOTION`` ``auto``, ``manual`` or ``dry_run``: who makes champion what passed its gate; default ``auto``
``NIGHTJAR_SPARK``    ``sc://host:port`` of a Spark Connect server; default: the embedded one

A market is the file ``<home>/markets/<market>.yaml``. `nightjar simulate` and `nightjar import`
write it on first use; after that it is the operator's to edit.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from jobs.contract import digest
from jobs.errors import SettingsError

PROMOTIONS = ("auto", "manual", "dry_run")
"""Who makes a model that passed its gate champion: the gate, a person, or nobody."""
DEMO = "demo"
"""The market that commands work on where none is named, and that a new installation simulates."""
MOST_LATE_DAYS = 7
"""The latest that a market may let a row arrive: contracts, which are the same for all markets, read so far ahead."""

BLOCK_DAYS = 7
"""Days for which a refusal, or a sale of what does not repeat, keeps an item from a person, its own day included."""


@dataclass(frozen=True)
class Market:
    """The configuration of one market or tenant.

    Parameters
    ----------
    name
        Folder and key prefix of everything that the market owns.
    timezone
        IANA name; events are assigned to days in it.
    target
        Actions that count as success in training and evaluation.
    groups
        Columns of ``silver.users`` by which audits disaggregate; empty where there are none.
    repeat_categories
        Categories whose bought items may return at once; ``("*",)`` is all of them.
    params
        Options of nodes: ``{node name: {option: value}}``.
    region_timezones
        IANA names by ``region`` of ``silver.users``, where they differ from ``timezone``: for the hour on a
        person's own wall. Days are cut in ``timezone`` all the same.
    experiments
        Share of people held out of all experiments, and those that run: ``{holdout: 0.02, running: {name: …}}``
        (quality.experiments.design).
    late_days
        Days after its event (7 at most) up to which a row reaches its own day, and a file its day's bronze.
    heal_weekday
        Weekday (0 is Monday) of the night that rebuilds tables with windows for the week's late rows.
    heal_late_share
        A day is rebuilt at once where more than this share of its rows changed since its windows were built, or of one
        table's.
    language
        Language of texts for people whose own is not known, as ``en`` (models.messages).
    feeds
        How long a night waits for a feed, and whether it fails without it: ``{feed: {wait_hours: 2, needed: true}}``
        (jobs.landing).
    surfaces
        Options of surfaces, laid over the shipped ones: ``{surface: {option: value}}`` (models.surfaces).
    """

    name: str
    timezone: str = "UTC"
    currency: str = "USD"
    target: tuple[str, ...] = ("click",)
    groups: tuple[str, ...] = ()
    repeat_categories: tuple[str, ...] = ()
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    region_timezones: Mapping[str, str] = field(default_factory=dict)
    experiments: Mapping[str, Any] = field(default_factory=dict)
    late_days: int = 3
    heal_weekday: int = 6
    heal_late_share: float = 0.005
    language: str = "en"
    feeds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    surfaces: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise SettingsError(f"Market {self.name!r}: a name has letters, digits and underscores only.")
        if self.heal_weekday not in range(7) or not 0 <= self.heal_late_share <= 1:
            raise SettingsError(
                f"Market {self.name}: heal_weekday is a number from 0 (Monday) to 6, heal_late_share one from 0 to 1; "
                f"they are {self.heal_weekday!r} and {self.heal_late_share!r}."
            )
        if self.late_days not in range(MOST_LATE_DAYS + 1):
            raise SettingsError(
                f"Market {self.name}: late_days is a number of days from 0 to {MOST_LATE_DAYS}; it is "
                f"{self.late_days!r}."
            )
        if not isinstance(self.region_timezones, Mapping):
            raise SettingsError(f"Market {self.name}: region_timezones maps regions to IANA time zones.")
        self._check_zone(self.timezone, "")
        for region, zone in self.region_timezones.items():
            self._check_zone(zone, f" of region {region}")

    def repeats(self, category: str | None) -> bool:
        """Whether a bought item of the category may return at once."""
        return "*" in self.repeat_categories or category in self.repeat_categories

    def end_of(self, day: dt.date) -> dt.datetime:
        """The moment at which a day is over in the market's time zone."""
        return dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), ZoneInfo(self.timezone))

    def _check_zone(self, zone: str, whose: str) -> None:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, TypeError):
            raise SettingsError(f"Market {self.name}: {zone!r}{whose} is no IANA time zone.") from None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str) -> Market:
        known = {f.name for f in fields(cls)}
        if unknown := set(values) - known:
            raise SettingsError(f"{where}: unknown option {sorted(unknown)}; a market has {sorted(known)}.")
        if "name" not in values:
            raise SettingsError(f"{where}: a market needs a name.")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def to_mapping(self) -> dict[str, Any]:
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}

    @property
    def hash(self) -> str:
        return digest(self)


@dataclass(frozen=True)
class Settings:
    """The places of one installation, how it promotes models, and the market it works on."""

    home: Path
    lake: Path
    landing: Path
    market: Market
    spark: str | None = None
    read_through: Path | None = None
    promotion: str = "auto"

    def __post_init__(self) -> None:
        if self.read_through == self.lake:
            raise SettingsError(f"The lake {self.lake} cannot read through to itself: name another one.")
        if self.promotion not in PROMOTIONS:
            raise SettingsError(f"NIGHTJAR_PROMOTION is {self.promotion!r}: set it to one of {', '.join(PROMOTIONS)}.")

    @property
    def artifacts(self) -> Path:
        return self.home / "artifacts" / self.market.name

    def table_path(self, table: str) -> Path:
        layer, name = table.split(".", 1)
        return self.lake / self.market.name / layer / name

    @property
    def staging(self) -> Path:
        return self.lake / self.market.name / "_staging"

    @property
    def locks(self) -> Path:
        """Folder of the lock files; lakes of one installation do not wait for each other."""
        return self.home / "locks" / digest(str(self.lake)) / self.market.name


def home_dir() -> Path:
    return Path(os.environ.get("NIGHTJAR_HOME", ".nightjar")).resolve()


def market_file(name: str, home: Path | None = None) -> Path:
    return (home or home_dir()) / "markets" / f"{name}.yaml"


def load_market(name: str, home: Path | None = None) -> Market:
    """Read a market's file.

    Raises
    ------
    SettingsError
        There is no such file, or it holds an unknown option.
    """
    path = market_file(name, home)
    if not path.exists():
        raise SettingsError(
            f"There is no market {name!r} ({path} is missing): run `nightjar simulate` or `nightjar import` first."
        )
    return Market.from_mapping(yaml.safe_load(path.read_text()) or {}, str(path))


def save_market(market: Market, home: Path | None = None) -> Market:
    """Write a market's file if there is none; return the market in force, which an operator may have edited.

    Raises
    ------
    SettingsError
        The market exists with another time zone: its days are cut already.
    """
    path = market_file(market.name, home)
    if path.exists():
        current = load_market(market.name, home)
        if current.timezone != market.timezone:
            raise SettingsError(
                f"Market {market.name} has time zone {current.timezone}, not {market.timezone}: its days are cut "
                f"already. Use another name, or edit {path} and rebuild from bronze."
            )
        return current
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(market.to_mapping(), sort_keys=False, allow_unicode=True))
    return market


def _path_of(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).resolve() if value else None


def default_market() -> str:
    return os.environ.get("NIGHTJAR_MARKET", DEMO)


def landing_root(home: Path) -> Path:
    return Path(os.environ.get("NIGHTJAR_LANDING", home / "landing")).resolve()


def load_settings(market: str | None = None) -> Settings:
    """Settings from the environment; ``market`` overrides ``NIGHTJAR_MARKET``."""
    home = home_dir()
    return Settings(
        home=home,
        lake=Path(os.environ.get("NIGHTJAR_LAKE", home / "lake")).resolve(),
        landing=landing_root(home),
        market=load_market(market or default_market(), home),
        spark=os.environ.get("NIGHTJAR_SPARK"),
        read_through=_path_of("NIGHTJAR_READ_THROUGH"),
        promotion=os.environ.get("NIGHTJAR_PROMOTION", "auto"),
    )
