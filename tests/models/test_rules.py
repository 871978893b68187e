"""The contract of every rule of the lists, present and future, and what each of them does in a planted pool."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml

from jobs.errors import SettingsError
from jobs.settings import Market
from models.pool import Pool
from models.reranking import HELD_BACK, RELAXED, REMOVED, TAKEN, Lists, rerank
from models.rules.rule import chain, discover_rules
from models.surfaces import Surface, surfaces
from tests.models.pools import pool, shelf, touched

RULES = discover_rules()
FEED = surfaces(Market("demo"))["feed"]


def listed(of: Pool, length: int = 4, ad_slots=(), **rules) -> tuple[list[list[int]], Lists]:
    """Items of each user's list (the pool's candidates are items 0, 1, …), and all that was decided."""
    surface = Surface("here", length=length, ad_slots=ad_slots, rules=rules)
    made = rerank(of, surface, chain(rules, "Surface here"))
    return [[int(of.at[u, c]) for c in row if c >= 0] for u, row in enumerate(made.chosen)], made


def effects(made: Lists, action: str) -> set[tuple]:
    """``(rule, user, candidate, place)`` of every effect of a kind."""
    return {
        (e.rule, int(u), int(c), e.place)
        for e in made.effects
        if e.action == action
        for u, c in zip(e.user, e.candidate)
    }


# -- every rule ----------------------------------------------------------------------------------


def world(users: int, seed: int = 3) -> Pool:
    """Sixty different items, candidates of each user in an order of their own, and a week of touches."""
    rng = np.random.default_rng(seed)
    items = [
        {
            "category": "abcdef"[rng.integers(6)],
            "creator": f"m{rng.integers(12)}",
            "topic": f"t{rng.integers(9)}",
            "regions": [None, "north|south"][rng.random() < 0.1],
            "quality": round(float(rng.random()), 3),
            "effort": round(float(rng.random()), 3),
            "age_days": float(rng.integers(0, 40)),
            "long_tail": bool(rng.random() < 0.5),
            "novice": bool(rng.random() < 0.3),
            "on_offer": bool(rng.random() < 0.9),
        }
        for _ in range(60)
    ]
    did = [
        {
            "user": int(user),
            "at": int(rng.integers(60)),
            "age": int(rng.integers(7)),
            "shown": int(rng.integers(4)),
            "bought": int(rng.random() < 0.2),
            "told": ["", "not_interested", "block_author", "already_purchased"][rng.integers(4)],
        }
        for user in range(users)
        for _ in range(5)
    ]
    vectors = rng.normal(size=(60, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    curated = np.where(rng.random((users, 60)) < 0.05, 1.0, np.nan)
    scores = np.linspace(1, 0, 60)
    injected = rng.random((users, 60)) < 0.05
    region = np.array(["north"] * users)
    own = rng.random((users, 60)) < 0.1
    masks = {"curated": curated, "injected": injected, "own": own}
    made = pool(shelf(items, vectors), users, scores, did=did, region=region, **masks)
    made.at = np.array([rng.permutation(60) for _ in range(users)])
    return made


def part(of: Pool, rows: np.ndarray, spare: int = 0) -> Pool:
    """Some users of a pool, with ``spare`` columns that hold no candidate."""

    def cut(values, fill):
        return np.pad(values[rows], ((0, 0), (0, spare)), constant_values=fill)

    number = {old: new for new, old in enumerate(rows)}
    mine = of.touched.where(np.isin(of.touched.user, rows))
    order = np.argsort([number[u] for u in mine.user], kind="stable")
    mine = mine.where(order)
    moved = type(mine)(np.array([number[u] for u in mine.user]), *(getattr(mine, f.name) for f in fields(mine)[1:]))
    return Pool(
        of.day,
        of.context,
        of.shelf,
        of.user_id[rows],
        cut(of.at, 0),
        cut(of.present, False),
        {name: cut(values, np.nan) for name, values in of.heads.items()},
        moved,
        of.region[rows],
        of.least_age[rows],
        cut(of.curated, np.nan),
        cut(of.injected, False),
        cut(of.own, False),
        cut(of.barred, False),
        of.signals[rows],
    )


@pytest.mark.parametrize("name", [*RULES, "the whole chain"])
class TestEveryRule:
    def rules(self, name) -> dict:
        return dict(FEED.rules) if name == "the whole chain" else {name: {}}

    def test_lists_hold_different_candidates_of_the_user(self, name):
        of = world(30)
        _, made = listed(of, 20, **self.rules(name))
        for user, row in enumerate(made.chosen):
            placed = row[row >= 0]
            assert len(set(placed)) == len(placed) > 0
            assert of.open[user, placed].all()

    def test_who_is_beside_a_user_and_how_wide_the_pool_is_does_not_matter(self, name):
        of, rules = world(30), self.rules(name)
        whole, _ = listed(of, 20, **rules)
        rows = np.array([17, 4, 29, 11])
        some, _ = listed(part(of, rows, spare=13), 20, **rules)
        assert some == [whole[row] for row in rows]

    def test_the_same_pool_again_gives_the_same_lists_and_log(self, name):
        first, again = (listed(world(12), 20, **self.rules(name)) for _ in range(2))
        assert first[0] == again[0]
        assert all(effects(first[1], a) == effects(again[1], a) for a in (REMOVED, HELD_BACK, TAKEN, RELAXED))

    def test_nobody_and_nothing_to_choose_from_are_no_trouble(self, name):
        of, rules = world(4), self.rules(name)
        assert listed(part(of, np.array([], dtype=int)), 20, **rules)[0] == []
        of.present[2] = False
        of.forget()
        found, _ = listed(of, 20, **rules)
        assert found[2] == [] and found[1] != []

    def test_every_effect_names_the_rule_and_says_why(self, name):
        _, made = listed(world(30), 20, **self.rules(name))
        for effect in made.effects:
            assert effect.rule in self.rules(name)
            assert all(why.strip() for why in np.broadcast_to(effect.why, len(effect.user)))
        removed = effects(made, REMOVED)
        assert not {(u, c) for _, u, c, _ in removed} & {(u, c) for u, row in enumerate(made.chosen) for c in row}


@pytest.mark.parametrize("name", RULES)
def test_an_option_that_it_does_not_know_is_named(name):
    with pytest.raises(SettingsError, match=rf"Surface here, rule {name}: unknown option \['colour'\]"):
        chain({name: {"colour": 1}}, "Surface here")


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"luck": {}}, r"Surface here: there is no rule \['luck'\]; there are"),
        ({"mmr": {}, "dpp": {}}, r"\['mmr', 'dpp'\] both order by what is placed already"),
        ({"mmr": {"relevance": 2.0}}, "Rule mmr: relevance is from 0 to 1"),
        ({"dpp": {"relevance": -1.0}}, "Rule dpp: relevance is from 0 to 1"),
        # every surface's candidates come without what was refused or bought: a surface cannot have it back sooner
        ({"negative_feedback": {"days": 3}}, r"rule negative_feedback: unknown option \['days'\]"),
        ({"repeats": {"bought_days": 3}}, r"rule repeats: unknown option \['bought_days'\]"),
        ({"repeats": {"clicked_days": {"shoes": 9}}}, "Rule repeats: days are from 0 to 7"),
        ({"repeat_guard": {"times": 0}}, "Rule repeat_guard: times is 1 or more"),
        ({"quality_floor": {"floor": 1.5}}, "Rule quality_floor: floor is from 0 to 1"),
        ({"category_share": {"share": 0.5}}, "Rule category_share: 0 < share <= ceiling <= 1"),
        ({"distance": {"creator": 0}}, "Rule distance: distances are 1 or more"),
        ({"effort": {"prefer": "nicer"}}, "Rule effort: prefer is one of"),
        ({"guarantee": {"long_tail": -1}}, "Rule guarantee: numbers are 0 or more"),
        ({"curated": {"places": [0]}}, "Rule curated: places are from 1 on"),
        ({"explore": {"arms": ["luck"]}}, "Rule explore: arms are some of"),
        ({"explore": {"floor": 0.5}}, "Rule explore: floor is above 0 and at most 0.25"),
        ({"explore": {"policy": "hope"}}, "Rule explore: policy is one of"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(rules, said):
    with pytest.raises(SettingsError, match=said):
        chain(rules, "Surface here")


def test_the_page_on_lists_has_every_rule_with_its_options():
    page = (Path(__file__).parents[2] / "docs" / "lists.md").read_text()
    for name, rule in RULES.items():
        row = re.search(rf"^\| `{name}` \|.*$", page, re.MULTILINE)
        options = [f.name for f in fields(rule)]
        assert row and all(f"`{option}`" in row[0] for option in options if name != "explore"), name


def test_the_market_file_of_the_page_is_read():
    page = (Path(__file__).parents[2] / "docs" / "lists.md").read_text()
    options = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    made = surfaces(Market("demo", **options))
    assert made["feed"].length == 30 and made["basket"].under("usual").objective["quality"] == 0.5
    assert [r.name for r in chain(made["basket"].rules, "basket")] == ["eligibility", "negative_feedback", "repeats"]


def test_every_rule_of_the_shipped_surfaces_fits_in_every_context():
    for surface in surfaces(Market("demo")).values():
        for context in ("usual", *surface.contexts):
            assert chain(surface.under(context).rules, context)


# -- what each does ------------------------------------------------------------------------------


def test_without_rules_a_list_is_in_the_order_of_the_objective():
    assert listed(pool([{}] * 6))[0] == [[0, 1, 2, 3]]
    assert listed(pool([{}] * 6, scores=[1, 5, 3, 4, 2, 0]))[0] == [[1, 3, 2, 4]]
    of = pool([{"quality": q} for q in (0.1, 0.9, 0.5)], scores=[3, 2, 1])
    surface = Surface("here", length=3, objective={"score": 1.0, "quality": 3.0})
    assert rerank(of, surface, []).chosen.tolist() == [[1, 2, 0]]  # 1, 0.5 + 3, 0 + 1.5


def test_what_channels_found_that_do_not_count_here_is_removed_and_the_log_says_so():
    barred = np.zeros((1, 6), dtype=bool)
    barred[0, [0, 2]] = True
    found, made = listed(pool([{}] * 6, barred=barred))
    assert found == [[1, 3, 4, 5]]
    assert effects(made, REMOVED) == {("without", 0, 0, -1), ("without", 0, 2, -1)}


def test_places_for_ads_stay_free():
    found, made = listed(pool([{}] * 6), length=5, ad_slots=(2, 4))
    assert found == [[0, 1, 2]] and list(made.places) == [0, 2, 4]


def test_eligibility_needs_an_offer_and_proof_of_region_and_age():
    items = [
        {},
        {"on_offer": False},
        {"regions": "north|south"},
        {"regions": "west"},
        {"age_limit": 18},
        {"regions": ""},
    ]
    region, age = np.array(["north", None, "nor", "west"], dtype=object), np.array([18, np.nan, 17, 40])
    found, made = listed(pool(items, 4, region=region, least_age=age), length=6, eligibility={})
    assert found == [[0, 2, 4], [0], [0], [0, 3, 4]]
    assert ("eligibility", 2, 4, -1) in effects(made, REMOVED)


def test_negative_feedback_acts_on_the_item_or_on_all_of_its_author():
    items = [{"creator": "a"}, {"creator": "a"}, {"creator": "b"}, {}, {}, {"creator": "b"}]
    did = [
        {"at": 1, "age": 6, "told": "block_author"},
        {"at": 2, "told": "not_interested"},
        {"at": 3, "told": "block_author"},
        {"at": 5, "age": 7, "told": "not_interested"},
        {"user": 1, "at": 4, "told": "already_purchased"},
        {"user": 1, "at": 0, "told": "dislike"},
    ]
    found, made = listed(pool(items, 2, did=did), length=6, negative_feedback={})
    # 3 has no author: it is out itself, 4 stays; what was said of 5 is too long ago
    assert found == [[4, 5], [1, 2, 3, 5]]
    assert {e.why for e in made.effects} >= {"the user blocked its author", "the user said dislike"}


def test_what_was_bought_returns_only_where_the_market_lets_it():
    items = [{"category": "shoes"}, {"category": "food"}, {"category": None}, {"category": "shoes"}]
    did = [{"at": at, "bought": 1, "age": 6} for at in (0, 1, 2)]
    assert listed(pool(items, did=did), repeats={})[0] == [[3]]
    assert listed(pool(items, did=did, repeat_categories=("food",)), repeats={})[0] == [[1, 3]]
    assert listed(pool(items, did=did, repeat_categories=("*",)), repeats={})[0] == [[0, 1, 2, 3]]
    # a week is over
    did = [{**each, "age": 7} for each in did]
    assert listed(pool(items, did=did), repeats={})[0] == [[0, 1, 2, 3]]


def test_what_was_clicked_rests_by_category():
    items = [{"category": "news"}, {"category": "food"}, {"category": "news"}]
    did = [{"at": 0, "clicked": 1, "age": 1}, {"at": 1, "clicked": 1}, {"at": 2, "clicked": 1, "age": 2}]
    assert listed(pool(items, did=did), repeats={"clicked_days": {"news": 2}})[0] == [[1, 2]]
    assert listed(pool(items, did=did), repeats={"clicked_days": {"*": 3, "food": 0}})[0] == [[1]]


def test_the_repeat_guard_counts_showings_of_the_last_days():
    did = [
        {"at": 0, "shown": 2, "age": 0},
        {"at": 0, "shown": 1, "age": 2},
        {"at": 1, "shown": 9, "age": 3},
        {"at": 2, "shown": 2},
    ]
    found, made = listed(pool([{}] * 4, did=did), repeat_guard={"times": 3, "days": 3})
    assert found == [[1, 2, 3]] and effects(made, REMOVED) == {("repeat_guard", 0, 0, -1)}


def test_the_repeat_guard_may_let_pass_what_the_user_clicks():
    did = [
        {"at": 0, "shown": 3},
        {"at": 1, "shown": 4},
        {"at": 1, "clicked": 1, "age": 2},
        {"at": 0, "clicked": 1, "age": 3},
    ]
    found, _ = listed(pool([{}] * 3, did=did), repeat_guard={"times": 3, "days": 3, "unless_clicked": True})
    assert found == [[1, 2]]


def test_the_quality_floor_lets_the_unknown_pass():
    items = [{"quality": q} for q in (0.19, 0.2, float("nan"))]
    assert listed(pool(items), quality_floor={"floor": 0.2})[0] == [[1, 2]]


def test_effort_prefers_short_or_long():
    items = [{"effort": e} for e in (0.9, 0.1, 0.5)]
    scores = [0.2, 0.1, 0.0]
    assert listed(pool(items, scores=scores), effort={"prefer": "lighter", "weight": 1.0})[0] == [[1, 0, 2]]
    assert listed(pool(items, scores=scores), effort={"prefer": "deeper", "weight": 1.0})[0] == [[0, 1, 2]]
    assert listed(pool(items, scores=scores), effort={"prefer": "any", "weight": 1.0})[0] == [[0, 1, 2]]


def by_hand(categories: str, places=20) -> Counter:
    """How many of each category a list has: up to 30 % of each, in order, then up to 40 % of all its rows."""
    counts = Counter(categories)
    # the longest list of which no category has more than its part of just these rows
    rows = max(n for n in range(1, places + 1) if sum(min(c, most_of(n, len(counts))) for c in counts.values()) >= n)
    taken: list[int] = []
    for limit in (limit_of(0.3, rows), most_of(rows, len(counts))):
        for at, category in enumerate(categories):
            of_category = sum(categories[t] == category for t in taken)
            if at not in taken and of_category < limit and len(taken) < rows:
                taken.append(at)
    return Counter(categories[t] for t in taken)


def most_of(rows: int, kinds: int) -> int:
    """40 %; of one or two categories an even share, rounded up."""
    return -(-rows // kinds) if kinds < 3 else limit_of(0.4, rows)


def limit_of(part: float, rows: int) -> int:
    return max(1, int(part * rows + 1e-9))


def test_a_category_has_its_share_and_up_to_the_ceiling_only_where_the_list_cannot_be_filled():
    rng = np.random.default_rng(11)
    drawn = ["".join(rng.choice(list("abcdef")[: rng.integers(1, 7)], rng.integers(1, 60))) for _ in range(60)]
    drawn += ["a" * 30, "a" * 10 + "b" * 10, "aaaaaaaaabcdefghijklmnopqrst"]
    over = short = 0
    for categories in drawn:
        found, made = listed(pool([{"category": c} for c in categories]), length=20, category_share={})
        of_list, rows, kinds = Counter(categories[i] for i in found[0]), len(found[0]), len(set(categories))
        assert of_list == by_hand(categories)
        fillable = sum(min(n, 6) for n in Counter(categories).values()) >= 20
        most = max(of_list.values())
        # of the rows that there are, and not of those that there could have been
        assert most <= most_of(rows, kinds) and (most <= 6 or not fillable)
        assert bool(effects(made, RELAXED)) == (most > limit_of(0.3, rows))
        over, short = over + (most > 6), short + (rows < min(20, len(categories)))
    assert over and short, "some drawn list needs the ceiling and some is left short, or this says nothing"


@pytest.mark.parametrize(
    ("categories", "of_list"),
    [
        # six rows would need 3 of a or of b, and 40 % of six are 2: five rows are the most
        ("aaaaaaaabbbbbbbbc", {"a": 2, "b": 2, "c": 1}),
        # two categories cannot both keep below 40 %: they share the list evenly, and so does one alone
        ("a" * 12 + "b" * 12, {"a": 10, "b": 10}),
        ("a" * 12 + "bb", {"a": 3, "b": 2}),
        ("a" * 12, {"a": 12}),
    ],
)
def test_a_list_that_cannot_be_filled_keeps_the_ceiling_of_the_rows_that_it_has(categories, of_list):
    found, _ = listed(pool([{"category": c} for c in categories]), length=20, category_share={})
    assert Counter(categories[i] for i in found[0]) == of_list


def test_what_may_stand_at_curated_places_alone_does_not_make_a_list_longer():
    # without d five rows are the most, as above; with d 20 could be filled only if all of it could stand anywhere
    categories = "a" * 8 + "b" * 8 + "c" + "d" * 5
    injected = np.array([[c == "d" for c in categories]])
    given = {"injected": injected, "curated": np.where(injected, 1.0, np.nan)}
    found, made = listed(
        pool([{"category": c} for c in categories], **given), 20, curated={"places": [2]}, category_share={}
    )
    # 30 % of five are 1: the last place goes to the best below 2
    assert [categories[i] for i in found[0]] == ["a", "d", "b", "c", "a"]
    only, _ = listed(pool([{}], injected=np.array([[True]]), curated=np.ones((1, 1))), 2, category_share={})
    assert only == [[0]]


def test_places_for_ads_are_no_part_of_the_list_of_which_a_category_has_its_share():
    # 5 of 20 places are for ads: 40 % of the other 15 are 6, 30 % are 4
    categories = "a" * 12 + "b" * 12 + "ccccdd"
    found, made = listed(pool([{"category": c} for c in categories]), 20, (1, 5, 9, 13, 17), category_share={})
    # up to 4 of each are 4 + 4 + 4 + 2; the place that is left goes to the best of those below the ceiling
    assert Counter(categories[i] for i in found[0]) == {"a": 5, "b": 4, "c": 4, "d": 2}
    assert len(effects(made, RELAXED)) == 1


def test_an_owed_place_is_given_before_places_for_ads_that_end_the_list():
    # the last two ranks are for ads: rank 2 is the last that the guarantee has
    items = [{}, {}, {"novice": True}]
    assert listed(pool(items), 4, (3, 4), guarantee={"new_creators": 1, "long_tail": 0})[0] == [[0, 2]]


def test_items_without_a_category_are_of_no_common_one():
    assert listed(pool([{"category": None}] * 4), category_share={"share": 0.25, "ceiling": 0.25})[0] == [[0, 1, 2, 3]]


def test_distance_keeps_places_between_and_gives_way_where_nothing_else_is_left():
    items = [{"creator": c, "category": str(i)} for i, c in enumerate("aabac")]
    found, made = listed(pool(items), length=5, distance={"creator": 3})
    # a, then b before the second a, then c; the last two a are as far apart as can be
    assert found == [[0, 2, 4, 1, 3]]
    assert effects(made, HELD_BACK) == {("distance", 0, 1, 1)}
    assert effects(made, RELAXED) == {("distance", 0, 3, 4)}


def test_a_later_rule_gives_way_before_an_earlier_one():
    items = [{"category": "a", "creator": "x"}, {"category": "a", "creator": "y"}, {"category": "b", "creator": "x"}]
    share, apart = {"category_share": {"share": 0.3, "ceiling": 1.0}}, {"distance": {"category": 1, "creator": 2}}
    # after item 0 both others break one rule: the category of 1 has its share, 2 is by the same creator
    assert listed(pool(items), length=3, **share, **apart)[0] == [[0, 2, 1]]
    assert listed(pool(items), length=3, **apart, **share)[0] == [[0, 1, 2]]


def greedy_mmr(values, vectors, weight, length) -> list[int]:
    placed: list[int] = []
    while len(placed) < length:
        rest = [i for i in range(len(values)) if i not in placed]
        gain = {
            i: weight * values[i] - (1 - weight) * max([float(vectors[i] @ vectors[j]) for j in placed] + [0.0])
            for i in rest
        }
        placed.append(max(rest, key=lambda i: (gain[i], -i)))
    return placed


def unit(rng, n, d):
    vectors = rng.normal(size=(n, d))
    # as the shelf keeps them
    return np.rint(vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * 127) / 127


@pytest.mark.parametrize("weight", [0.2, 0.5, 0.9])
def test_mmr_is_the_greedy_rule_of_its_paper(weight):
    rng = np.random.default_rng(5)
    vectors, scores = unit(rng, 30, 6), np.sort(rng.random(30))[::-1]
    values = (scores - scores.min()) / (scores.max() - scores.min())
    found, _ = listed(pool([{}] * 30, scores=scores, vectors=vectors), length=10, mmr={"relevance": weight})
    assert found == [greedy_mmr(values, vectors, weight, 10)]


def greedy_dpp(values, vectors, weight, length) -> list[int]:
    """By determinants: log det grows by log d²."""
    placed: list[int] = []
    while len(placed) < length:
        gains = {}
        for i in set(range(len(values))) - set(placed):
            before, after = (np.linalg.det(vectors[at] @ vectors[at].T) for at in (placed, [*placed, i]))
            gains[i] = weight * values[i] + (1 - weight) * np.log(after / (before if placed else 1.0))
        placed.append(max(gains, key=lambda i: (gains[i], -i)))
    return placed


@pytest.mark.parametrize("weight", [0.2, 0.6, 0.9])
def test_dpp_is_greedy_by_determinants(weight):
    rng = np.random.default_rng(6)
    vectors, scores = unit(rng, 25, 12), np.sort(rng.random(25))[::-1]
    values = (scores - scores.min()) / (scores.max() - scores.min())
    found, _ = listed(pool([{}] * 25, scores=scores, vectors=vectors), length=8, dpp={"relevance": weight})
    assert found == [greedy_dpp(values, vectors, weight, 8)]


def test_dpp_fills_up_by_value_when_nothing_adds_to_the_kernel():
    # three directions, each twice, and an item without a vector
    vectors = np.vstack([np.repeat(np.eye(3), 2, axis=0), np.zeros(3)])
    found, _ = listed(pool([{}] * 7, vectors=vectors), length=7, dpp={"relevance": 0.5})
    assert found == [[0, 2, 4, 1, 3, 5, 6]]


def test_the_last_places_are_owed_to_new_creators_and_the_long_tail():
    items = [{}] * 6 + [{"long_tail": True}, {"novice": True}, {"long_tail": True}]
    found, made = listed(pool(items), length=5, guarantee={"new_creators": 1, "long_tail": 2})
    assert found == [[0, 1, 6, 7, 8]]
    assert effects(made, HELD_BACK) == {("guarantee", 0, 2, 2)}
    # of seven places two are the ads': the last five are filled as above, the last one no later
    with_ads, _ = listed(pool(items), length=7, ad_slots=(4, 7), guarantee={"new_creators": 1, "long_tail": 2})
    assert with_ads == found
    both = [{}] * 6 + [{"long_tail": True, "novice": True}]
    # one item meets both; the second of the long tail is not to be had
    assert listed(pool(both), length=4, guarantee={"new_creators": 1, "long_tail": 2})[0] == [[0, 6, 1, 2]]


def test_a_curated_place_goes_to_the_entry_with_the_largest_boost():
    curated = np.array([[np.nan, np.nan, 1.0, 3.0, np.nan], [np.nan] * 5])
    found, made = listed(pool([{}] * 5, 2, curated=curated), curated={"places": [2]})
    assert found == [[0, 3, 1, 2], [0, 1, 2, 3]]
    assert made.slot_type[0].tolist() == ["organic", "curated", "organic", "organic"]
    assert effects(made, TAKEN) == {("curated", 0, 3, 1)}


def test_what_operations_alone_put_in_stands_at_curated_places_of_its_lists_only():
    # of the first user 0 and 3 are injected, and have an entry; of the second nothing is for this list
    curated = np.array([[1.0, np.nan, np.nan, 3.0, np.nan], [np.nan] * 5])
    injected = np.array([[True, False, False, True, False]] * 2)
    given = {"curated": curated, "injected": injected}
    found, made = listed(pool([{}] * 5, 2, **given), eligibility={}, curated={"places": [2]})
    assert found == [[1, 3, 2, 4], [1, 2, 4]]
    assert effects(made, REMOVED) == {("eligibility", 1, 0, -1), ("eligibility", 1, 3, -1)}
    assert ("curated", 0, 0, 0) in effects(made, HELD_BACK)


def test_a_place_for_own_items_goes_to_the_best_of_them_until_there_is_none():
    own = np.array([[True, False, False, True, False], [False, False, False, False, True], [False] * 5])
    found, made = listed(pool([{}] * 5, 3, own=own), own_items={"places": [2, 3]})
    # the first user's 0 stands at the top by its value, so one is left for two places; the third user has none
    assert found == [[0, 3, 1, 2], [0, 4, 1, 2], [0, 1, 2, 3]]
    assert effects(made, HELD_BACK) == {("own_items", 0, 1, 1), ("own_items", 1, 1, 1)}
    assert effects(made, RELAXED) == set()


def test_own_items_that_another_rule_keeps_out_do_not_hold_a_place_open():
    own = np.array([[False, False, True, False]])
    items = [{}, {}, {"quality": 0.1}, {}]
    found, made = listed(pool(items, own=own), quality_floor={"floor": 0.2}, own_items={"places": [2]})
    assert found == [[0, 1, 3]]
    assert effects(made, RELAXED) == set()


# -- exploration ---------------------------------------------------------------------------------


EXPLORE = {"places": [2], "arms": ["long_tail", "new_item"], "width": 3, "floor": 0.1}
ITEMS = [{}] * 4 + [{"long_tail": True}] * 5 + [{"age_days": 1.0}] * 2


def test_the_logged_propensity_is_how_often_arm_and_item_are_drawn():
    users = 20_000
    _, made = listed(pool(ITEMS, users), explore=EXPLORE)
    drawn = Counter(zip(made.arm[:, 1], made.chosen[:, 1].tolist()))
    for (arm, item), count in drawn.items():
        said = set(made.propensity[(made.arm[:, 1] == arm) & (made.chosen[:, 1] == item), 1])
        assert len(said) == 1
        expected = said.pop()
        assert abs(count / users - expected) < 4 * np.sqrt(expected * (1 - expected) / users)
    # the best three of the long tail, both new items, and the best of all
    assert {item for _, item in drawn} == {1, 4, 5, 6, 9, 10}
    assert np.isnan(made.propensity[:, [0, 2, 3]]).all()
    assert set(made.slot_type[made.arm[:, 1] == "none", 1]) == {"organic"}
    assert set(made.slot_type[made.arm[:, 1] != "none", 1]) == {"exploration"}


def test_who_has_no_candidate_of_an_arm_is_not_offered_it():
    _, made = listed(pool([{}] * 4 + [{"long_tail": True}], 500), explore=EXPLORE)
    assert set(made.arm[:, 1]) == {"none", "long_tail"}
    assert set(np.round(made.propensity[:, 1], 6)) == {0.5}


def evidence(**rates) -> list[dict]:
    """A thousand showings of each arm with propensity 0.5."""
    return [
        {
            "context": "usual",
            "arm": arm,
            "n": 1000.0,
            "weights": 2000.0,
            "squares": 4000.0,
            "rewards": 2000.0 * rate,
            "gram": [2000.0],
            "moments": [2000.0 * rate],
        }
        for arm, rate in rates.items()
    ]


@pytest.mark.parametrize("policy", ["thompson", "linucb"])
def test_what_earlier_showings_were_worth_decides_and_the_floor_is_kept(policy):
    known = evidence(none=0.05, long_tail=0.10, new_item=0.01)
    _, made = listed(pool(ITEMS, 2000, evidence=known), explore={**EXPLORE, "policy": policy})
    share = Counter(made.arm[:, 1])
    assert share["long_tail"] / 2000 > 0.75 and min(share.values()) / 2000 > 0.07


def test_thompson_learns_from_the_user_s_own_context_alone():
    known = evidence(none=0.0, long_tail=0.5, new_item=0.0)
    _, here = listed(pool(ITEMS, 2000, evidence=known), explore=EXPLORE)
    _, elsewhere = listed(pool(ITEMS, 2000, evidence=known, context="commute"), explore=EXPLORE)
    assert Counter(here.arm[:, 1])["long_tail"] > 1500 > 1000 > Counter(elsewhere.arm[:, 1])["long_tail"]


def test_draws_differ_between_users_days_and_places():
    of = pool(ITEMS, 1000)
    first, again, other_place = of.drawn(1), of.drawn(1), of.drawn(2)
    of.day = of.day.replace(day=11)
    other_day = of.drawn(1)
    assert (first == again).all() and (first >= 0).all() and (first < 1).all()
    for one, two in itertools.combinations([first, other_place, other_day], 2):
        assert abs(np.corrcoef(one, two)[0, 1]) < 0.1


def test_touches_of_items_off_the_shelf_are_no_trouble():
    did = [{"at": -1, "told": told, "bought": 1, "shown": 9} for told in ("block_author", "not_interested")]
    everything = {"negative_feedback": {}, "repeats": {}, "repeat_guard": {}}
    assert listed(pool([{}] * 4, did=did), **everything)[0] == [[0, 1, 2, 3]]
    assert len(touched(*did).at) == 2
