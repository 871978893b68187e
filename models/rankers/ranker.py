"""What a ranker is: a file in this package with ``RANKER``, ``Params``, ``fit`` and a subclass of ``Ranker``.

``fit(train, valid, params, start=None)`` fits every head that the data supports; ``valid`` holds later days, which
stop the growth and calibrate. ``start`` is a fitted ranker of the same kind to go on from. A saved ranker is a folder
of native files; loading runs no code from it.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from jobs.errors import ContractError
from models.rankers.groups import ONE_GROUP, Groups
from models.rankers.rows import Columns, column, numbers
from models.ranking_features import FEATURES

DESCRIBED = "ranker.json"
SEQUENCE = "recent_items"
"""The column of a user's last items, newest first (``features.user_sequence``)."""
SATISFIED_MS = 30_000
"""Time from which a click was a satisfied one (Fox et al., 2005)."""
Knots = tuple[list[float], list[float]]


class CannotGoOn(ContractError):
    """A fit cannot start from the ranker that it was given: another kind, other inputs, heads or sizes."""


@dataclass(frozen=True)
class Spec:
    """What a ranker declares.

    Parameters
    ----------
    name, description
        ``name`` is how configuration chooses it.
    features
        Numbers, by name (``models.ranking_features``).
    ids
        Columns of keys that are hashed and embedded.
    sequences
        Array columns of keys, newest first.
    """

    name: str
    description: str
    features: tuple[str, ...] = FEATURES
    ids: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()


