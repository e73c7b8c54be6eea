"""The rules of selection, as properties, against the rule in words, and on examples worked by hand."""

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from croco.selection import REASONS, select
from croco.strategies import Rule

REJECTED = st.sampled_from(
    [
        "mean-2std",
        "mean-1.5std",
        "mean+0.5std",
        "mean",
        "q1",
        "quantile-0.1",
        "min",
        "median",
        "random",
    ]
)
CHOSEN = st.sampled_from(["max", "top-1", "top-3", "quantile-0.9"])
REWARD = st.integers(-40, 40).map(lambda v: v / 8)
#: Pools as (pool, reward, text) rows: ties and repeated texts are common.
ROWS = st.lists(st.tuples(st.integers(0, 3), REWARD, st.integers(0, 12)), min_size=1, max_size=60)
POOL = st.lists(REWARD, min_size=1, max_size=40)


def taken(rows, **rules):
    pools, rewards, texts = (np.array(column) for column in zip(*rows, strict=True))
    return select(rewards, pools, texts=texts, **rules)


def pairs(found):
    return list(zip(found.chosen.tolist(), found.rejected.tolist(), strict=True))


def in_words(rewards, strategy):
    """The published rule, the slow way: nearest to the target among the strictly lower ones."""
    best = max(range(len(rewards)), key=lambda i: (rewards[i], -i))
    goal = {
        "mean-2std": np.mean(rewards) - 2 * np.std(rewards),
        "q1": np.percentile(rewards, 25),
        "min": min(rewards),
    }[strategy]
    lower = [i for i in range(len(rewards)) if rewards[i] < rewards[best]]
    nearest = min(lower, key=lambda i: (abs(rewards[i] - goal), rewards[i], i), default=None)
    return [] if nearest is None else [(best, nearest)]


@given(POOL, st.sampled_from(["mean-2std", "q1", "min"]))
def test_the_pair_is_the_rule_in_words(rewards, strategy):
    assert pairs(select(rewards, rejected=strategy)) == in_words(rewards, strategy)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["mean-2std", "q1", "min"]))
def test_on_continuous_rewards_it_is_the_published_recipe(seed, strategy):
    draw = np.random.default_rng(seed)
    sizes = draw.integers(2, 70, 20)
    pool = np.repeat(np.arange(20), sizes)
    rewards = draw.normal(draw.normal(0, 5, 20)[pool], 2)
    found = select(rewards, pool, rejected=strategy)
    for k, start in enumerate(np.cumsum(sizes) - sizes):
        own = rewards[start : start + sizes[k]].tolist()
        ((chosen, rejected),) = in_words(own, strategy)
        assert (found.chosen[k], found.rejected[k]) == (start + chosen, start + rejected)


@given(ROWS, REJECTED, CHOSEN, st.integers(1, 5))
def test_chosen_is_better_and_no_text_stands_twice_in_a_pool(rows, rejected, chosen, count):
    found = taken(rows, rejected=rejected, chosen=chosen, count=count)
    used = []
    for pool, one, other in zip(found.pool, found.chosen, found.rejected, strict=True):
        assert rows[one][1] > rows[other][1]
        assert rows[one][0] == rows[other][0] == found.pools.label[pool]
        used += [(pool, rows[one][2]), (pool, rows[other][2])]
    assert len(set(used)) == len(used)
    assert np.bincount(found.pool, minlength=1).max() <= count


