"""A model as judge: it is asked to grade one answer, by a template, and its grade is the reward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from croco import engines, templates
from croco.engines import Reply, Request
from croco.errors import EngineError
from croco.languages import name_of
from croco.records import Candidate
from croco.reward_settings import RewardConfig
from croco.rewards import Scores
from croco.settings import Resources
from croco.stage import seed_of

#: What a template may ask for.
VALUES = {"prompt", "response", "language", "lang", "conversation"}


class PromptedJudge:
    """Scores with the number that a model gives; asked again, sampled, where it gives none."""

    def __init__(self, config: RewardConfig, resources: Resources, trained: Path | None) -> None:
        if config.prompt is None:
            raise EngineError(
                "a reward of kind 'prompt' needs prompt: give engine, model, template"
            )
        self._config = config.prompt
        self._template = templates.read(self._config.file, VALUES)
        sampling = self._config.sampling
        self._engine = engines.load(sampling.engine, self._config.ref, sampling, resources)

    def score(self, candidates: Sequence[Candidate]) -> Scores:
        """One grade per answer; EngineError where the model gives an answer none, asked again too."""
        grades: list[float | None] = [None] * len(candidates)
        problem = ""
        for attempt in range(1 + self._config.retries):
            missing = [k for k, grade in enumerate(grades) if grade is None]
            requests = [self._request(k, candidates[k], attempt) for k in missing]
            for replies in self._engine.generate([requests] if requests else []):
                for reply in replies:
                    grades[reply.request.key], said = self._grade(reply)
                    problem = problem or said
        without = sum(grade is None for grade in grades)
        if without:
            raise EngineError(
                f"the judge gave no grade to {without} of {len(grades)} answers ({problem})"
            )
        return Scores([grade for grade in grades if grade is not None])

    def _request(self, k: int, candidate: Candidate, attempt: int) -> Request:
        chat = self._template.chat(
            prompt=candidate.prompt,
            response=candidate.response,
            language=name_of(candidate.lang),
            lang=candidate.lang,
            conversation="\n\n".join(f"{t['role']}: {t['content']}" for t in candidate.chat),
        )
        config = self._config
        temperature = config.retry_temperature if attempt else config.temperature
        seed = seed_of(attempt, candidate.lang, candidate.prompt, candidate.response)
        return Request(k, chat, [seed], temperature)

    def _grade(self, reply: Reply) -> tuple[float | None, str]:
        """The grade, or what is wrong with the answer."""
        if reply.error:
            return None, str(reply.error)
        answer = reply.completions[0]
        if answer.finish_reason == "length":
            limit = self._config.max_tokens
            return None, f"its answer was cut off at {limit} tokens: raise max_tokens"
        try:
            return self._template.grade_in(answer.text), ""
        except ValueError as error:
            return None, f"its answer: {error}"
