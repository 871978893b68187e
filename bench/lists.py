"""``python -m bench lists [completejourney|simulator] [NIGHT …]``: what lists are worth, beside simple baselines.

The year of completejourney is imported, or a world simulated, and built through some nights. Each night's ranked and
reranked lists, and those of the baselines, are held against what their people took in the days after it: full ranking
over all items that are on offer, people with a list and a target action. Ties go by item. The market's rule of repeats
holds for all: what a user refused or bought within its days, and may not be shown, stands in no baseline's list either.
Candidates are held against each other by the night's own ``audit.recall``: the fused list and the best channel at the
same budget.

Parameters of the baselines were chosen on the nights of May to July of completejourney (docs/models.md), before those
that are measured. The simulated world has a seed of its own, on which nothing is tuned.
"""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from bench.meter import Meter, engine
from bench.worlds import SHOP, WORLDS, import_shop, land
from jobs import steps
from jobs.contract import DayRange
from jobs.lake import Lake
from jobs.landing import landed_days
from jobs.settings import BLOCK_DAYS, load_settings, save_market
from jobs.simulator import WorldConfig
from models.training import TRAIN_DAYS
from models.training_pairs import LABEL_DAYS
from quality import recall_audit
from quality.metrics import per_user
from quality.metrics.coverage import coverage
from quality.metrics.gini import gini

TOP = 10
OURS = {
    "fused": ("candidates.fused", {}),
    "ranked": ("candidates.ranked", {}),
    "reranked": ("serving.recommendations", {"surface": "feed"}),
}
MOST_LOST = 0.05
OVER_BEST = 1.3
"""What the fused list is to hold of what people took, as a multiple of the best single channel."""
HORIZONS = recall_audit.Params().horizons


@dataclass(frozen=True)
class Case:
    """A market whose lists are judged: its nights, the days after each that count, and how far ahead is aimed at."""

    market: str
    nights: tuple[str, ...]
    ahead: int
    aim: float


CASES = {
    SHOP: Case(SHOP, ("2017-08-07", "2017-09-04", "2017-10-02", "2017-10-30"), 14, 1.2),
    "simulator": Case("demo", ("2024-03-14", "2024-03-21"), 7, 1.15),
}


# -- what is judged, and by what -------------------------------------------------------------------


@dataclass(frozen=True)
class Evening:
    """What was known at the end of a day, and what came of it.

    Parameters
    ----------
    ds
        The day of the lists.
    users, items
        Sorted keys: everyone who took anything by then, and what is on offer.
    taken
        Rows of the past: place of user and item, age in days, and how often.
    judged
        Places of the users with a list and something relevant.
    relevant
        bool, judged users x items. What was taken of items that were not on offer yet counts as never found.
    wanted
        How many items each judged user took.
    barred
        bool, judged users x items. What nobody may list: refused, or bought in a category that does not repeat.
    """

    ds: dt.date
    users: np.ndarray
    items: np.ndarray
    taken: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    judged: np.ndarray
    relevant: np.ndarray
    wanted: np.ndarray
    barred: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.users), len(self.items)

    def counts(self, days: int | None = None, half_life: float | None = None) -> sp.csr_array:
        """How often each user took each item in the last ``days``, halved every ``half_life`` days."""
        user, item, age, times = self.taken
        weight = times if half_life is None else times * 0.5 ** (age / half_life)
        some = slice(None) if days is None else age < days
        # implicit takes 32-bit places alone
        places = user[some].astype(np.int32), item[some].astype(np.int32)
        return sp.csr_array((weight[some], places), shape=self.shape)

    def popularity(self, days: int | None = None) -> np.ndarray:
        """Users of each item, and as a fraction below 1 those of all days, for ties."""
        ever = np.diff(self.counts().tocsc().indptr)
        return np.diff(self.counts(days).tocsc().indptr) + ever / (1 + ever.max())


