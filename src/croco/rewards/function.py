"""A Python function as reward."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from pathlib import Path

from croco.errors import EngineError
from croco.plugins import load_class
from croco.records import Candidate
from croco.reward_settings import RewardConfig
from croco.rewards import Scores
from croco.settings import Resources


class Function:
    """Scores with `config.function` (`module:function`), called once per answer.

    The function is called as `f(prompt=..., response=..., lang=...)` and returns a number; where it names
    a parameter `chat` it is given all messages before the response as well.
    """

    def __init__(self, config: RewardConfig, resources: Resources, trained: Path | None) -> None:
        self.name = config.function or ""
        self.function = load_class(self.name, {}, "function")
        self.takes_chat = "chat" in inspect.signature(self.function).parameters

    def score(self, candidates: Sequence[Candidate]) -> Scores:
        """The function's values; EngineError where one is not a finite number."""
        return Scores([self._score(candidate) for candidate in candidates])

    def _score(self, candidate: Candidate) -> float:
        more = {"chat": candidate.chat} if self.takes_chat else {}
        value = self.function(
            prompt=candidate.prompt, response=candidate.response, lang=candidate.lang, **more
        )
        try:
            reward = float(value)
        except (TypeError, ValueError):
            reward = math.nan
        if not math.isfinite(reward):
            raise EngineError(f"function {self.name} gave {value!r}: it must give a finite number")
        return reward
