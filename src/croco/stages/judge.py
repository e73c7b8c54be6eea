"""Judging: a scorer that was not trained on compares tuned and base answers to held-out prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from croco import rewards
from croco.errors import StopError
from croco.records import Failure, Verdicts
from croco.reward_settings import RewardConfig
from croco.rewards import Scorer
from croco.settings import Section
from croco.stage import Batch, Context, Item, Outcome
from croco.stages.score import candidates_of
from croco.stats import win_rate


class Config(Section):
    """The judging scorer, the margin of a tie, and digests of the user's code."""

    judge: RewardConfig
    code: dict[str, str]
    tie: float


def judge(config: Config, context: Context, batches: Iterable[Batch]) -> Iterator[list[Outcome]]:
    """One `Verdicts` row per prompt: every tuned answer against every base answer."""
    scorer: Scorer | None = None
    for batch in batches:
        scorer = scorer or rewards.load(config.judge, context.resources)
        yield [_outcome(config, item, scorer) for item in batch]


def _outcome(config: Config, item: Item, scorer: Scorer) -> Outcome:
    try:
        return _verdicts(config, item, scorer)
    except StopError:
        raise
    except Exception as error:
        return Failure.of(item.key, error)


def _verdicts(config: Config, item: Item, scorer: Scorer) -> Verdicts:
    base = scorer.score(candidates_of(item, "base")).rewards
    tuned = scorer.score(candidates_of(item, "tuned")).rewards
    return Verdicts(*item.key, win_rate(tuned, base, config.tie), base, tuned)