def evening(lake: Lake, ds: dt.date, ahead: int) -> Evening:
    """Read what a night is judged by: the past, and the ``ahead`` days after it."""
    first = lake.days("silver.user_item_daily")[0]
    days = [first + dt.timedelta(days=n) for n in range((ds - first).days + ahead + 1)]
    rows = lake.rows("silver.user_item_daily", ["ds", "user_id", "item_id", "targets"], ds=days)
    user, item, times = (rows[c].to_numpy() for c in ("user_id", "item_id", "targets"))
    age = (np.datetime64(ds) - rows["ds"].to_numpy().astype("datetime64[D]")).astype(int)
    past, future = (age >= 0) & (times > 0), (age < 0) & (times > 0)
    stats = lake.rows("features.item_stats", ["item_id", "is_eligible"], ds=ds)
    items = np.sort(stats["item_id"].to_numpy()[stats["is_eligible"].to_numpy(zero_copy_only=False)])
    users = np.unique(user[past])
    on_offer = past & np.isin(item, items)
    listed = np.unique(lake.rows("candidates.ranked", ["user_id"], ds=ds)["user_id"].to_numpy())
    pairs = np.unique(np.stack([user[future], item[future]], axis=1), axis=0)
    pairs = pairs[np.isin(pairs[:, 0], listed)]
    people, row, wanted = np.unique(pairs[:, 0], return_inverse=True, return_counts=True)
    relevant = np.zeros((len(people), len(items)), bool)
    known = np.isin(pairs[:, 1], items)
    relevant[row[known], np.searchsorted(items, pairs[known, 1])] = True
    places = np.searchsorted(users, user[on_offer]), np.searchsorted(items, item[on_offer])
    taken = (*places, age[on_offer], times[on_offer].astype(float))
    barred = barred_pairs(lake, ds, people, items)
    return Evening(ds, users, items, taken, np.searchsorted(users, people), relevant, wanted, barred)


def barred_pairs(lake: Lake, ds: dt.date, people: np.ndarray, items: np.ndarray) -> np.ndarray:
    """bool, people x items: refused in the last `BLOCK_DAYS` days, or bought where the category does not repeat."""
    days = [ds - dt.timedelta(days=n) for n in range(BLOCK_DAYS)]
    did = lake.rows("silver.user_item_daily", ["user_id", "item_id", "rejections", "purchases"], ds=days)
    of = lake.rows("silver.items", ["item_id", "category"], ds=ds)
    repeating = lake.settings.market.repeat_categories
    returns = of["item_id"].to_numpy()[[c in repeating or "*" in repeating for c in of["category"].to_pylist()]]
    user, item, rejections, purchases = (did[c].to_numpy() for c in did.schema.names)
    out = (rejections > 0) | ((purchases > 0) & ~np.isin(item, returns))
    out &= np.isin(user, people) & np.isin(item, items)
    barred = np.zeros((len(people), len(items)), bool)
    barred[np.searchsorted(people, user[out]), np.searchsorted(items, item[out])] = True
    return barred


def figures(at: Evening, lists: np.ndarray) -> dict[str, float]:
    """NDCG@10, coverage and Gini of ``lists``: places of items, judged users x 10; -1 where a list is shorter."""
    hit = np.take_along_axis(at.relevant, np.maximum(lists, 0), axis=1) & (lists >= 0)
    shown = np.bincount(lists[lists >= 0], minlength=len(at.items))
    found = {"ndcg": float(per_user("ndcg")(hit, at.wanted, TOP).mean())}
    return found | {"coverage": float(coverage(shown)), "gini": float(gini(shown))}


# -- baselines -----------------------------------------------------------------------------------


def first_ten(scores: np.ndarray) -> np.ndarray:
    """Places of the ten greatest scores of each row; of equal ones the first; -1 where nothing has a score."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    return np.where(np.isfinite(np.take_along_axis(scores, best, axis=1)), best, -1)


def by_popularity(days: int) -> Callable[[Evening], np.ndarray]:
    return lambda at: np.tile(at.popularity(days), (len(at.judged), 1))


def by_own_history(days: int | None, half_life: float | None) -> Callable[[Evening], np.ndarray]:
    """Own items by (decayed) count, ties and what is missing by popularity of 28 days."""

    def scores(at: Evening) -> np.ndarray:
        popular = at.popularity(28)
        return at.counts(days, half_life)[at.judged].toarray() + popular / (1e4 * popular.max())

    return scores


def by_own_history_alone(at: Evening) -> np.ndarray:
    """Own items by count, ties by the latest day; whoever has fewer than ten gets a shorter list."""
    user, item, age, _ = at.taken
    counts, latest = at.counts()[at.judged].toarray(), np.full(at.shape, np.inf)
    np.minimum.at(latest, (user, item), age)
    return np.where(counts > 0, counts - latest[at.judged] / 1e4, -np.inf)


def by_item_cf(kind: str, neighbours: int) -> Callable[[Evening], np.ndarray]:
    """`implicit`'s item-CF on counts; ``kind`` is one of its recommenders. An item is a neighbour of itself."""

    def scores(at: Evening) -> np.ndarray:
        from implicit import nearest_neighbours
        from implicit.utils import ParameterWarning

        counts = sp.csr_matrix(at.counts())
        model = getattr(nearest_neighbours, kind)(K=neighbours, num_threads=1)
        with warnings.catch_warnings():
            # the cosine's own normalisation hands over another format, and says so
            warnings.simplefilter("ignore", ParameterWarning)
            model.fit(counts, show_progress=False)
        return np.asarray((counts[at.judged] @ model.similarity).todense())

    return scores


