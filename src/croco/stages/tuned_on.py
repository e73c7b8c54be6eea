"""What arms were tuned on, round by round, read from the stages of a run."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from croco import kept
from croco.records import Pairs, Rewards, Step
from croco.rounds import named
from croco.stage import Sealed

#: A pool's `Pairs` row, and the rewards of its answers by language.
Pool = tuple[Pairs, Mapping[str, list[float]]]


@dataclass(frozen=True)
class Round:
    """One training of an arm: its name on the page, the arm's recipe, and what it was trained on.

    `policy` is who signs the answers of the model in training. Rounds of equal `pairing` have the same
    pairs.
    """

    name: str
    arm: Mapping[str, Any]
    policy: str
    pairing: str
    curve: list[Step]
    pools: Callable[[], Iterator[Pool]]

    def pairs(self) -> Iterator[Pairs]:
        """The `Pairs` rows."""
        return (row for row, _ in self.pools())


def rounds_of(inputs: Mapping[str, Sealed], arms: Mapping[str, Any]) -> list[Round]:
    """The trainings of all arms; an arm without rounds has one."""
    first = next(iter(inputs["base.sample"].rows()), None)
    writer = first.policy if first else ""
    return [
        one
        for name, arm in arms.items()
        for one in (
            [_online(inputs, name, arm, writer)]
            if arm.get("online")
            else _offline(inputs, name, arm, writer)
        )
    ]


def _offline(
    inputs: Mapping[str, Sealed], name: str, arm: Mapping[str, Any], writer: str
) -> Iterator[Round]:
    for number, (label, suffix) in enumerate(named(name, arm), 1):
        own = f"{name}.score{suffix}"
        scores = own if own in inputs else "score"
        pairs, scored = inputs[f"{name}.pair{suffix}"], inputs[scores]
        yield Round(
            name=label,
            arm=arm,
            policy=writer + "+adapter" * (number > 1),
            pairing=json.dumps([arm["pair"], scores], sort_keys=True),
            curve=list(inputs[f"{name}.train{suffix}"].rows()),
            pools=partial(_joined, pairs.rows, scored.rows),
        )


def _online(inputs: Mapping[str, Sealed], name: str, arm: Mapping[str, Any], writer: str) -> Round:
    """An arm that was sampled during training: its pools, one sampling after the other."""
    trained = inputs[f"{name}.train"]

    def pools() -> Iterator[Pool]:
        for one in kept.read(trained.files):
            yield from _joined(one.pairs.__iter__, one.rewards.__iter__)

    curve = list(trained.rows())
    return Round(name, arm, f"{writer}+online" * bool(writer), name, curve, pools)


def _joined(
    pairs: Callable[[], Iterator[Pairs]], scored: Callable[[], Iterator[Rewards]]
) -> Iterator[Pool]:
    rewards: defaultdict[str, dict[str, list[float]]] = defaultdict(dict)
    for one in scored():
        rewards[one.id][one.lang] = one.rewards
    for row in pairs():
        yield row, rewards[row.id]
