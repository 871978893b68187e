"""What experiments a market runs, and who is in which variant: by hash alone, so nobody keeps a list.

A *layer* is a set of experiments that exclude each other: each takes some of the layer's 10,000 buckets.
Layers are independent of each other, because each hashes with its own salt, and so does the draw of the
variant within an experiment. People in the *holdout* are in no experiment of any layer.

A market declares::

    experiments:
      holdout: 0.02
      running:
        diverse_feed:
          layer: reranking
          buckets: [0, 5000]
          variants: {control: 1, treatment: 1}
          starts: 2024-03-02
          ends: 2024-03-29
          primary: ctr
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F

from jobs.errors import SettingsError
from jobs.settings import Market

BUCKETS = 10_000
MOST_DAYS = 56
"""Days that an experiment may run: its readout looks back to the first."""
CONTROL = "control"
_HOLDOUT = "holdout"
_HEX_DIGITS = 15
_OPTIONS = {"layer", "buckets", "variants", "starts", "ends", "primary", "salt", "pipeline"}
_NEEDED = ("layer", "buckets", "variants", "starts", "ends")


@dataclass(frozen=True)
class Experiment:
    """One experiment.

    Parameters
    ----------
    layer, buckets
        The layer, and its buckets from the first up to but not including the second that the experiment takes.
    variants
        Weight of each variant; one is ``control``.
    starts, ends
        First and last day.
    primary
        The metric that decides (quality.experiments.readout).
    salt
        Seed of the draw of variants; the name by default. A new one draws anew.
    pipeline
        By variant, what differs for its people from the market's own pipeline (`models.variants`).
    """

    name: str
    layer: str
    buckets: tuple[int, int]
    variants: Mapping[str, float]
    starts: dt.date
    ends: dt.date
    primary: str = "ctr"
    salt: str = ""
    pipeline: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def variant_of(self, bucket: int) -> str:
        """The variant that owns a bucket of the experiment's own hash."""
        return next(name for name, end in self.ends_of_variants if bucket < end)

    @property
    def ends_of_variants(self) -> list[tuple[str, int]]:
        """Variants with the bucket before which each ends; the last ends at `BUCKETS`."""
        total, so_far, ends = sum(self.variants.values()), 0.0, []
        for name, weight in self.variants.items():
            so_far += weight
            ends.append((name, round(BUCKETS * so_far / total)))
        return ends


@dataclass(frozen=True)
class Design:
    """All experiments of a market."""

    market: str
    holdout: float = 0.0
    running: tuple[Experiment, ...] = field(default_factory=tuple)

    def on(self, day: dt.date) -> list[Experiment]:
        """The experiments that run on a day."""
        return [e for e in self.running if e.starts <= day <= e.ends]

    def variant(self, experiment: Experiment, user_id: int) -> str | None:
        """The variant of a user, None for those who are not in the experiment.

        Examples
        --------
        >>> half = Experiment("x", "l", (0, 10_000), {"control": 1, "new": 1}, dt.date.min, dt.date.max)
        >>> [Design("demo").variant(half, user) for user in range(4)]
        ['control', 'control', 'control', 'new']
        """
        if bucket(self._salt(_HOLDOUT), user_id) < round(self.holdout * BUCKETS):
            return None
        first, last = experiment.buckets
        if not first <= bucket(self._salt("layer", experiment.layer), user_id) < last:
            return None
        return experiment.variant_of(bucket(self._experiment_salt(experiment), user_id))

    def variant_column(self, experiment: Experiment, user_id: Column) -> Column:
        """The same as a Spark expression; null for those who are not in the experiment."""
        first, last = experiment.buckets
        held_out = bucket_column(self._salt(_HOLDOUT), user_id) < round(self.holdout * BUCKETS)
        place = bucket_column(self._salt("layer", experiment.layer), user_id)
        own = bucket_column(self._experiment_salt(experiment), user_id)
        (name, end), *others = experiment.ends_of_variants
        drawn = F.when(own < end, F.lit(name))
        for name, end in others:
            drawn = drawn.when(own < end, F.lit(name))
        return F.when(~held_out & (place >= first) & (place < last), drawn)

    def _salt(self, *parts: str) -> str:
        return "/".join((self.market, *parts))

    def _experiment_salt(self, experiment: Experiment) -> str:
        return self._salt("experiment", experiment.salt or experiment.name)


