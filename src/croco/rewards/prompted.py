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
    """Scores with the number that a model gives; asked once more, sampled, where it gives none."""

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
        """One grade per answer; EngineError where the model gives an answer none in two attempts."""
        grades: list[float | None] = [None] * len(candidates)
        problem = ""
        for temperature in (self._config.temperature, self._config.retry_temperature):
            owed = [k for k, grade in enumerate(grades) if grade is None]
            requests = [self._request(k, candidates[k], temperature) for k in owed]
            for replies in self._engine.generate([requests] if requests else []):
                for reply in replies:
                    grades[reply.request.key], said = self._grade(reply)
                    problem = problem or said
        missing = sum(grade is None for grade in grades)
        if missing:
            raise EngineError(
                f"the judge gave no grade to {missing} of {len(grades)} answers ({problem})"
            )
        return Scores([grade for grade in grades if grade is not None])

    def _request(self, k: int, candidate: Candidate, temperature: float) -> Request:
        chat = self._template.chat(
            prompt=candidate.prompt,
            response=candidate.response,
            language=name_of(candidate.lang),
            lang=candidate.lang,
            conversation="\n\n".join(f"{t['role']}: {t['content']}" for t in candidate.chat),
        )
        seed = seed_of(str(temperature), candidate.lang, candidate.prompt, candidate.response)
        return Request(k, chat, [seed], temperature)

    def _grade(self, reply: Reply) -> tuple[float | None, str]:
        """The grade, or what is wrong with the answer."""
        if reply.error:
            return None, str(reply.error)
        text = reply.completions[0].text
        try:
            return float(self._template.answer_in(text) or ""), ""
        except ValueError:
            return None, f"its answer {text[-80:]!r} has no grade where the template looks for one"
