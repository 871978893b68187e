"""Make the values of `obp` again that ``test_ope`` holds the estimators against, and print them beside ours.

The library wants Python before 3.10 and old releases of all that it needs, so it has an environment of its own::

    python3.11 -m venv /tmp/obp
    /tmp/obp/bin/pip install --no-deps --ignore-requires-python obp==0.5.5
    /tmp/obp/bin/pip install numpy pandas scikit-learn scipy matplotlib seaborn tqdm pyyaml pytest
    PYTHONPATH=. /tmp/obp/bin/python tests/unit/values_of_obp.py

It ends with 1 where a value is not the one that the test has.
"""

from __future__ import annotations

import sys
import types
from dataclasses import replace

import numpy as np
import scipy.stats  # noqa: F401  before the library is read, which must not find a torch that is none
import sklearn.ensemble  # noqa: F401

from quality.ope import Log, estimate
from tests.unit.test_ope import ESTIMATORS, OBP, compared


class Absent(types.ModuleType):
    """A module whose every name is an empty class: the library reads torch for estimators that are not used here."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def estimators() -> dict[str, type]:
    """The library's, by the names of ours."""
    absent = ("torch", "torch.nn", "torch.nn.functional", "torch.optim", "torch.utils", "torch.utils.data")
    for name in absent:
        sys.modules[name] = Absent(name)
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], own, sys.modules[name])
    from obp import ope

    for name in absent:
        del sys.modules[name]
    return {
        "ips": ope.InverseProbabilityWeighting,
        "snips": ope.SelfNormalizedInverseProbabilityWeighting,
        "dm": ope.DirectMethod,
        "dr": ope.DoublyRobust,
    }


def as_arrays(log: Log) -> dict[str, np.ndarray]:
    """The log as the library takes it: what was shown is action 0, all else together is action 1."""
    others = (log.policy_value - log.target * log.predicted) / (1 - log.target)
    return {
        "reward": log.reward,
        "action": np.zeros(len(log.reward), int),
        "pscore": log.propensity,
        "position": np.zeros(len(log.reward), int),
        "action_dist": np.stack([log.target, 1 - log.target], axis=1)[:, :, None],
        "estimated_rewards_by_reg_model": np.stack([log.predicted, others], axis=1)[:, :, None],
    }


def main() -> int:
    log, theirs, wrong = compared(), estimators(), 0
    for name, clip, expected in OBP:
        kind = theirs[name]
        library = kind(lambda_=clip) if clip < np.inf else kind()
        found = float(library.estimate_policy_value(**as_arrays(log)))
        ours = estimate(ESTIMATORS[name], replace(log, clip=clip)).value
        wrong += not np.isclose(found, expected, rtol=1e-12, atol=0)
        print(f"{name:6} clip {clip:4}: obp {found!r}, ours {ours!r}, in the test {expected!r}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
