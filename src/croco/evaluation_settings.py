"""The recipe's section `evaluate`: how tuned and base are compared, and what else is measured."""

from __future__ import annotations

from typing import Any

import pydantic
from pydantic import Field

from croco.benchmark_settings import Benchmark
from croco.reward_settings import RewardConfig
from croco.settings import Language, Section, refuse_unused

#: The identifier that checks another one, where the recipe names none.
OTHER = {"heliport": "py3langid", "py3langid": "heliport"}


class Evaluation(Section):
    """Held-out samples per prompt, the judge, and an identifier.

    The judge is a reward that was not trained on, or of kind `pairwise`: a model that is shown a base
    and a tuned answer by a template, in both orders. `engine` samples base and tuned answers; where it is
    not given, it is `sample.engine`. `languages` are those that are evaluated without being trained.
    `sentences` are files of parallel sentences (JSON Lines with id, lang, text) on which the loss of base
    and tuned is taken; `sentences_limit` takes the first ids in sorted order.
    """

    n: int = Field(8, ge=1)
    engine: str | None = None
    judge: RewardConfig
    tie: float = Field(0.0, ge=0, description="scores closer than this are a tie")
    identifier: str = "heliport"
    second_identifier: str | None = None
    audit: list[str] = []
    benchmark: Benchmark | None = None
    languages: list[Language] = []
    sentences: list[str] = []
    sentences_limit: int | None = Field(None, ge=1)

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

    @pydantic.model_validator(mode="after")
    def _of_scores(self) -> Evaluation:
        if self.judge.kind == "pairwise":
            refuse_unused(self, ["tie"], "is of scores, and a pairwise judge gives verdicts")
        return self

    @pydantic.model_validator(mode="after")
    def _limits_something(self) -> Evaluation:
        if self.sentences_limit and not self.sentences:
            raise ValueError("sentences_limit needs sentences: name their files or remove it")
        return self
