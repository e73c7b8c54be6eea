"""Where an arm's pairs come from, if not from the policy's own answers before training."""

from __future__ import annotations

from typing import Literal

import pydantic
from pydantic import Field

from croco.settings import Sampling, Section, refuse_unused


class OffPolicy(Section):
    """Another model, whose answers to the training prompts the policy is tuned on.

    Its answers are encoded again by the policy's tokenizer where the two differ.
    """

    policy: str = Field(description="the model that answers: a name as the recipe's policy")
    sample: Sampling | None = Field(None, description="how it is sampled; none: as the recipe says")

    @pydantic.model_validator(mode="after")
    def _served(self) -> OffPolicy:
        if self.sample and self.sample.engine == "openai":
            refuse_unused(self.sample, ["dtype"], "is the server's own with the engine 'openai'")
        return self


class Rounds(Section):
    """Training in rounds: each samples from what the last one tuned, scores, pairs and trains on.

    `reference` is DPO's: `fixed` is the policy before the first round, `moved` that before each round.
    """

    count: int = Field(3, ge=1)
    reference: Literal["fixed", "moved"] | None = Field(
        None, description="none: fixed, for DPO; SFT has none"
    )

    @pydantic.model_validator(mode="after")
    def _several(self) -> Rounds:
        if self.count == 1:
            refuse_unused(self, ["reference"], "has no meaning where there is one round")
        return self


class Online(Section):
    """Answers sampled from the policy while it is trained; the reference is the policy before training.

    They are sampled as `sample` says, by transformers on the very model in training.
    """

    every: int = Field(8, ge=1, description="optimizer steps from one sampling to the next")
    n: int | None = Field(None, ge=2, description="answers to a prompt; none: the recipe's")
