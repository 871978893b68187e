from __future__ import annotations

import math

import numpy as np

from features.item_content import CONTRACT, Params, build
from jobs.contract import DayRange
from jobs.runner import conform

ITEMS = "ds date, item_id bigint, title string, description string, category string, subcategory string, brand string"
DS = "2024-03-10"


def item(item_id, title, category="shoes", description=None, ds=DS):
    return (ds, item_id, title, description, category, None, None)


def vectors(frame, *items, **params):
    made = build(frame(ITEMS, list(items)), days=DayRange.day(DS), params=Params(**params))
    return {r["item_id"]: r for r in conform(CONTRACT, made).collect()}


def cosine(found, a, b):
    return float(np.dot(found[a]["vector"], found[b]["vector"]))


def test_equal_texts_give_equal_unit_vectors(frame):
    found = vectors(frame, item(1, "Red running shoe"), item(2, "red RUNNING   shoe!"), item(3, "Kettle", "kitchen"))
    assert found[1]["vector"] == found[2]["vector"]
    assert all(math.isclose(np.linalg.norm(r["vector"]), 1, abs_tol=1e-5) for r in found.values())


def test_related_words_are_nearer(frame):
    found = vectors(
        frame,
        item(1, "red running shoe"),
        item(2, "blue running shoe"),
        item(3, "steel water kettle", "kitchen"),
        dimensions=1024,
    )
    assert cosine(found, 1, 2) > cosine(found, 1, 3) + 0.3


def test_a_rare_word_weighs_more_than_one_in_every_text(frame):
    # 1 and 2 share the rare word, 1 and 3 a frequent one
    found = vectors(
        frame,
        item(1, "quartz lamp"),
        item(2, "quartz rug"),
        item(3, "lamp sofa"),
        item(4, "lamp desk"),
        item(5, "lamp bed"),
        item(6, "lamp chair"),
        dimensions=1024,
    )
    assert cosine(found, 1, 2) > cosine(found, 1, 3)


def test_words_count_once_and_the_category_is_a_word_of_its_own(frame):
    # red, shoe, shoes and the tag category=shoes
    assert vectors(frame, item(1, "red red shoe"))[1]["words"] == 4


def test_texts_in_other_scripts_have_words(frame):
    found = vectors(frame, item(1, "红色 跑鞋", "鞋"), item(2, "красный чайник", "кухня"), dimensions=1024)
    assert (found[1]["words"], found[2]["words"]) == (4, 4)
    assert abs(cosine(found, 1, 2)) < 0.3


def test_the_vector_has_the_asked_dimensions(frame):
    assert len(vectors(frame, item(1, "red"), dimensions=16)[1]["vector"]) == 16


def test_words_of_other_days_do_not_change_the_weights(frame):
    alone = vectors(frame, item(1, "red shoe"), item(2, "blue shoe"))
    beside = [
        r
        for r in conform(
            CONTRACT,
            build(
                frame(
                    ITEMS,
                    [item(1, "red shoe"), item(2, "blue shoe"), *[item(i, "red", ds="2024-03-11") for i in range(9)]],
                ),
                days=DayRange.day(DS),
                params=Params(),
            ),
        ).collect()
        if str(r["ds"]) == DS
    ]
    assert {r["item_id"]: r["vector"] for r in beside} == {i: r["vector"] for i, r in alone.items()}
