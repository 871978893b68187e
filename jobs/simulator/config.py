"""What a simulated world is made from: its configuration, its calendar and its random streams."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from enum import IntEnum
from zoneinfo import ZoneInfo

import numpy as np

from jobs.errors import SettingsError
from jobs.settings import Market
from jobs.simulator.vocabulary import CATEGORIES

DAY_MS = 86_400_000
NEVER = 1_000_000


class Stream(IntEnum):
    """Names of independent random streams; a number is never used for another purpose."""

    TOPICS = 1
    CREATORS = 2
    ITEMS = 3
    USERS = 4
    PRICES = 5
    REQUESTS = 6
    EXPOSURE = 7
    REACTIONS = 8
    FEEDBACK = 9
    FAULTS = 10
    CURATED = 11
    ADS = 12
    RETURNS = 13
    DWELLINGS = 14
    FOLLOWS = 15


@dataclass(frozen=True)
class WorldConfig:
    """The size, seed and planted rates of a simulated world.

    Parameters
    ----------
    users, items, creators
        How many there are on the first day; users and items keep arriving.
    days
        Days that are landed where no last day is given.
    start
        First day, ISO 8601, in the market's time zone.
    requests_per_user_day
        Mean number of pages that a registered, unchurned person opens a day.
    slate
        Slots of a page.
    new_users_daily, new_items_daily
        Arrivals a day, as a share of the first day's number.
    late_rate
        Share of impressions, events and orders delivered 1 to 3 days after their day.
    too_late_rate
        Share delivered 4 to 7 days after.
    duplicate_rate
        Share delivered twice, half of them on the next day.
    corrupt_rate
        Damaged extra rows, as a share of the good ones.
    block
        Users that are generated at once; it bounds memory and is part of the world's identity.
    """

    users: int = 2_000
    items: int = 1_500
    creators: int = 150
    days: int = 14
    start: str = "2024-03-01"
    seed: int = 7
    market: str = "demo"
    timezone: str = "Asia/Shanghai"
    currency: str = "CNY"
    requests_per_user_day: float = 1.6
    slate: int = 10
    new_users_daily: float = 0.004
    new_items_daily: float = 0.008
    late_rate: float = 0.01
    too_late_rate: float = 0.0002
    duplicate_rate: float = 0.005
    corrupt_rate: float = 0.002
    title_party_rate: float = 0.04
    block: int = 20_000

    def __post_init__(self) -> None:
        kinds = len(CATEGORIES)
        least = {"users": 1, "items": 10 * kinds, "creators": kinds, "days": 1, "slate": 1, "block": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise SettingsError(f"A simulated world needs {name} of at least {low}, not {getattr(self, name)}.")
        for name in ("late_rate", "too_late_rate", "duplicate_rate", "corrupt_rate", "title_party_rate"):
            if not 0 <= getattr(self, name) <= 0.3:
                raise SettingsError(f"A simulated world needs {name} between 0 and 0.3, not {getattr(self, name)}.")
        try:
            dt.date.fromisoformat(self.start)
        except ValueError:
            raise SettingsError(f"A simulated world starts on a day such as 2024-03-01, not {self.start!r}.") from None

    @property
    def first_day(self) -> dt.date:
        return dt.date.fromisoformat(self.start)

    def date(self, day: int) -> dt.date:
        """The date of a day's number, 0 is the first."""
        return self.first_day + dt.timedelta(days=day)

    def midnight_ms(self, day: int) -> int:
        """Start of a day in the market's time zone, as UTC ms since 1970."""
        local = dt.datetime.combine(self.date(day), dt.time(), ZoneInfo(self.timezone))
        return int(local.timestamp() * 1000)

    def midnights_ms(self, days: np.ndarray) -> np.ndarray:
        """Start of each of many days; see `midnight_ms`."""
        some, place = np.unique(days, return_inverse=True)
        return np.array([self.midnight_ms(int(day)) for day in some], dtype=np.int64)[place]

    def user_count(self, day: int) -> int:
        """Users that have joined by the end of a day."""
        return self.users + math.ceil(self.users * self.new_users_daily) * max(day, 0)

    def item_count(self, day: int) -> int:
        """Items that have been offered by the end of a day."""
        return self.items + math.ceil(self.items * self.new_items_daily) * max(day, 0)

    def rng(self, stream: Stream, *key: int) -> np.random.Generator:
        """The generator of one stream and key: no draw elsewhere can move it."""
        return np.random.default_rng([self.seed, int(stream), *key])


def arrival_day(index: np.ndarray, at_start: int, share: float) -> np.ndarray:
    """The day on which the n-th user or item arrives: 0 for those of the first day, `NEVER` where none arrive."""
    daily = math.ceil(at_start * share)
    later = (index - at_start) // daily + 1 if daily else np.full(len(index), NEVER)
    return np.where(index < at_start, 0, np.minimum(later, NEVER)).astype(np.int32)


def demo_market(config: WorldConfig) -> Market:
    """The market that reads this world's landing files."""
    return Market(
        name=config.market,
        timezone=config.timezone,
        currency=config.currency,
        target=("click",),
        groups=("gender", "age_band", "region"),
        repeat_categories=("groceries", "baby", "pets"),
    )