@given(ROWS, REJECTED, CHOSEN, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(rows, rejected, chosen, random):
    def content(rows):
        found = taken(rows, rejected=rejected, chosen=chosen, count=2, seed=5)
        return [(rows[i], rows[j]) for i, j in pairs(found)], found.pools.reason.tolist()

    shuffled = random.sample(rows, len(rows))
    assert content(rows) == content(shuffled)


@given(ROWS, REJECTED, CHOSEN, st.sampled_from([0.5, 2.0, 4.0]), st.integers(-8, 8))
def test_shift_and_scale_change_nothing(rows, rejected, chosen, scale, shift):
    # Powers of two and eighths are exact, so that ties stay ties.
    moved = [(pool, reward * scale + shift, text) for pool, reward, text in rows]
    rules = {"rejected": rejected, "chosen": chosen}
    one, two = taken(rows, **rules), taken(moved, **rules)
    if "std" not in rejected and "quantile" not in rejected + chosen:
        assert pairs(one) == pairs(two)
    assert one.pool.tolist() == two.pool.tolist()


@given(POOL, st.sampled_from([0.5, 2.0, 4.0]), st.integers(-8, 8))
def test_mean_2std_is_shift_and_scale_invariant(rewards, scale, shift):
    moved = [reward * scale + shift for reward in rewards]
    one, two = select(rewards), select(moved)
    gap = [abs(np.abs(np.array(rewards) - one.pools.target[0]))]
    near = np.sort(gap[0])
    if len(near) < 2 or near[1] - near[0] > 1e-9:  # two equally near are told apart by rounding
        assert pairs(one) == pairs(two)


@given(ROWS, st.data())
def test_who_may_not_stand_on_a_side_does_not(rows, data):
    flags = st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))
    choosable, rejectable = data.draw(flags), data.draw(flags)
    found = taken(rows, may_be_chosen=choosable, may_be_rejected=rejectable, count=3)
    assert all(choosable[i] and rejectable[j] for i, j in pairs(found))
    everyone = taken(rows)
    assert found.pools.mean.tolist() == everyone.pools.mean.tolist()
    assert found.pools.target.tolist() == everyone.pools.target.tolist()


@given(ROWS, REJECTED, CHOSEN)
def test_a_pool_gives_a_pair_or_says_why(rows, rejected, chosen):
    found = taken(rows, rejected=rejected, chosen=chosen)
    for k, reason in enumerate(found.pools.reason):
        assert (reason == 0) == (k in found.pool)


def test_several_pairs_are_best_first():
    found = select([5.0, 4.0, 3.0, 2.0, 1.0, 0.0], rejected="min", count=3)
    assert pairs(found) == [(0, 5), (1, 4), (2, 3)]


def test_ties_go_to_the_text_that_comes_first():
    found = select([1.0, 1.0, 0.0, 0.0], texts=[7, 3, 9, 4], rejected="min")
    assert pairs(found) == [(1, 3)]


def test_of_equal_texts_the_order_decides():
    assert pairs(select([1.0, 1.0, 0.0], texts=[3, 3, 9], order=[2, 1, 0])) == [(1, 2)]


def test_equal_rewards_do_not_fall_back_by_rounding():
    assert not select([0.1, 0.1, 0.1]).pools.fallback[0]


def test_of_two_equally_near_rejected_takes_the_lower_and_chosen_the_higher():
    assert pairs(select([0.0, 2.0, 4.0], rejected="mean-0std")) == [(2, 1)]
    # The target is 1: 0 and 2 are equally near.
    assert pairs(select([0.0, 2.0, 2.0, 0.0, 9.0, -7.0], rejected="median"))[0] == (4, 0)
    # The 0.5 quantile is 1.5: 1 and 2 are equally near.
    assert pairs(select([0.0, 1.0, 2.0, 3.0], chosen="quantile-0.5", rejected="min")) == [(2, 0)]


def test_another_response_is_tried_where_the_first_has_no_rejected():
    # The best has the only lower response's text; the next one may have it.
    found = select([3.0, 2.0, 1.0], texts=[1, 2, 1])
    assert pairs(found) == [(0, 1)]
    found = select([3.0, 2.0, 1.0], texts=[1, 2, 1], may_be_rejected=[1, 0, 1])
    assert pairs(found) == [(1, 2)]


def test_random_draws_depend_on_the_pools_seed_and_reach_everyone():
    rewards = np.arange(8.0)
    drawn = {pairs(select(rewards, rejected="random", seed=seed))[0][1] for seed in range(200)}
    assert drawn == set(range(7))
    assert pairs(select(rewards, rejected="random", seed=3)) == pairs(
        select(rewards, rejected="random", seed=3)
    )
    top = {pairs(select(rewards, chosen="top-3", seed=seed))[0][0] for seed in range(100)}
    assert top == {5, 6, 7}


def test_seeds_of_pools_are_their_own():
    both = select(
        [0.0, 1.0, 2.0, 3.0] * 2, [0] * 4 + [1] * 4, rejected="random", seed=[1] * 4 + [2] * 4
    )
    alone = select([0.0, 1.0, 2.0, 3.0], rejected="random", seed=2)
    assert both.rejected[1] - 4 == alone.rejected[0]


