"""What people say: reviews, texts to customer service and answers to surveys."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from jobs.simulator import columns
from jobs.simulator.actions import Sales, key_of
from jobs.simulator.behaviour import BlockDay
from jobs.simulator.config import DAY_MS, Stream
from jobs.simulator.people import LANGUAGES
from jobs.simulator.vocabulary import CATEGORY_NAMES, complaint, opinion

REVIEW_RATE, REVIEW_RATE_OF_CLICKS, COMPLAINT_RATE = 0.25, 0.01, 0.6
NPS_RATE, INTERESTS_RATE = 0.006, 0.006


def reviews(day: BlockDay, sales: Sales) -> pa.Table:
    """Reviews of purchases and of clicks that pleased or annoyed, and complaints ahead of refunds."""
    rng = day.sheet.world.config.rng(Stream.FEEDBACK, day.sheet.day, day.block, 4)
    shown, items = day.shown, day.sheet.world.items
    strong = shown.clicked & (np.abs(day.satisfaction - 0.5) > 0.35)
    browsed = np.flatnonzero(strong & (rng.random(len(strong)) < REVIEW_RATE_OF_CLICKS))
    bought = sales.row[rng.random(len(sales.row)) < REVIEW_RATE]
    sorry = sales.row[(sales.refunded > 0) & (rng.random(len(sales.row)) < COMPLAINT_RATE)]
    rows = np.concatenate([browsed, bought, sorry])
    service = np.arange(len(rows)) >= len(browsed) + len(bought)
    person, item, liking = shown.person[rows], shown.slates.item[rows], day.satisfaction[rows]
    language, topic = day.people.language[person], items.topic[item]
    picks = rng.integers(0, 1 << 20, len(rows))
    texts = [
        complaint(int(pick), LANGUAGES[code], int(subject))
        if asks
        else opinion(int(pick), LANGUAGES[code], float(content), int(subject))
        for pick, code, subject, content, asks in zip(picks, language, topic, liking, service, strict=True)
    ]
    stars = np.clip(np.round(5 * liking + rng.normal(0, 0.4, len(rows))), 1, 5)
    at = np.minimum(shown.at[rows] + rng.integers(600_000, 7_200_000, len(rows)), day.sheet.end_ms)
    return columns.table(
        "reviews",
        {
            "review_id": key_of(day, "t", np.arange(len(rows))),
            "user_id": columns.user_ids(day.people.index[person]),
            "item_id": columns.item_ids(item),
            "at": columns.instants(at),
            "channel": columns.named(("review", "service"), service.astype(int)),
            "text": pa.array(texts, pa.string()),
            "rating": columns.real(np.where(service, np.nan, stars), 1),
            "language": columns.named(LANGUAGES, language),
        },
    )


def surveys(day: BlockDay) -> pa.Table:
    """Net promoter scores, which follow the day's satisfaction, and stated interests, of which one is a guess."""
    rng = day.sheet.world.config.rng(Stream.FEEDBACK, day.sheet.day, day.block, 5)
    n, start = len(day.people), day.sheet.world.config.midnight_ms(day.sheet.day)
    clicks = np.bincount(day.shown.person[day.shown.clicked], minlength=n)
    liked = np.bincount(day.shown.person[day.shown.clicked], day.satisfaction[day.shown.clicked], minlength=n)
    content = (liked + 0.5) / (clicks + 1)
    nps = np.flatnonzero(rng.random(n) < NPS_RATE)
    told = np.flatnonzero(rng.random(n) < INTERESTS_RATE)
    score = np.clip(np.round(2 + 9 * content[nps] + rng.normal(0, 1.2, len(nps))), 0, 10).astype(int)
    best = np.argsort(-day.taste.mix[told], axis=1, kind="stable")[:, :3]
    guess = rng.integers(0, len(CATEGORY_NAMES), len(told))
    answers = [
        "|".join(dict.fromkeys(CATEGORY_NAMES[c] for c in (*row, extra)))
        for row, extra in zip(best, guess, strict=True)
    ]
    person = np.concatenate([nps, told])
    return columns.table(
        "surveys",
        {
            "survey_id": key_of(day, "s", np.arange(len(person))),
            "user_id": columns.user_ids(day.people.index[person]),
            "at": columns.instants(start + rng.integers(8 * DAY_MS // 24, DAY_MS, len(person))),
            "kind": columns.named(("nps", "interests"), np.repeat([0, 1], [len(nps), len(told)])),
            "score": columns.whole(np.concatenate([score, np.full(len(told), -1)])),
            "answer": pa.array([None] * len(nps) + answers, pa.string()),
        },
    )
