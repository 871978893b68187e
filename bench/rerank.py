"""``python -m bench rerank``: how fast lists are reranked, in numpy alone, users per second of processor time.

300 candidates of 64 dimensions are brought to 20 places: in the order of the values, by MMR, by DPP, and by the
whole shipped chain of the feed. Aim: 1,000 users a second for MMR and DPP.
"""

from __future__ import annotations

import datetime as dt
import time

import numpy as np
from threadpoolctl import threadpool_limits

from bench.meter import figure, peak_memory
from jobs.settings import Market
from models.pool import SCALE, Pool, Shelf, Touched
from models.reranking import rerank
from models.reranking_batches import USERS_AT_ONCE
from models.rules.rule import chain
from models.surfaces import Surface, surfaces

ITEMS, CANDIDATES, DIMENSIONS, LENGTH = 20_000, 300, 64, 20
USERS = 20 * USERS_AT_ONCE
AIM = "aim: 1,000 users/s/core"


def shelf(rng: np.random.Generator) -> Shelf:
    """Random items of 20 categories, 2,000 creators and 200 topics."""
    vectors = rng.normal(size=(ITEMS, DIMENSIONS))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    coded = {"category": 20, "creator": 2_000, "topic": 200}
    columns = {name: rng.integers(0, n, ITEMS).astype(np.int32) for name, n in coded.items()}
    columns |= {name: rng.random(ITEMS) for name in ("quality", "effort")}
    columns |= {name: rng.random(ITEMS) < share for name, share in (("long_tail", 0.8), ("novice", 0.6))}
    columns |= {
        "regions": np.full(ITEMS, -1, dtype=np.int32),
        "age_limit": np.zeros(ITEMS, dtype=np.int32),
        "age_days": rng.integers(0, 200, ITEMS).astype(float),
        "on_offer": np.ones(ITEMS, dtype=bool),
    }
    names = {name: [str(i) for i in range(n)] for name, n in coded.items()} | {"regions": []}
    return Shelf(np.arange(ITEMS), columns, names, np.rint(vectors * SCALE).astype(np.int8))


def pool(of: Shelf, rng: np.random.Generator) -> Pool:
    shape = (USERS_AT_ONCE, CANDIDATES)
    touches = 40 * USERS_AT_ONCE
    user = np.sort(rng.integers(0, USERS_AT_ONCE, touches))
    counts = [rng.integers(0, most, touches) for most in (7, 3, 2, 2)]
    touched = Touched(user, rng.integers(0, ITEMS, touches), *counts, np.full(touches, "", dtype=object))
    scores = -np.sort(-rng.random(shape), axis=1)
    heads = {"score": scores, **{name: np.full(shape, np.nan) for name in ("pctr", "pcvr", "relevance")}}
    return Pool(
        day=dt.date(2024, 3, 10),
        context="usual",
        shelf=of,
        user_id=rng.integers(0, 2**62, USERS_AT_ONCE),
        at=np.argsort(rng.random((USERS_AT_ONCE, ITEMS)), axis=1)[:, :CANDIDATES],
        present=np.ones(shape, dtype=bool),
        heads=heads,
        touched=touched,
        region=np.full(USERS_AT_ONCE, None, dtype=object),
        least_age=np.full(USERS_AT_ONCE, np.nan),
        curated=np.full(shape, np.nan),
        injected=np.zeros(shape, dtype=bool),
        own=np.zeros(shape, dtype=bool),
        barred=np.zeros(shape, dtype=bool),
        signals=np.ones((USERS_AT_ONCE, 1)),
    )


def bench() -> None:
    rng = np.random.default_rng(7)
    of = shelf(rng)
    pools = [pool(of, rng) for _ in range(USERS // USERS_AT_ONCE)]
    feed = surfaces(Market("demo"))["feed"]
    chains = {
        "by_value": Surface("bench", rules={}),
        "mmr": Surface("bench", rules={"mmr": {"relevance": 0.9}}),
        "dpp": Surface("bench", rules={"dpp": {"relevance": 0.9}}),
        "feed_chain": feed,
    }
    with threadpool_limits(1):
        for name, surface in chains.items():
            rules = chain(surface.rules, "bench")
            rerank(pools[0], surface, rules)
            started = time.process_time()
            for each in pools:
                each.forget()
                rerank(each, surface, rules)
            rate = USERS / (time.process_time() - started)
            size = f"{CANDIDATES} to {LENGTH}, {DIMENSIONS} dimensions"
            figure(f"rerank.{name}", rate, "users/s/core", size, AIM if name in ("mmr", "dpp") else None)
    figure("rerank.peak_memory", peak_memory(), "GiB", f"{len(pools)} pools of {USERS_AT_ONCE} users, {ITEMS} items")
