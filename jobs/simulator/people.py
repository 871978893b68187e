"""The people of a simulated market: who they are, what they like, and how that drifts.

A person's taste is a mixture over categories and a unit vector near the topics that they love.
Both move between two poles: on day ``d`` the share of the second is ``sin²(speed·d)``, so any
day's taste is known without replaying the days before.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from jobs.simulator.catalogue import DISTRICTS, LATENT, REGIONS, Creators, Items
from jobs.simulator.config import DAY_MS, Stream, WorldConfig, arrival_day
from jobs.simulator.geography import settle
from jobs.simulator.vocabulary import BRANDS_PER_CATEGORY, CATEGORIES, CATEGORY_NAMES, TOPICS_PER_CATEGORY

GENDERS = ("female", "male", "undisclosed")
AGE_BANDS = ("under_18", "18_24", "25_34", "35_44", "45_54", "55_plus")
INCOME_BANDS = ("low", "middle", "high")
DEVICES = ("iphone", "android_flagship", "android_budget", "tablet")
LANGUAGES = ("zh", "en")
SLOTS = ("morning_commute", "lunch", "evening_commute", "evening", "night")

GENDER_TILT = {
    "female": {"beauty": 0.9, "fashion": 0.5, "baby": 0.5, "gaming": -0.5, "cars": -0.6},
    "male": {"gaming": 0.7, "cars": 0.8, "electronics": 0.6, "beauty": -0.9, "baby": -0.3},
    "undisclosed": {},
}
YOUNG_TILT = {"gaming": 0.8, "music": 0.6, "learning": 0.4, "health": -0.7, "finance": -0.8, "baby": -0.8}
OLD_TILT = {"health": 0.9, "travel": 0.4, "groceries": 0.4, "gaming": -1.0, "beauty": -0.3}
REGION_LOGIT = {"northwest": -0.25, "northeast": -0.10, "south": 0.10, "east": 0.05}
AGE_LOGIT = {"55_plus": -0.30, "18_24": 0.08}

CATEGORY_WEIGHT, LATENT_WEIGHT, CREATOR_WEIGHT, BRAND_WEIGHT, PRICE_WEIGHT = 0.55, 1.9, 0.7, 0.4, 0.35
_PRICE_LEVEL = np.log([max(c.price, 1) for c in CATEGORIES]).astype(np.float32)


@dataclass(frozen=True)
class Users:
    """A block of users, one array each; codes index this module's tuples, days count from 0."""

    index: np.ndarray
    joined: np.ndarray
    registered_ms: np.ndarray
    birth_year: np.ndarray
    tells_birth: np.ndarray
    gender: np.ndarray
    age_band: np.ndarray
    income: np.ndarray
    region: np.ndarray
    tier: np.ndarray
    device: np.ndarray
    next_device: np.ndarray
    device_day: np.ndarray
    language: np.ndarray
    rate: np.ndarray
    churned: np.ndarray
    drift: np.ndarray
    mix: np.ndarray
    next_mix: np.ndarray
    latent: np.ndarray
    next_latent: np.ndarray
    creators: np.ndarray
    brands: np.ndarray
    habits: np.ndarray
    works_in: np.ndarray
    home: np.ndarray
    work: np.ndarray
    thrift: np.ndarray
    group_logit: np.ndarray
    consents: np.ndarray
    withdrawn: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: np.ndarray) -> Users:
        return Users(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def granted(self, day: int) -> np.ndarray:
        """Consent in force on a day: columns personalisation and ads."""
        return self.consents & (self.withdrawn > day)

    def device_on(self, day: int) -> np.ndarray:
        return np.where(self.device_day <= day, self.next_device, self.device)


@dataclass(frozen=True)
class Taste:
    """What a block of users likes on one day."""

    mix: np.ndarray
    log_mix: np.ndarray
    latent: np.ndarray
    users: Users

    def affinity(self, rows: np.ndarray, items: np.ndarray, catalogue: Items, price: np.ndarray) -> np.ndarray:
        """Hidden affinity of users (by row) for items, in logits.

        ``0.55·ln(20·mix[c]) + 1.9·⟨u, i⟩ + 0.7·[favourite creator] + 0.4·[favourite brand]
        - 0.35·thrift·ln(price / category price)``
        """
        category = catalogue.category[items]
        score = CATEGORY_WEIGHT * self.log_mix[rows, category]
        score += LATENT_WEIGHT * np.einsum("ij,ij->i", self.latent[rows], catalogue.latent[items])
        score += CREATOR_WEIGHT * (self.users.creators[rows] == catalogue.creator[items][:, None]).any(axis=1)
        score += BRAND_WEIGHT * (self.users.brands[rows] == catalogue.brand[items][:, None]).any(axis=1)
        dear = np.log(np.maximum(price[items], 1)).astype(np.float32) - _PRICE_LEVEL[category]
        return score - PRICE_WEIGHT * self.users.thrift[rows] * np.where(price[items] > 0, dear, 0)


def taste_on(users: Users, day: int) -> Taste:
    share = (np.sin(users.drift * day) ** 2)[:, None].astype(np.float32)
    mix = (1 - share) * users.mix + share * users.next_mix
    latent = (1 - share) * users.latent + share * users.next_latent
    latent /= np.linalg.norm(latent, axis=1, keepdims=True) + 1e-6
    return Taste(mix, np.log(len(CATEGORIES) * mix), latent, users)


def _logits(table: dict[str, float], names: tuple[str, ...]) -> np.ndarray:
    return np.array([table.get(name, 0.0) for name in names], dtype=np.float32)


def _tilts(gender: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Log weight of each category for each person, from the groups' known differences."""
    base = np.log([c.weight for c in CATEGORIES])
    by_gender = np.array([_logits(GENDER_TILT[g], CATEGORY_NAMES) for g in GENDERS])
    young, old = _logits(YOUNG_TILT, CATEGORY_NAMES), _logits(OLD_TILT, CATEGORY_NAMES)
    return base + by_gender[gender] + np.where((age < 25)[:, None], young, 0) + np.where((age >= 45)[:, None], old, 0)


def _tastes(rng: np.random.Generator, tilt: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, ...]:
    """Mixture, latent vector and three main categories: Gumbel's top 3 of the tilted weights."""
    n = len(tilt)
    top = np.argsort(-(tilt + rng.gumbel(size=tilt.shape)), axis=1)[:, :3]
    shares = rng.dirichlet((5.0, 3.0, 2.0), n) * 0.88
    mix = np.full((n, len(CATEGORIES)), 0.12 / len(CATEGORIES))
    np.put_along_axis(mix, top, shares + 0.12 / len(CATEGORIES), axis=1)
    loved = top * TOPICS_PER_CATEGORY + rng.integers(0, TOPICS_PER_CATEGORY, (n, 3))
    latent = np.einsum("nk,nkd->nd", shares, centres[loved]) + 0.12 * rng.normal(size=(n, LATENT))
    latent /= np.linalg.norm(latent, axis=1, keepdims=True)
    return mix.astype(np.float32), latent.astype(np.float32), top


def make_users(config: WorldConfig, creators: Creators, centres: np.ndarray, block: int) -> Users:
    """The users of a block, whether they have joined yet or not."""
    rng, n = config.rng(Stream.USERS, block), config.block
    index = np.arange(block * n, (block + 1) * n)
    joined = arrival_day(index, config.users, config.new_users_daily)
    gender = rng.choice(3, n, p=[0.49, 0.46, 0.05])
    age = np.clip(np.exp(rng.normal(3.45, 0.38, n)), 14, 80).astype(int)
    age_band = np.searchsorted([18, 25, 35, 45, 55], age, side="right")
    region = rng.choice(len(REGIONS), n, p=[0.16, 0.26, 0.2, 0.14, 0.11, 0.05, 0.08])
    mix, latent, top = _tastes(rng, _tilts(gender, age), centres)
    next_mix, next_latent, next_top = _tastes(rng, _tilts(gender, age), centres)
    home, work = settle(config.rng(Stream.DWELLINGS, block), region)
    liked = np.stack([top[:, 0], top[:, 1], next_top[:, 0]], axis=1)
    rate = np.minimum(np.exp(rng.normal(-0.5, 1.0, n)), 10.0) * config.requests_per_user_day
    before = np.where(joined == 0, rng.exponential(300, n) * DAY_MS, -rng.random(n) * DAY_MS * 0.2)
    churned = joined + rng.geometric(np.where(rate < 0.8, 0.012, 0.004), n)
    return Users(
        index=index,
        joined=joined,
        registered_ms=config.midnights_ms(joined) - before.astype(np.int64),
        birth_year=config.first_day.year - age,
        tells_birth=rng.random(n) < 0.85,
        gender=gender,
        age_band=age_band,
        income=rng.choice(3, n, p=[0.35, 0.45, 0.2]),
        region=region,
        tier=rng.choice(5, n, p=[0.2, 0.3, 0.2, 0.2, 0.1]) + 1,
        device=rng.choice(4, n, p=[0.3, 0.3, 0.33, 0.07]),
        next_device=rng.choice(4, n),
        device_day=joined + rng.geometric(0.002, n),
        language=(rng.random(n) < 0.35).astype(int),
        rate=rate,
        churned=churned,
        drift=np.abs(rng.normal(0, 0.025, n)).astype(np.float32),
        mix=mix,
        next_mix=next_mix,
        latent=latent,
        next_latent=next_latent,
        creators=creators.pick(liked, rng.random((n, 3))),
        brands=(liked[:, :2] * BRANDS_PER_CATEGORY + rng.integers(0, BRANDS_PER_CATEGORY, (n, 2))).astype(np.int32),
        habits=rng.dirichlet((0.9, 0.6, 0.9, 1.6, 0.6), n),
        works_in=rng.integers(0, len(DISTRICTS), n),
        home=home,
        work=work,
        thrift=np.abs(rng.normal(0.7, 0.4, n)).astype(np.float32),
        group_logit=_logits(REGION_LOGIT, REGIONS)[region] + _logits(AGE_LOGIT, AGE_BANDS)[age_band],
        consents=rng.random((n, 2)) < (0.93, 0.85),
        withdrawn=joined[:, None] + rng.geometric(0.001, (n, 2)),
    )
