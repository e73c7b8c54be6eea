"""The recipe's section `evaluate`: how tuned and base are compared, and what else is measured."""

from __future__ import annotations

from typing import Any

import pydantic
from pydantic import Field

from croco.benchmark_settings import Benchmark
from croco.reward_settings import RewardConfig
from croco.settings import Section

#: The identifier that checks another one, where the recipe names none.
OTHER = {"heliport": "py3langid", "py3langid": "heliport"}


class Evaluation(Section):
    """Held-out samples per prompt, the judge, and an identifier.

    The judge is a reward that was not trained on, or of kind `pairwise`: a model that is shown a base
    and a tuned answer by a template, in both orders.
    `engine` samples base and tuned answers; where it is not given, it is `sample.engine`.
    """

    n: int = Field(8, ge=1)
    engine: str | None = None
    judge: RewardConfig
    tie: float = Field(0.0, ge=0, description="scores closer than this are a tie")
    identifier: str = "heliport"
    second_identifier: str | None = None
    audit: list[str] = []
    benchmark: Benchmark | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _second(cls, values: Any) -> Any:
        if isinstance(values, dict) and "second_identifier" not in values:
            first = values.get("identifier", "heliport")
            return values | {
                "second_identifier": OTHER.get(first) if isinstance(first, str) else None
            }
        return values

    @pydantic.model_validator(mode="after")
    def _two_identifiers(self) -> Evaluation:
        if self.second_identifier == self.identifier:
            raise ValueError(
                "second_identifier is the identifier itself: name another one, or null for none"
            )
        return self

    @pydantic.field_validator("judge")
    @classmethod
    def _not_trained(cls, judge: RewardConfig) -> RewardConfig:
        if judge.training:
            raise ValueError("a judge is not trained in the run: name a model, function or part")
        return judge
