"""Judging: tuned and base answers to held-out prompts are compared by a judge that nobody trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    """One `Verdicts` row per prompt; the judge is loaded at the first batch."""
    stream = iter(batches)
    first = next(stream, None)
    if first is None:
        return
    decide = judging.load(config.judge, config.tie, context.resources).decide
    contests = ([_contest(config, item) for item in batch] for batch in chain([first], stream))
    for decisions in decide(contests):
        yield [_outcome(decision) for decision in decisions]


def _contest(config: Config, item: Item) -> Contest:
    rows = item.rows
    seed = seed_of(config.seed, *item.key)
    return Contest(item.key, rows["prompts"], rows["base"].texts, rows["tuned"].texts, seed)


def _outcome(decision: Decision) -> Outcome:
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
    )