def bucket(salt: str, user_id: int) -> int:
    """A user's bucket under a salt, from 0 to `BUCKETS` - 1: the first 60 bits of a SHA-256.

    Examples
    --------
    >>> bucket("demo/holdout", 1), bucket("demo/holdout", 2)
    (4685, 2143)
    """
    digest = hashlib.sha256(f"{salt}:{user_id}".encode()).hexdigest()
    return int(digest[:_HEX_DIGITS], 16) % BUCKETS


def bucket_column(salt: str, user_id: Column) -> Column:
    """`bucket` as a Spark expression."""
    digest = F.sha2(F.concat(F.lit(f"{salt}:"), user_id.cast("string")), 256)
    return F.pmod(F.conv(F.substring(digest, 1, _HEX_DIGITS), 16, 10).cast("bigint"), F.lit(BUCKETS)).cast("int")


def design_of(market: Market) -> Design:
    """The market's experiments.

    Raises
    ------
    SettingsError
        An option is unknown, missing or wrong, or two experiments of a layer share buckets on the same days.
    """
    given = market.experiments
    if unknown := sorted(set(given) - {"holdout", "running"}):
        raise SettingsError(f"Market {market.name}: experiments has no option {unknown[0]!r}; use holdout and running.")
    holdout = given.get("holdout", 0.0)
    if not isinstance(holdout, int | float) or not 0 <= holdout < 1:
        raise SettingsError(f"Market {market.name}: the holdout is a share from 0 to below 1, not {holdout!r}.")
    running = tuple(_experiment(market.name, name, options) for name, options in given.get("running", {}).items())
    for one, other in combinations(running, 2):
        if _collide(one, other):
            raise SettingsError(
                f"Market {market.name}: the experiments {one.name} and {other.name} share buckets of layer "
                f"{one.layer} on the same days: give them buckets of their own, or another layer."
            )
    return Design(market.name, float(holdout), running)


def _collide(one: Experiment, other: Experiment) -> bool:
    same_days = one.starts <= other.ends and other.starts <= one.ends
    same_buckets = one.buckets[0] < other.buckets[1] and other.buckets[0] < one.buckets[1]
    return one.layer == other.layer and same_days and same_buckets


def _experiment(market: str, name: str, options: Mapping[str, Any]) -> Experiment:
    def wrong(option: str, should: str) -> SettingsError:
        return SettingsError(
            f"Market {market}, experiment {name}: {option} is {options.get(option)!r}, but must be {should}."
        )

    if unknown := sorted(set(options) - _OPTIONS):
        raise SettingsError(
            f"Market {market}, experiment {name}: there is no option {unknown[0]!r}; use {sorted(_OPTIONS)}."
        )
    if missing := [option for option in _NEEDED if option not in options]:
        raise SettingsError(f"Market {market}, experiment {name}: {missing[0]} is missing.")
    buckets = tuple(options["buckets"])
    whole = len(buckets) == 2 and all(isinstance(b, int) for b in buckets)
    if not (whole and 0 <= buckets[0] < buckets[1] <= BUCKETS):
        raise wrong("buckets", f"two whole numbers that rise, from 0 to {BUCKETS}")
    variants = options["variants"]
    weights = list(variants.values()) if isinstance(variants, Mapping) else []
    if len(weights) < 2 or CONTROL not in variants or not all(isinstance(w, int | float) and w > 0 for w in weights):
        raise wrong("variants", f"names with weights above 0, one of them {CONTROL}")
    days = [_day(options[option]) for option in ("starts", "ends")]
    if None in days or days[0] > days[1]:
        raise wrong("starts" if days[0] is None else "ends", "a day as 2024-03-02, and starts not after ends")
    if (days[1] - days[0]).days >= MOST_DAYS:
        raise wrong("ends", f"at most {MOST_DAYS} days after starts, both counted")
    pipeline = options.get("pipeline", {})
    fits = isinstance(pipeline, Mapping) and all(isinstance(each, Mapping) for each in pipeline.values())
    if not fits or not set(pipeline) <= set(variants):
        raise wrong("pipeline", "variants of the experiment with what differs for them")
    texts = {option: str(options[option]) for option in ("primary", "salt") if option in options}
    return Experiment(
        name, str(options["layer"]), buckets, dict(variants), days[0], days[1], **texts, pipeline=pipeline
    )


def _day(value: Any) -> dt.date | None:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    try:
        return dt.date.fromisoformat(value)
    except (TypeError, ValueError):
        return None
