"""Pipelines side by side: what running experiments change of surfaces, quotas and ranker, and for whom.

An experiment's variant may have a pipeline of its own, laid over the market's::

    experiments:
      running:
        diverse_feed:
          layer: reranking
          …
          pipeline:
            treatment:
              surfaces: {feed: {quotas: {long_tail: 30}, rules: {mmr: {relevance: 0.8}}}}
              order_by: fusion
              ranker: challenger

The people of that variant get candidates by its quotas, are scored by its ranker and order, and get lists by its rules,
in the same night and the same tables. Their context is ``<context>@<experiment>.<variant>``, so every log tells whose
lists they are. Lists of a night are shown on the next day: the experiments that run on that day count.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F

from jobs.errors import SettingsError
from jobs.settings import Market
from models.surfaces import USUAL, Surface, merged, surfaces
from quality.experiments.design import Experiment, design_of

OPTIONS = ("surfaces", "order_by", "ranker")
RANKERS = ("champion", "challenger")
ORDERS = ("rank", "pctr", "fusion")


@dataclass(frozen=True)
class Pipeline:
    """A configuration of the steps from candidates to lists.

    Parameters
    ----------
    key
        ``experiment.variant`` of every experiment that changes something, joined by ``+``; empty for the market's own.
    surfaces
        By name, with what the variants change.
    order_by, ranker
        What orders candidates (None: as the market says), and which model scores them.
    """

    key: str
    surfaces: Mapping[str, Surface]
    order_by: str | None = None
    ranker: str = RANKERS[0]

    def named(self, context: str) -> str:
        """A context's name in this pipeline."""
        return f"{context}@{self.key}" if self.key else context


def pipelines(market: Market, ds: dt.date) -> tuple[Pipeline, ...]:
    """Every pipeline of the night ``ds``, the market's own first.

    Raises
    ------
    SettingsError
        A variant's pipeline has an option that there is not, or a value that does not fit.
    """
    changes = [
        [("", {}), *((f"{e.name}.{name}", _checked(market, e, name)) for name in e.pipeline)]
        for e in _changing(market, ds)
    ]
    made = []
    for chosen in product(*changes):
        options: dict[str, Any] = {}
        for _, more in chosen:
            options = merged(options, more)
        own = surfaces(market, options.pop("surfaces", {}))
        made.append(Pipeline("+".join(key for key, _ in chosen if key), own, **options))
    for each in made:
        if set(each.surfaces) != set(made[0].surfaces):
            raise SettingsError(
                f"Market {market.name}, pipeline {each.key}: it has the surfaces {sorted(each.surfaces)}, but the "
                f"market has {sorted(made[0].surfaces)}: a variant changes surfaces, it neither adds nor removes one."
            )
    return tuple(made)


def pipeline_of(market: Market, ds: dt.date, user_id: Column) -> Column:
    """The key of a user's pipeline."""
    design = design_of(market)
    parts = []
    for experiment in _changing(market, ds):
        variant = design.variant_column(experiment, user_id)
        named = F.concat(F.lit(f"{experiment.name}."), variant)
        parts.append(F.when(variant.isin(*experiment.pipeline), named))
    # concat_ws leaves out what is null
    return F.concat_ws("+", *parts) if parts else F.lit("")


def by_pipeline(market: Market, ds: dt.date, user_id: Column, value: Callable[[Pipeline], Column]) -> Column:
    """What each user's pipeline says; one literal where there is only one."""
    own, *others = pipelines(market, ds)
    key, found = pipeline_of(market, ds, user_id), value(own)
    for other in others:
        found = F.when(key == other.key, value(other)).otherwise(found)
    return found


def plans(market: Market, ds: dt.date) -> dict[tuple[str, str], Surface]:
    """By name of surface and of context: the surface under all options that hold there."""
    return {
        (name, pipeline.named(context)): surface.under(context)
        for pipeline in pipelines(market, ds)
        for name, surface in pipeline.surfaces.items()
        for context in (USUAL, *surface.contexts)
    }


def _changing(market: Market, ds: dt.date) -> list[Experiment]:
    """Experiments with a pipeline that run on the day on which the lists of ``ds`` are shown."""
    return [e for e in design_of(market).on(ds + dt.timedelta(days=1)) if e.pipeline]


def _checked(market: Market, experiment: Experiment, variant: str) -> dict[str, Any]:
    options, where = experiment.pipeline[variant], f"Market {market.name}, experiment {experiment.name}, {variant}"
    if unknown := sorted(set(options) - set(OPTIONS)):
        raise SettingsError(f"{where}: a pipeline has no option {unknown[0]!r}; it has {list(OPTIONS)}.")
    for option, known in (("order_by", ORDERS), ("ranker", RANKERS)):
        if options.get(option, known[0]) not in known:
            raise SettingsError(f"{where}: {option} is {options[option]!r}, but must be one of {list(known)}.")
    if not isinstance(options.get("surfaces", {}), Mapping):
        raise SettingsError(f"{where}: surfaces maps surfaces to options, it is {options['surfaces']!r}.")
    return dict(options)