def by_als(factors: int, alpha: float, regularization: float, iterations: int = 8) -> Callable[[Evening], np.ndarray]:
    """`implicit`'s ALS on confidence ``1 + alpha * count``."""

    def scores(at: Evening) -> np.ndarray:
        from implicit.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        confidence = sp.csr_matrix(at.counts(), dtype=np.float32)
        confidence.data = 1 + alpha * confidence.data
        model = AlternatingLeastSquares(
            factors=factors,
            regularization=regularization,
            alpha=1.0,
            iterations=iterations,
            random_state=7,
            num_threads=1,
            use_gpu=False,
        )
        with threadpool_limits(1, "blas"):
            model.fit(confidence, show_progress=False)
        return model.user_factors[at.judged] @ model.item_factors.T

    return scores


ALS = "ALS"
BASELINES: Mapping[str, Callable[[Evening], np.ndarray]] = {
    **{f"popularity of {days} days": by_popularity(days) for days in (1, 7, 28)},
    "own history, 28 days, half-life 7": by_own_history(28, 7.0),
    "own history, 90 days, half-life 30": by_own_history(90, 30.0),
    "own history, all, counts, no popularity": by_own_history_alone,
    "own history, all, counts": by_own_history(None, None),
    "item-CF, cosine": by_item_cf("CosineRecommender", 20),
    "item-CF, counts": by_item_cf("ItemItemRecommender", 5),
    ALS: by_als(256, 10.0, 0.05),
}


# -- ours ----------------------------------------------------------------------------------------


def ours(lake: Lake, at: Evening, subject: str) -> np.ndarray:
    """The first ten places of a table of lists."""
    table, where = OURS[subject]
    rows = lake.rows(table, ["user_id", "item_id", "rank"], ds=at.ds, **where)
    user, item, rank = (rows[c].to_numpy() for c in ("user_id", "item_id", "rank"))
    row = np.searchsorted(at.users[at.judged], user).clip(max=len(at.judged) - 1)
    some = (rank <= TOP) & (at.users[at.judged][row] == user)
    place = np.searchsorted(at.items, item[some]).clip(max=len(at.items) - 1)
    lists = np.full((len(at.judged), TOP), -1)
    lists[row[some], rank[some] - 1] = np.where(at.items[place] == item[some], place, -1)
    return lists


def measure(lake: Lake, nights: list[dt.date], case: Case, meter: Meter) -> None:
    """Print the figures of every night, their means, and the ratios that are aimed at."""
    found: dict[str, list[dict[str, float]]] = {}
    for ds in nights:
        at = evening(lake, ds, case.ahead)
        lists = {name: ours(lake, at, name) for name in OURS}
        lists |= {name: first_ten(np.where(at.barred, -np.inf, scores(at))) for name, scores in BASELINES.items()}
        for name, each in lists.items():
            found.setdefault(name, []).append(figures(at, each))
            meter.figure(f"{ds}.{name}.ndcg@{TOP}", found[name][-1]["ndcg"], f"{len(at.judged)} people")
    mean = {name: {k: float(np.mean([f[k] for f in of])) for k in of[0]} for name, of in found.items()}
    for name, of in mean.items():
        for metric, value in of.items():
            meter.figure(f"mean.{name}.{metric}@{TOP}", value, f"mean of {len(nights)} nights")
    best = max(BASELINES, key=lambda name: mean[name]["ndcg"])
    ratio = mean["ranked"]["ndcg"] / mean[best]["ndcg"]
    meter.figure("ranked / best baseline", ratio, "NDCG@10", f"{best}; aim: {case.aim} at least")
    lost = 1 - mean["reranked"]["ndcg"] / mean["ranked"]["ndcg"]
    meter.figure("lost by reranking", lost, "NDCG@10", f"aim: {MOST_LOST} at most")
    for name in ("ranked", "reranked"):
        for metric, aim in (("coverage", "not below"), ("gini", "not above")):
            meter.figure(f"{name}.{metric}", mean[name][metric], metric, f"aim: {aim} {mean[ALS][metric]:.3f}, ALS's")