@dataclass
class Ranker(ABC):
    """A fitted ranker: its heads, how they are calibrated, and facts on the fit.

    Parameters
    ----------
    features
        Those that it was fitted on.
    calibration
        Per head one piecewise linear map (x and y knots) for each of ``groups``.
    facts
        Parameters, rows, and by head the learning curve: what the model card needs.
    """

    spec: ClassVar[Spec]

    features: tuple[str, ...] = FEATURES
    calibration: dict[str, list[Knots]] = field(default_factory=dict)
    groups: Groups = ONE_GROUP
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    @abstractmethod
    def heads(self) -> tuple[str, ...]:
        """Names of the scores, in order."""

    @abstractmethod
    def raw(self, columns: Columns) -> dict[str, np.ndarray]:
        """The heads before calibration, float64."""

    @abstractmethod
    def save_weights(self, folder: Path) -> None:
        """Write the fitted numbers as native files."""

    @classmethod
    @abstractmethod
    def load_weights(cls, folder: Path, described: dict[str, Any], threads: int) -> Ranker:
        """Read what ``save_weights`` wrote; calibration and facts are set by ``load``."""

    def score(self, columns: Columns) -> dict[str, np.ndarray]:
        """Score rows.

        Parameters
        ----------
        columns
            What ``spec`` declares, by name; a null or NaN feature is unknown.

        Returns
        -------
        dict
            Where fitted: ``pctr``, ``pcvr`` (probability of a purchase when shown) and ``satisfaction`` (of a click
            that lasts) in [0, 1], ``dwell`` (expected seconds once clicked), ``rank`` (relevance, comparable within a
            user); float64.

        Raises
        ------
        ContractError
            A column that the ranker was trained on is missing.
        """
        scores = self.raw(columns)
        if self.calibration:
            group = self.groups.of(columns)
            for head, maps in self.calibration.items():
                scores[head] = _mapped(scores[head], maps, group)
        return scores

    def calibrate(self, valid: pa.Table) -> None:
        """Fit isotonic maps on rows that no head was fitted on; a group with few rows gets the map of all."""
        raw, group = self.raw(valid), self.groups.of(valid)
        targets = {head: (label(valid), None) for head, label in PROBABILITIES.items() if head in raw}
        if "dwell" in raw:
            seconds = numbers(valid, "dwell_ms") / 1000
            targets["dwell"] = (seconds, seconds > 0)
        for head, (target, among) in targets.items():
            use = np.isfinite(raw[head]) if among is None else np.isfinite(raw[head]) & among
            if use.any():
                self.calibration[head] = self.groups.maps(isotonic, raw[head][use], target[use], group[use])

    def importance(self, columns: Columns) -> dict[str, float]:
        """Mean absolute change of pCTR when a feature's values are exchanged between rows (Breiman, 2001)."""
        names = [*self.features, *self.spec.ids, *self.spec.sequences]
        rows = {name: column(columns, name) for name in names}
        before = self.raw(pa.table(rows))["pctr"]
        order = pa.array(np.random.default_rng(7).permutation(len(before)))
        changed = {}
        for name in names:
            mixed = pa.table(rows | {name: rows[name].take(order)})
            changed[name] = float(np.abs(self.raw(mixed)["pctr"] - before).mean())
        return changed

    def save(self, folder: Path) -> None:
        """Write the ranker into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        self.save_weights(folder)
        described = {
            "ranker": self.spec.name,
            "features": list(self.features),
            "sequences": list(self.spec.sequences),
            "heads": list(self.heads),
            "groups": self.groups.to_json(),
            "facts": self.facts,
        }
        (folder / "calibration.json").write_text(json.dumps(self.calibration, sort_keys=True))
        (folder / DESCRIBED).write_text(json.dumps(described, sort_keys=True, indent=1))

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> Ranker:
        """Read a saved ranker of this class."""
        described = json.loads((folder / DESCRIBED).read_text())
        made = cls.load_weights(folder, described, threads)
        made.features, made.facts = tuple(described["features"]), described["facts"]
        made.groups = Groups.from_json(described["groups"])
        maps = json.loads((folder / "calibration.json").read_text())
        made.calibration = {head: [(x, y) for x, y in knots] for head, knots in maps.items()}
        return made


def _mapped(raw: np.ndarray, maps: list[Knots], group: np.ndarray) -> np.ndarray:
    made = np.full(len(raw), np.nan)
    for number, knots in enumerate(maps):
        of = group == number
        made[of] = np.interp(raw[of], *knots)
    return made


def isotonic(raw: np.ndarray, target: np.ndarray) -> Knots:
    """Knots of the isotonic regression of a target on the raw score (Zadrozny and Elkan, 2002)."""
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(out_of_bounds="clip").fit(raw, target)
    return fitted.X_thresholds_.astype(float).tolist(), fitted.y_thresholds_.astype(float).tolist()


@dataclass(frozen=True)
class Declared:
    """A ranker with its code."""

    spec: Spec
    params: type
    fit: Callable[..., Ranker]
    kind: type[Ranker]


@cache
def discover_rankers() -> dict[str, Declared]:
    """Every module of this package that declares a ``RANKER``, by name, in name order."""
    package = importlib.import_module("models.rankers")
    found = {}
    for info in pkgutil.iter_modules(package.__path__, prefix="models.rankers."):
        module = importlib.import_module(info.name)
        if hasattr(module, "RANKER"):
            (kind,) = [c for c in vars(module).values() if isinstance(c, type) and vars(c).get("spec") is module.RANKER]
            found[module.RANKER.name] = Declared(module.RANKER, module.Params, module.fit, kind)
    return dict(sorted(found.items()))


def ranker(name: str) -> Declared:
    """A declared ranker.

    Raises
    ------
    ContractError
        There is none of this name.
    """
    found = discover_rankers()
    if name not in found:
        raise ContractError(f"There is no ranker {name!r}; there are {list(found)}.")
    return found[name]


def load(folder: Path, threads: int = 1) -> Ranker:
    """Read a saved ranker, whichever it is."""
    return ranker(describe(folder)["ranker"]).kind.load(folder, threads)


def describe(folder: Path) -> dict[str, Any]:
    """What a saved ranker says of itself, without loading it."""
    return json.loads((folder / DESCRIBED).read_text())


def check_labels(positives: int, rows: int) -> None:
    """Refuse a training set that holds one kind of label only.

    Raises
    ------
    ContractError
        There is no positive or no negative row.
    """
    if not 0 < positives < rows:
        raise ContractError(f"The training set has {positives} positives of {rows} rows: both are needed.")


def satisfied(columns: Columns) -> np.ndarray:
    """1 for a click that lasted, else 0."""
    return (numbers(columns, "dwell_ms") >= SATISFIED_MS).astype(np.float64)


PROBABILITIES: dict[str, Callable[[Columns], np.ndarray]] = {
    "pctr": lambda rows: numbers(rows, "label"),
    "pcvr": lambda rows: numbers(rows, "converted"),
    "satisfaction": satisfied,
}
"""Heads that are probabilities, and the label that each predicts."""


def has_both(values: np.ndarray) -> bool:
    """Whether a label has positive and negative rows."""
    return bool(0 < values.sum() < len(values))
