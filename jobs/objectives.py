"""The fusion weights of each day and content type: decided once a night, logged, read by the ranking of that day.

The law is `models.objective_weights`; this is its memory. As with the pinned model, a day keeps what it has, and a day
before the newest one gets what the nearest earlier day had, so that a backfill ranks as its day did.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from jobs import ops
from jobs.contract import make_params
from jobs.errors import ContractError
from jobs.lake import Lake
from jobs.publishing import now_ms
from jobs.settings import Settings
from models.objective_weights import (
    OBJECTIVES,
    RESET,
    WEEK,
    Decision,
    History,
    Params,
    Response,
    State,
    Weights,
    decide,
)
from models.ranked import Params as Ranking
from models.served_order import ServedOrder
from models.variants import pipelines

TABLE = "silver.content_daily"
OPTIONS = "models.objective_weights"
Row = dict[str, Any]


def pin(settings: Settings, ds: dt.date, run_id: str) -> list[Row]:
    """The weights of a day by content type; those of a new day are decided on the feedback up to it, and logged."""
    lake = Lake(settings)
    log = lake.rows(ops.OBJECTIVE_WEIGHTS.name).to_pylist()
    if held := newest(log, ds):
        return list(held.values())
    if any(row["ds"] > ds for row in log):
        earlier = [row["ds"] for row in log if row["ds"] < ds]
        kept = newest(log, max(earlier)) if earlier else {}
        rows = [{**row, "ds": ds, "run_id": run_id, "at_ms": now_ms()} for row in kept.values()]
    else:
        rows = _decided(settings, lake, log, ds, run_id)
    lake.append(ops.OBJECTIVE_WEIGHTS, rows)
    return rows


def reset(settings: Settings, ds: dt.date, content_type: str, reason: str, run_id: str) -> Row:
    """Give a content type the first weights again, from ``ds`` on, on purpose and on record.

    Raises
    ------
    ContractError
        There is no reason, or the day has no weights of that type.
    """
    if not reason.strip():
        raise ContractError(f"Weights of {ds} are reset with a reason only: say why in --reason.")
    lake = Lake(settings)
    held = newest(lake.rows(ops.OBJECTIVE_WEIGHTS.name).to_pylist(), ds)
    if content_type not in held:
        raise ContractError(f"{ds} has no weights of content type {content_type!r}; it has those of {sorted(held)}.")
    made = _row(ds, content_type, Decision(State(first_weights(settings)), RESET, reason), {}, settings, run_id)
    lake.append(ops.OBJECTIVE_WEIGHTS, [made])
    return made


def newest(log: Iterable[Row], ds: dt.date) -> dict[str, Row]:
    """The rows that hold on a day, by content type."""
    found: dict[str, Row] = {}
    for row in sorted((r for r in log if r["ds"] == ds), key=lambda r: r["at_ms"]):
        found[row["content_type"]] = row
    return dict(sorted(found.items()))


def served_order(settings: Settings, ds: dt.date) -> ServedOrder:
    """What orders lists on a day, with the newest weights up to it."""
    log = [row for row in Lake(settings).rows(ops.OBJECTIVE_WEIGHTS.name).to_pylist() if row["ds"] <= ds]
    newest_ds = max((row["ds"] for row in log), default=ds)
    return ServedOrder.of_day(_options(settings).order_by, first_weights(settings), newest(log, newest_ds).values())


def in_force(settings: Settings, ds: dt.date) -> bool:
    """Whether any list of the night is ordered by the weights; else they are decided and logged, and change nothing."""
    own = _options(settings).order_by
    return any((pipeline.order_by or own) == "fusion" for pipeline in pipelines(settings.market, ds))


def first_weights(settings: Settings) -> Weights:
    """The weights that the market starts with: options of ``candidates.ranked``."""
    options = _options(settings)
    return Weights(options.ctr, options.cvr, options.dwell)


def _options(settings: Settings) -> Ranking:
    market = settings.market
    return make_params(Ranking, dict(market.params.get("candidates.ranked", {})), f"market {market.name}")


def _decided(settings: Settings, lake: Lake, log: list[Row], ds: dt.date, run_id: str) -> list[Row]:
    market = settings.market
    params = make_params(Params, dict(market.params.get(OPTIONS, {})), f"market {market.name}, {OPTIONS}")
    last = max((row["ds"] for row in log), default=None)
    states = {name: _state(row) for name, row in newest(log, last).items()} if last else {}
    known = _histories(lake, ds, [s.reference_ds for s in states.values() if s.reference_ds])
    rows = []
    for name in sorted(known.keys() | states.keys()):
        history = known.get(name, {})
        decision = decide(ds, history, states.get(name), first_weights(settings), params)
        rows.append(_row(ds, name, decision, history, settings, run_id))
    return rows


def _histories(lake: Lake, ds: dt.date, references: Iterable[dt.date]) -> dict[str, History]:
    """By content type its days: two weeks up to ``ds``, and those of the reference weeks."""
    days = {ds - dt.timedelta(days=n) for n in range(2 * WEEK)}
    days |= {end - dt.timedelta(days=n) for end in references for n in range(WEEK)}
    found: dict[str, dict[dt.date, Response]] = defaultdict(dict)
    for row in lake.rows(TABLE, ds=sorted(days)).to_pylist():
        counts = Response(row["impressions"], row["clicks"], row["purchases"], row["dwell_ms"] / 1000)
        found[row["content_type"]][row["ds"]] = counts
    return dict(found)


def _state(row: Mapping[str, Any]) -> State:
    weights = Weights(*(row[name] for name in OBJECTIVES))
    return State(weights, row["reference_ds"], row["moved_ds"], bool(row["returned"]), row["relapses"])


def _row(ds: dt.date, name: str, decision: Decision, history: History, settings: Settings, run_id: str) -> Row:
    state, first = decision.state, first_weights(settings)
    week = [history[day] for n in range(WEEK) if (day := ds - dt.timedelta(days=n)) in history]
    rates = sum(week[1:], start=week[0]).rates if week else {}
    changes = {n: decision.changes[n] for n in OBJECTIVES if n in decision.changes}
    return {
        "ds": ds,
        "content_type": name,
        **asdict(state.weights),
        **{f"first_{n}": first.of(n) for n in OBJECTIVES},
        "move": decision.move,
        "reason": decision.reason,
        **{f"{n}_rate": round(value, 6) for n, value in rates.items()},
        **{f"{n}_change": change.value for n, change in changes.items()},
        **{f"{n}_lo": change.lo for n, change in changes.items()},
        **{f"{n}_hi": change.hi for n, change in changes.items()},
        "reference_ds": state.reference_ds,
        "moved_ds": state.moved_ds,
        "returned": state.returned,
        "relapses": state.relapses,
        "run_id": run_id,
        "at_ms": now_ms(),
    }
