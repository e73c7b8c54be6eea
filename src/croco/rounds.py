"""What the trainings of an arm are called: there is one, or one a round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from croco.recipe import Arm


def named(name: str, arm: Arm | Mapping[str, Any]) -> list[tuple[str, str]]:
    """Round by round, what people call it, and what the names of its stages end in ("" without rounds).

    An arm may be one of a recipe, or of a recipe as plain values.
    """
    plain = arm.model_dump() if isinstance(arm, Arm) else arm
    own = plain.get("rounds")
    if not own:
        return [(name, "")]
    return [(f"{name}, round {number}", f"-{number}") for number in range(1, own["count"] + 1)]


def training_of(name: str, arm: Arm) -> str:
    """The stage that makes an arm's policy: its last training."""
    return f"{name}.train{named(name, arm)[-1][1]}"


def trains_on_shared(arm: Arm) -> bool:
    """Whether an arm begins with the policy's answers before any training, which arms share."""
    return not (arm.responses or arm.online)
