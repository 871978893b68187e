r"""The nightly law of the fusion weights: what a content type's feedback does to its weights.

Where clicks rise while what they lead to falls, clicks have become worth less: the CTR weight loses 5 to 10 % of
itself, and the objectives that fell (sales by click, seconds by click) share what it lost. Weeks are compared, each day
with its weekday:

.. math:: c = \frac{1}{n} \sum_d \log \frac{r_d}{r_{d'}}, \quad c \pm t_{n-1} \, \frac{s}{\sqrt n}

so that the rhythm of the week cancels, and days that scatter widen the interval, whatever makes them scatter.

What keeps it from swinging:

- *Bounds.* The CTR weight keeps a share of its first value.
- *A frozen reference.* From the first move on rates are held against the week before that move, not against the last
  week, so that a lasting shift is no news every week, and its end is seen.
- *Hysteresis.* A move away needs a change that is sure and large; the way back needs two weeks without it. What lies
  between moves nothing.
- *Waiting.* A week after each move, so that all days judged have seen it, and two before the way back. A relapse after
  a return doubles these: weights that help and are taken back because they helped would else swing for ever.

Every decision is a row of ``ops.objective_weights``; the next one is made from that row and the daily counts alone.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from scipy import stats

WEEK = 7
CTR, CVR, DWELL = "ctr", "cvr", "dwell"
OBJECTIVES = (CTR, CVR, DWELL)
FIRST, LOWERED, RESTORED, HELD, RESET = "first", "lowered", "restored", "held", "reset"
DIGITS = 6


@dataclass(frozen=True)
class Params:
    """How weights follow feedback, in the market's ``params`` under ``models.objective_weights``.

    Parameters
    ----------
    adjust
        False gives every type the first weights.
    least_step, most_step
        Part of the CTR weight that a move takes; the more so the deeper the fall.
    most_change
        Part of its first value that the CTR weight may lose in all.
    change, recovered
        Relative change of a rate from which it counts, and up to which it is back.
    least_clicks, least_purchases
        Of a week; an objective with fewer is not judged.
    wait, patience, forget
        Days after a move before the next one, before a return, and at home before the reference is dropped.
    """

    adjust: bool = True
    least_step: float = 0.05
    most_step: float = 0.10
    most_change: float = 0.3
    change: float = 0.05
    recovered: float = 0.02
    least_clicks: int = 500
    least_purchases: int = 50
    wait: int = 7
    patience: int = 14
    forget: int = 28


@dataclass(frozen=True)
class Weights:
    """Exponents of the fusion (`models.objectives.geometric`)."""

    ctr: float = 0.6
    cvr: float = 0.3
    dwell: float = 0.1

    def of(self, name: str) -> float:
        return getattr(self, name)

    def with_ctr(self, ctr: float, gains: Sequence[str]) -> Weights:
        """Another CTR weight, the difference shared by ``gains``."""
        part = (self.ctr - ctr) / len(gains)
        moved = {name: round(self.of(name) + part, DIGITS) for name in gains}
        return replace(self, ctr=round(ctr, DIGITS), **moved)

    def towards(self, home: Weights, ctr: float) -> Weights:
        """On the straight line to ``home``, where the CTR weight is ``ctr``."""
        left = (home.ctr - ctr) / (home.ctr - self.ctr)
        return Weights(*(round(home.of(n) + left * (self.of(n) - home.of(n)), DIGITS) for n in OBJECTIVES))


@dataclass(frozen=True)
class Response:
    """How one content type was received on a day (``silver.content_daily``)."""

    impressions: int
    clicks: int
    purchases: int
    dwell_s: float

    def __add__(self, other: Response) -> Response:
        return Response(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def rates(self) -> dict[str, float]:
        """Clicks by showing, sales by click, seconds by click; what cannot be said is left out."""
        made = {CTR: (self.clicks, self.impressions), CVR: (self.purchases, self.clicks)}
        made[DWELL] = (self.dwell_s, self.clicks)
        return {name: a / b for name, (a, b) in made.items() if a > 0 and b > 0}


@dataclass(frozen=True)
class Change:
    """Relative change of a rate between weeks, with its 95 % interval."""

    value: float
    lo: float
    hi: float

    def __str__(self) -> str:
        return f"{100 * self.value:+.1f} % [{100 * self.lo:+.1f}, {100 * self.hi:+.1f}]"


@dataclass(frozen=True)
class State:
    """What a content type's last decision left.

    Parameters
    ----------
    reference_ds
        Last day of the week that rates are held against; None: the week before the last.
    moved_ds
        Day of the last move.
    relapses
        Moves away that followed a return.
    """

    weights: Weights
    reference_ds: dt.date | None = None
    moved_ds: dt.date | None = None
    returned: bool = False
    relapses: int = 0


@dataclass(frozen=True)
class Decision:
    """The state of a day, how it came about, in one word and in a sentence, and the changes it was made on."""

    state: State
    move: str
    reason: str
    changes: Mapping[str, Change] = field(default_factory=dict)


History = Mapping[dt.date, Response]


def decide(ds: dt.date, history: History, held: State | None, first: Weights, params: Params) -> Decision:
    """The weights of one content type for ``ds``.

    Parameters
    ----------
    history
        Its days; those that are missing had nothing.
    held
        What the last decision before ``ds`` left; None before the first.
    first
        The weights at which it starts and to which it returns.
    """
    if held is None or not params.adjust:
        return Decision(State(first), FIRST, "the first weights" if params.adjust else "adjusting is switched off")
    if held.weights.ctr > first.ctr or held.weights.ctr < floor(first, params):
        return Decision(State(first), RESET, "the first weights or their bounds were changed")
    reference = held.reference_ds or ds - dt.timedelta(days=WEEK)
    seen = changes(history, ds, WEEK, reference, params)
    nights = (ds - held.moved_ds).days if held.moved_ds else math.inf
    if CTR not in seen or len(seen) == 1:
        return Decision(held, HELD, "too little was shown, clicked or bought to compare weeks", seen)
    if nights < params.wait:
        return Decision(held, HELD, f"{params.wait - nights} more days until the last move can be judged", seen)
    if fallen := _fallen(seen, params):
        return _lowered(ds, held, seen, fallen, first, params, reference)
    if held.weights != first:
        return _restored(ds, history, held, seen, first, params, nights)
    if held.reference_ds and nights >= params.forget:
        return Decision(State(first), HELD, "calm since the return: the old week is forgotten", seen)
    return Decision(held, HELD, "clicks did not rise while what they lead to fell", seen)


def floor(first: Weights, params: Params) -> float:
    """Least CTR weight."""
    return round(first.ctr * (1 - params.most_change), DIGITS)


def changes(history: History, ds: dt.date, days: int, reference: dt.date, params: Params) -> dict[str, Change]:
    """Change of each rate that can be judged over the ``days`` up to ``ds`` against the week up to ``reference``."""
    recent = [ds - dt.timedelta(days=n) for n in range(days)]
    week = {day.weekday(): day for day in (reference - dt.timedelta(days=n) for n in range(WEEK))}
    pairs = [(history.get(day), history.get(week[day.weekday()])) for day in recent]
    if any(now is None or then is None for now, then in pairs):
        return {}
    found = {}
    for name in OBJECTIVES:
        if all(_enough(side, name, params) for side in zip(*pairs, strict=True)):
            rates = [(now.rates.get(name), then.rates.get(name)) for now, then in pairs]
            if all(now and then for now, then in rates):
                found[name] = _mean([math.log(now / then) for now, then in rates])
    return found


def _enough(side: Sequence[Response], name: str, params: Params) -> bool:
    total = sum(side[1:], start=side[0])
    return total.clicks >= params.least_clicks and (name != CVR or total.purchases >= params.least_purchases)


def _mean(logs: list[float]) -> Change:
    n, mean = len(logs), sum(logs) / len(logs)
    spread = math.sqrt(sum((x - mean) ** 2 for x in logs) / (n - 1) / n)
    half = float(stats.t.ppf(0.975, n - 1)) * spread
    return Change(*(round(math.expm1(x), DIGITS) for x in (mean, mean - half, mean + half)))


def _fallen(seen: Mapping[str, Change], params: Params) -> list[str]:
    """The objectives that surely fell while clicks surely rose."""
    if not (seen[CTR].value >= params.change and seen[CTR].lo > 0):
        return []
    return [n for n in (CVR, DWELL) if n in seen and seen[n].value <= -params.change and seen[n].hi < 0]


def _lowered(
    ds: dt.date,
    held: State,
    seen: Mapping[str, Change],
    fallen: list[str],
    first: Weights,
    params: Params,
    reference: dt.date,
) -> Decision:
    said = _said(seen, [CTR, *fallen])
    least = floor(first, params)
    if held.weights.ctr <= least:
        return Decision(held, HELD, f"{said}: but the CTR weight is at its bound", seen)
    depth = max(-seen[name].value for name in fallen) / params.change - 1
    step = params.least_step + (params.most_step - params.least_step) * min(1.0, depth)
    weights = held.weights.with_ctr(max(least, held.weights.ctr * (1 - step)), fallen)
    state = State(weights, reference, ds, relapses=held.relapses + held.returned)
    taken = 1 - weights.ctr / held.weights.ctr
    return Decision(state, LOWERED, f"{said}: {100 * taken:.1f} % of the CTR weight go to {' and '.join(fallen)}", seen)


def _restored(
    ds: dt.date,
    history: History,
    held: State,
    seen: Mapping[str, Change],
    first: Weights,
    params: Params,
    nights: float,
) -> Decision:
    """A step back to the first weights, where two weeks say that the reason for leaving them is over."""
    patience = (params.wait if held.returned else params.patience) * 2**held.relapses
    if nights < patience:
        return Decision(held, HELD, f"{patience - nights} more days until a return is thought of", seen)
    both = changes(history, ds, 2 * WEEK, held.reference_ds, params)
    gained = [name for name in (CVR, DWELL) if held.weights.of(name) > first.of(name)]
    back = CTR in both and both[CTR].value <= params.recovered
    back |= all(name in both and both[name].value >= -params.recovered for name in gained)
    if not back:
        return Decision(held, HELD, f"{_said(seen, [CTR, *gained])}: neither surely apart nor back", seen)
    ctr = min(first.ctr, held.weights.ctr / (1 - params.most_step))
    # what is left of the way is not worth a step of its own
    ctr = first.ctr if first.ctr - ctr < params.least_step * first.ctr / 2 else ctr
    state = replace(held, weights=held.weights.towards(first, ctr), moved_ds=ds, returned=True)
    said = f"{_said(both, [CTR, *gained])} over two weeks: a step back to the first weights"
    return Decision(state, RESTORED, said, both)


def _said(seen: Mapping[str, Change], names: Sequence[str]) -> str:
    return ", ".join(f"{name.upper()} {seen[name]}" for name in names if name in seen)
