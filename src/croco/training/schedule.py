"""Which examples an optimizer step takes, and how its processes share them: a matter of the seed alone.

The order does not come from a library's random state, so training that goes on from a checkpoint, or in
another number of processes, sees the same examples in the same steps.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from croco.stage import seed_of

#: A training of fewer optimizer steps is remarked on: a rule of thumb.
FEW = 10


def schedule(count: int, batch_size: int, epochs: float, seed: int) -> list[list[int]]:
    """The places of the examples of each step: every epoch in an order of its own.

    An epoch's last step takes what is left of it. Part of an epoch is that share of its steps.
    """
    steps: list[list[int]] = []
    for epoch in range(math.ceil(epochs)):
        order = list(range(count))
        random.Random(seed_of(seed, "epoch", epoch)).shuffle(order)  # noqa: S311 - not a secret
        steps += [order[k : k + batch_size] for k in range(0, count, batch_size)]
    return steps[: steps_of(count, batch_size, epochs)]


def steps_of(count: int, batch_size: int, epochs: float) -> int:
    """The optimizer steps of a training on that many examples."""
    return math.ceil(epochs * math.ceil(count / batch_size))


def warmup_of(steps: int, share: float) -> int:
    """The steps of warm-up, rounded down, and never all of them.

    The first one has a learning rate of 0 and learns nothing of its examples: a short training has none.
    """
    return max(0, min(int(round(share * steps, 6)), steps - 1))


def few(steps: int) -> str:
    """A remark on a training of so few steps that little can be learnt; empty for others."""
    if steps >= FEW:
        return ""
    count = f"{steps} optimizer step{'s' if steps != 1 else ''}"
    return f"{count}, fewer than {FEW}: lower batch_size, raise epochs, or train on more"


@dataclass(frozen=True, slots=True)
class Part:
    """A micro batch: places of examples of like length; an `idle` one keeps step and counts nothing."""

    places: list[int]
    idle: bool = False


def parts(
    step: Sequence[int], tokens: Sequence[int], micro_batch: int, rank: int = 0, world: int = 1
) -> list[Part]:
    """A process' micro batches of a step; as many in every process, since they pass gradients together.

    `tokens` are the lengths of all examples. A process that has no example left for its last micro batch
    does another's, idly.
    """
    order = sorted(step, key=lambda place: (tokens[place], place))
    count = math.ceil(math.ceil(len(order) / world) / micro_batch)
    own = order[rank::world]
    cuts = [k * len(own) // count for k in range(count + 1)]
    made = [own[a:b] for a, b in pairwise(cuts)]
    return [Part(places) if places else Part(order[:1], idle=True) for places in made]
