"""Where an arm's pairs come from, if not from the policy's own answers before training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from croco.settings import Sampling, Section


class OffPolicy(Section):
    """Another model, whose answers to the training prompts the policy is tuned on.

    Its answers are encoded again by the policy's tokenizer where the two differ.
    """

    policy: str = Field(description="the model that answers: a name as the recipe's policy")
    sample: Sampling | None = Field(None, description="how it is sampled; none: as the recipe says")


class Rounds(Section):
    """Training in rounds: each samples from what the last one tuned, scores, pairs and trains on.

    `reference` is DPO's: `fixed` is the policy before the first round, `moved` that before each round.
    """

    count: int = Field(3, ge=1)
    reference: Literal["fixed", "moved"] = "fixed"


class Online(Section):
    """Answers sampled from the policy while it is trained; the reference is the policy before training.

    They are sampled as `sample` says, by transformers on the very model in training.
    """

    every: int = Field(8, ge=1, description="optimizer steps from one sampling to the next")
    n: int | None = Field(None, ge=2, description="answers to a prompt; none: the recipe's")
