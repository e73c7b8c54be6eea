"""What arms were tuned on, round by round, read from the stages of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from croco.records import Pairs, Rewards, Step
from croco.rounds import named
from croco.stage import Sealed


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
    pairs: Callable[[], Iterator[Pairs]]
    rewards: Callable[[], Iterator[Rewards]]


def rounds_of(inputs: Mapping[str, Sealed], arms: Mapping[str, Any]) -> list[Round]:
    """The trainings of all arms; an arm without rounds has one."""
    first = next(iter(inputs["base.sample"].rows()), None)
    writer = first.policy if first else ""
    return [round for name, arm in arms.items() for round in _rounds(inputs, name, arm, writer)]


def _rounds(
    inputs: Mapping[str, Sealed], name: str, arm: Mapping[str, Any], writer: str
) -> Iterator[Round]:
    for number, (label, suffix) in enumerate(named(name, arm), 1):
        own = f"{name}.score{suffix}"
        scores = own if own in inputs else "score"
        pairing = json.dumps([arm["pair"], scores], sort_keys=True)
        yield Round(
            name=label,
            arm=arm,
            policy=writer + "+adapter" * (number > 1),
            pairing=pairing,
            curve=list(inputs[f"{name}.train{suffix}"].rows()),
            pairs=inputs[f"{name}.pair{suffix}"].rows,
            rewards=inputs[scores].rows,
        )