def test_a_target_below_every_reward_is_reported():
    assert select([0.0, 1.0]).pools.fallback[0]
    assert not select([0.0] * 20 + [1.0] * 20 + [-9.0]).pools.fallback[0]
    assert not select([0.0, 1.0], rejected="min").pools.fallback[0]


def test_texts_that_share_the_highest_reward_are_counted_once_each():
    found = select([2.0, 2.0, 2.0, 1.0, 1.0], texts=[4, 4, 9, 9, 9])
    assert found.pools.best.tolist() == [2]


def test_the_deviation_is_the_populations():
    assert select([0.0, 2.0]).pools.std[0] == 1.0


@pytest.mark.parametrize(
    ("rewards", "rules", "said"),
    [
        ([1.0], {}, "one response only"),
        ([1.0, 1.0], {}, "all rewards are equal"),
        ([1.0, 2.0], {"texts": [4, 4]}, "another text"),
        ([1.0, 2.0], {"may_be_chosen": [False, False]}, "no response may be chosen"),
        ([1.0, 2.0], {"may_be_rejected": [False, False]}, "no response may be rejected"),
        ([1.0, 2.0], {"may_be_chosen": [True, False]}, "lower reward"),
        ([1.0, 2.0], {"min_gap": 1.5}, "gap is too small"),
        ([1.0, 2.0], {"lengths": [10, 31], "max_length_ratio": 3.0}, "length ratio"),
    ],
)
def test_a_pool_without_a_pair_says_why(rewards, rules, said):
    found = select(rewards, **rules)
    assert pairs(found) == []
    assert said in REASONS[found.pools.reason[0]]


def test_a_refused_pair_is_kept_apart_and_nothing_stands_in_for_it():
    found = select(
        [9.0, 8.0, 1.0, 0.0], lengths=[100, 10, 90, 10], max_length_ratio=2, rejected="min", count=2
    )
    assert pairs(found) == []
    assert pairs(found.refused) == [(0, 3), (1, 2)]
    found = select(
        [9.0, 8.0, 1.0, 0.0], lengths=[100, 10, 90, 60], max_length_ratio=2, rejected="min", count=2
    )
    assert pairs(found) == [(0, 3)]
    assert found.pools.reason[0] == 0


def test_no_rewards_give_no_pools():
    assert select([]).pools.label.size == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rewards_that_are_no_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        select([1.0, bad])


def test_arrays_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="2 rewards"):
        select([1.0, 2.0], texts=[1])
    with pytest.raises(ValueError, match="needs lengths"):
        select([1.0, 2.0], max_length_ratio=2.0)


@pytest.mark.parametrize(
    "name", ["mean-2stds", "q2.5", "quantile-1.5", "best", "mean-std", "top-0", "topk"]
)
def test_strategies_that_are_not_known_are_refused(name):
    with pytest.raises(ValueError, match="is not known"):
        Rule.rejected(name)
    with pytest.raises(ValueError, match="is not known"):
        Rule.chosen(name)


def test_strategies_by_their_names():
    assert Rule.rejected("mean-2std") == Rule.rejected("mean-2*std") == Rule("mean", -2.0)
    assert Rule.rejected("q1") == Rule.rejected("quantile-0.25")
    assert Rule.rejected("min") == Rule.rejected("quantile-0")
    assert Rule.chosen("top-4") == Rule("top", 4)


def test_of_exact_duplicates_the_one_that_stands_first_is_taken():
    draw = np.random.default_rng(0)
    pools, rewards = draw.integers(0, 50, 5000), draw.integers(0, 3, 5000).astype(float)
    found = select(rewards, pools, texts=rewards.astype(int))
    for pool, *pair in zip(found.pool, found.chosen, found.rejected, strict=True):
        for row in pair:
            same = (pools == found.pools.label[pool]) & (rewards == rewards[row])
            assert row == np.flatnonzero(same)[0]


def test_every_sort_that_gives_places_is_stable():
    """An unstable one gives equal rows in an order that depends on the processor."""
    source = Path(__file__).parents[2] / "src" / "croco"
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("argsort"):
                kinds = [ast.unparse(word.value) for word in node.keywords if word.arg == "kind"]
                assert kinds == ["'stable'"], f"{path}:{node.lineno}"
