"""The recipe's section `evaluate`: how tuned and base are compared, and what else is measured."""

from __future__ import annotations

import pydantic
from pydantic import Field

from croco.benchmark_settings import Benchmark
from croco.reward_settings import RewardConfig
from croco.settings import Section


class Evaluation(Section):
    """Held-out samples per prompt, the judge (a reward that was not trained on), and an identifier.

    `engine` samples base and tuned answers; where it is not given, it is `sample.engine`.
    """

    n: int = Field(8, ge=1)
    engine: str | None = None
    judge: RewardConfig
    tie: float = Field(0.0, ge=0, description="scores closer than this are a tie")
    identifier: str = "heliport"
    audit: list[str] = []
    benchmark: Benchmark | None = None

    @pydantic.field_validator("judge")
    @classmethod
    def _not_trained(cls, judge: RewardConfig) -> RewardConfig:
        if judge.training:
            raise ValueError("a judge is not trained in the run: name a model, function or part")
        return judge