def candidates(lake: Lake, nights: list[dt.date], meter: Meter) -> None:
    """Print how much of what people took the fused list holds beside the best channel, from ``audit.recall``."""
    columns = ["list_ds", "horizon_days", "subject", "recall", "n"]
    rows = lake.rows(recall_audit.CONTRACT.name, columns, ds=judging(nights)).to_pylist()
    for horizon in HORIZONS:
        of_nights = []
        for night in nights:
            of = [row for row in rows if (row["list_ds"], row["horizon_days"]) == (night, horizon)]
            if of:
                of_nights.append({row["subject"]: row["recall"] for row in of})
                over_best(f"{night}.", of_nights[-1], horizon, meter, f"{of[0]['n']} people")
        subjects = {subject for of in of_nights for subject in of}
        # a channel that found nothing for anybody on a night has no row of it
        mean = {s: float(np.mean([of.get(s, 0.0) for of in of_nights])) for s in subjects}
        over_best("mean.", mean, horizon, meter, f"{len(of_nights)} nights")


def over_best(prefix: str, recall: Mapping[str, float], horizon: int, meter: Meter, said: str) -> None:
    """Recall by subject as one line; nothing where nobody was judged."""
    best = max((s for s in recall if s != recall_audit.FUSED), key=lambda s: recall[s], default=None)
    if best is not None and recall[best] > 0:
        fused, of = recall.get(recall_audit.FUSED, 0.0), recall[best]
        beside = f"{fused:.3f} / {of:.3f} of {best}, {said}; aim: {OVER_BEST} at least"
        meter.figure(f"{prefix}fused / best channel", fused / of, f"recall@200, {horizon} d", beside)


def judging(nights: list[dt.date]) -> list[dt.date]:
    """The days whose audit judges the candidates of the nights."""
    return sorted({night + dt.timedelta(days=horizon) for night in nights for horizon in HORIZONS})


# -- the nights ----------------------------------------------------------------------------------


def build(nights: list[dt.date], case: Case, meter: Meter) -> None:
    """Silver of all days once; features and training rows only of the days that a night is trained on."""
    settings = load_settings(case.market)
    first = landed_days(settings.landing, case.market, "items")[0]
    whole = DayRange(first, nights[-1] + dt.timedelta(days=case.ahead))
    say = meter.say()
    with steps.opened(case.market, "bench-history") as runner:
        for group in ("bronze", "silver"):
            say(group)
            runner.build_group(runner.catalog.group(group), whole)
        for night in nights:
            since = max(first, night - dt.timedelta(days=TRAIN_DAYS + LABEL_DAYS + 1))
            for group in ("features", "examples"):
                say(f"{night} {group}")
                runner.build_group(runner.catalog.group(group), DayRange(since, night - dt.timedelta(days=1)))
    for night in nights:
        say(f"{night} night")
        steps.night(str(night), case.market, f"bench-{night}")
    say("recall")
    with steps.opened(case.market, "bench-recall") as runner:
        for day in judging(nights):
            runner.build_group([runner.catalog.node(recall_audit.CONTRACT.name)], DayRange.day(day))
    say("done")
    for stage, seconds in meter.stages.items():
        meter.figure(stage, seconds, "s")


def bench(name: str = SHOP, *nights: str) -> None:
    """Land the data, build the nights, and measure them."""
    if name not in CASES:
        raise SystemExit(f"There is no case {name!r}: there are {', '.join(CASES)}.")
    case, meter = CASES[name], Meter(name)
    chosen = [dt.date.fromisoformat(night) for night in nights or case.nights]
    with engine():
        if name == SHOP:
            import_shop()
        else:
            market = land(WorldConfig(**WORLDS["judged"])).market
            # of everybody, so that recall is judged of more than a sample
            save_market(replace(market, params={**market.params, "candidates.recall": {"audited": 1.0}}))
        build(chosen, case, meter)
    lake = Lake(load_settings(case.market))
    measure(lake, chosen, case, meter)
    candidates(lake, chosen, meter)
