"""Which examples a step takes and how processes share them."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from croco.training.schedule import parts, schedule

SIZES = st.integers(1, 40)


@given(SIZES, SIZES, st.floats(0.1, 3.5), st.integers(0, 9))
def test_every_epoch_takes_each_example_once(count, batch_size, epochs, seed):
    steps = schedule(count, batch_size, epochs, seed)
    per_epoch = -(-count // batch_size)
    assert abs(len(steps) - epochs * per_epoch) < 1
    for start in range(0, len(steps) - per_epoch + 1, per_epoch):
        epoch = [place for step in steps[start : start + per_epoch] for place in step]
        assert sorted(epoch) == list(range(count))


def test_epochs_have_orders_of_their_own_and_so_have_seeds():
    first, second = (schedule(20, 20, 2, 1)[k] for k in (0, 1))
    assert first != second
    assert schedule(20, 20, 1, 2) != [first]
    assert schedule(20, 20, 1, 1) == [first]


@given(st.lists(st.integers(1, 99), min_size=1, max_size=30), st.integers(1, 9), st.integers(1, 5))
def test_processes_share_a_step_in_as_many_micro_batches_each(tokens, micro_batch, world):
    step = list(range(len(tokens)))
    ranks = [parts(step, tokens, micro_batch, rank, world) for rank in range(world)]
    assert len({len(own) for own in ranks}) == 1
    taken = [place for own in ranks for part in own if not part.idle for place in part.places]
    assert Counter(taken) == Counter(step)
    assert all(1 <= len(part.places) <= micro_batch for own in ranks for part in own)
    # As few as there can be: the processes do not wait for each other in vain.
    most = math.ceil(len(step) / world)
    assert len(ranks[0]) == math.ceil(most / micro_batch)


def test_micro_batches_hold_examples_of_like_length():
    own = parts(range(6), [5, 1, 9, 2, 8, 1], 2)
    assert [part.places for part in own] == [[1, 5], [3, 0], [4, 2]]
