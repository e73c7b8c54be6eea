import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from croco.selection import select

STRATEGIES = st.sampled_from(["mean-2std", "q1", "min"])
POOLS = st.lists(st.integers(-40, 40).map(lambda v: v / 8), min_size=1, max_size=40)


def reference(rewards, strategy):
    """The rule in words, done the slow way: nearest to the target among the strictly lower ones."""
    best = max(range(len(rewards)), key=lambda i: (rewards[i], -i))
    goal = {
        "mean-2std": np.mean(rewards) - 2 * np.std(rewards),
        "q1": np.percentile(rewards, 25),
        "min": min(rewards),
    }[strategy]
    lower = [i for i in range(len(rewards)) if rewards[i] < rewards[best]]
    return (best, min(lower, key=lambda i: (abs(rewards[i] - goal), i))) if lower else None


@given(POOLS, STRATEGIES)
def test_the_pair_is_the_rule_in_words(rewards, strategy):
    texts = [str(i) for i in range(len(rewards))]
    expected = reference(rewards, strategy)
    assert select(rewards, texts, strategy=strategy).pairs == ([expected] if expected else [])


@given(POOLS, STRATEGIES, st.integers(1, 5), st.data())
def test_chosen_is_better_the_texts_differ_and_nothing_is_used_twice(
    rewards, strategy, count, data
):
    texts = data.draw(
        st.lists(st.sampled_from("abc"), min_size=len(rewards), max_size=len(rewards))
    )
    choice = select(rewards, texts, strategy=strategy, count=count)
    for chosen, rejected in choice.pairs:
        assert rewards[chosen] > rewards[rejected]
        assert texts[chosen] != texts[rejected]
    for side in zip(*choice.pairs, strict=True):
        assert len(set(side)) == len(side)
    assert bool(choice.reason) == (not choice.pairs)


@given(POOLS, st.sampled_from([0.5, 2.0, 4.0]), st.integers(-8, 8))
def test_shift_and_scale_change_nothing(rewards, scale, shift):
    texts = [str(i) for i in range(len(rewards))]
    moved = [reward * scale + shift for reward in rewards]
    one, two = select(rewards, texts), select(moved, texts)
    assert [rewards[c] for c, _ in one.pairs] == [rewards[c] for c, _ in two.pairs]


@given(POOLS)
def test_who_may_not_be_chosen_is_not(rewards):
    texts = [str(i) for i in range(len(rewards))]
    choosable = [i % 2 == 0 for i in range(len(rewards))]
    for chosen, _ in select(rewards, texts, choosable=choosable, count=3).pairs:
        assert choosable[chosen]


def test_a_target_below_every_reward_is_reported():
    assert select([0.0, 1.0], ["a", "b"]).fallback
    assert not select([0.0] * 20 + [1.0] * 20 + [-9.0], list("x" * 20 + "y" * 20 + "z")).fallback


@pytest.mark.parametrize(
    ("rewards", "texts", "said"),
    [
        ([], [], "empty"),
        ([1.0, 1.0], ["a", "b"], "equal"),
        ([1.0, 2.0], ["a", "a"], "another text"),
    ],
)
def test_a_pool_without_a_pair_says_why(rewards, texts, said):
    choice = select(rewards, texts)
    assert choice.pairs == []
    assert said in choice.reason


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rewards_that_are_no_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        select([1.0, bad], ["a", "b"])
