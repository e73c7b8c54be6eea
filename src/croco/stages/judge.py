"""Judging: tuned and base answers to held-out prompts are compared by a judge that nobody trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain

from croco import judging
from croco.errors import StopError
from croco.judging.contests import Contest, Decision
from croco.records import Failure, Verdicts
from croco.reward_settings import RewardConfig
from croco.settings import Section
from croco.stage import Batch, Context, Item, Outcome, seed_of


class Config(Section):
    """The judge, the margin of a tie, the seed of a judge that samples, and digests of user code."""

    judge: RewardConfig
    code: dict[str, str]
    tie: float
    seed: int

    def check(self) -> None:
        """RecipeError where the judge's template cannot be used."""
        judging.check(self.judge)


def judge(config: Config, context: Context, batches: Iterable[Batch]) -> Iterator[list[Outcome]]:
    """One `Verdicts` row per prompt; the judge is loaded when there is something to decide.

    Where an earlier artifact asked less often, only the verdicts that were missing there are asked for.
    """
    work = _Work(config)
    contests = work.contests(batches)
    first = next(contests, None)
    if first is not None:
        decide = judging.load(config.judge, config.tie, context.resources).decide
        for decisions in decide(chain([first], contests)):
            yield [*work.ready(), *map(work.outcome, decisions)]
    yield work.ready()


class _Work:
    """Rows to decide, and those that are complete already."""

    def __init__(self, config: Config) -> None:
        self.config = config
        own = config.judge
        self.attempts = 1 + own.prompt.retries if own.prompt and own.kind in judging.JUDGES else 0
        self.complete: list[Outcome] = []

    def contests(self, batches: Iterable[Batch]) -> Iterator[list[Contest]]:
        """What is to be decided of each batch."""
        for batch in batches:
            found = [contest for item in batch if (contest := self._contest(item))]
            if found:
                yield found

    def _contest(self, item: Item) -> Contest | None:
        rows, earlier = item.rows, item.earlier
        if earlier and earlier.complete and not earlier.retried:
            self.complete.append(replace(earlier, attempts=self.attempts))
            return None
        # Of what was asked for more often than now nobody knows what it was after fewer attempts.
        less = earlier if earlier and earlier.attempts < self.attempts else None
        if less and less.complete:
            self.complete.append(replace(less, attempts=self.attempts))
            return None
        seed = seed_of(self.config.seed, *item.key)
        base, tuned = rows["base"].texts, rows["tuned"].texts
        return Contest(item.key, rows["prompts"], base, tuned, seed, less)

    def ready(self) -> list[Outcome]:
        """Rows that need no judge."""
        ready, self.complete = self.complete, []
        return ready

    def outcome(self, decision: Decision) -> Outcome:
        """The row of a decision; a Failure where there is none."""
        return _outcome(decision, self.attempts)


def _outcome(decision: Decision, attempts: int) -> Outcome:
    key = decision.contest.key
    if isinstance(decision.error, StopError):
        raise decision.error
    if decision.error:
        return Failure.of(key, decision.error)
    return Verdicts(
        *key,
        [base for base, _ in decision.places],
        [tuned for _, tuned in decision.places],
        [list(verdicts) for verdicts in decision.verdicts],
        decision.texts,
        decision.base_scores,
        decision.tuned_scores,
        decision.retried,
        decision.reasons,
        attempts,
    )
