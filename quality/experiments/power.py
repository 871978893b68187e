"""How many people an experiment needs, and what it can then see."""

from __future__ import annotations

import math

from scipy.stats import norm


def size_for_shares(control: float, treatment: float, alpha: float = 0.05, power: float = 0.8) -> float:
    r"""People in each of two equal groups, to see a difference of shares with probability ``power``.

    .. math:: n = \frac{\left( z_{1-\alpha/2} \sqrt{2 \bar p \bar q} + z_{power} \sqrt{p_1 q_1 + p_2 q_2} \right)^2}
              {(p_1 - p_2)^2}

    Notes
    -----
    Fleiss, Statistical Methods for Rates and Proportions, 2nd ed., 1981, section 3.2 (two-sided, without
    continuity correction); what R's ``power.prop.test`` solves.

    Examples
    --------
    >>> round(size_for_shares(0.20, 0.25))
    1094
    """
    middle = (control + treatment) / 2
    under_none = norm.ppf(1 - alpha / 2) * math.sqrt(2 * middle * (1 - middle))
    under_some = norm.ppf(power) * math.sqrt(control * (1 - control) + treatment * (1 - treatment))
    return ((under_none + under_some) / (control - treatment)) ** 2


def power_for_shares(n: float, control: float, treatment: float, alpha: float = 0.05) -> float:
    """Probability to see a difference of shares with ``n`` people in each group: `size_for_shares` turned round.

    Examples
    --------
    >>> round(power_for_shares(1094, 0.20, 0.25), 3)
    0.8
    """
    middle = (control + treatment) / 2
    under_none = norm.ppf(1 - alpha / 2) * math.sqrt(2 * middle * (1 - middle))
    under_some = math.sqrt(control * (1 - control) + treatment * (1 - treatment))
    return float(norm.cdf((math.sqrt(n) * abs(control - treatment) - under_none) / under_some))


def size_for_means(deviation: float, difference: float, alpha: float = 0.05, power: float = 0.8) -> float:
    r"""People in each of two equal groups, to see a difference of means.

    .. math:: n = 2 \left( z_{1-\alpha/2} + z_{power} \right)^2 \frac{\sigma^2}{\delta^2}

    ``deviation`` is that of one person's value. For a ratio of sums it is that of the linearised value, for
    CUPED that of the adjusted one (quality.experiments.inference).

    Notes
    -----
    Cohen, Statistical Power Analysis, 2nd ed., 1988; with normal quantiles, "16 sigma squared over delta squared"
    (Lehr, Statistics in Medicine 11, 1992).

    Examples
    --------
    >>> round(size_for_means(1.0, 0.1))
    1570
    """
    return 2 * ((norm.ppf(1 - alpha / 2) + norm.ppf(power)) * deviation / difference) ** 2
