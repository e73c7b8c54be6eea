"""A reward as judge: each answer is scored by itself, and the higher score wins."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from croco import rewards
from croco.errors import StopError
from croco.judging.contests import Contest, Decision, Verdict
from croco.records import Candidate
from croco.reward_settings import RewardConfig
from croco.settings import Resources

#: Each tuned answer meets so many base answers at most: all of them up to this n.
OPPONENTS = 16


class ScoredJudge:
    """Every tuned answer against every base answer, or against 16 of them where there are more."""

    def __init__(self, config: RewardConfig, tie: float, resources: Resources) -> None:
        self._scorer = rewards.load(config, resources)
        self._tie = tie

    def decide(self, batches: Iterable[list[Contest]]) -> Iterator[list[Decision]]:
        """Batch by batch."""
        for batch in batches:
            yield [self._decision(contest) for contest in batch]

    def _decision(self, contest: Contest) -> Decision:
        try:
            base, tuned = self._scores(contest, contest.base), self._scores(contest, contest.tuned)
        except StopError:
            raise
        except Exception as error:
            return Decision(contest, error=error)
        places = meetings(len(base), len(tuned))
        verdicts = [[_verdict(tuned[t] - base[b], self._tie)] for b, t in places]
        return Decision(contest, places, verdicts, base_scores=base, tuned_scores=tuned)

    def _scores(self, contest: Contest, texts: list[str]) -> list[float]:
        prompt = contest.prompt
        candidates = [Candidate(prompt.lang, prompt.prompt, text, prompt.before) for text in texts]
        return finite(self._scorer.score(candidates).rewards)


def finite(scores: list[float]) -> list[float]:
    """The scores; ValueError where one is not a finite number."""
    if not all(map(math.isfinite, scores)):
        raise ValueError("scores must be finite numbers")
    return scores


def meetings(base: int, tuned: int) -> list[tuple[int, int]]:
    """Which (base, tuned) answers meet: the k-th tuned one meets base k, k + 1 and so on in a ring."""
    around = min(base, OPPONENTS)
    return [((t + step) % base, t) for t in range(tuned) for step in range(around)]


def _verdict(margin: float, tie: float) -> Verdict:
    if abs(margin) <= tie:
        return "tie"
    return "win" if margin > 0 else "loss"
