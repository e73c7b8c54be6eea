"""Judging: a scorer that was not trained on compares tuned and base answers to held-out prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from croco import rewards
from croco.errors import StopError
from croco.languages import LanguageIdentifier, load_identifier, same_language
from croco.records import Failure, Verdicts
from croco.reward_settings import RewardConfig
from croco.rewards import Scorer
from croco.settings import Section
from croco.stage import Batch, Context, Item, Outcome
from croco.stages.score import candidates_of
from croco.stats import win_rate


class Config(Section):
    """The judging scorer, the margin of a tie, the identifier, and digests of the user's code."""

    judge: RewardConfig
    code: dict[str, str]
    tie: float
    identifier: str


def judge(config: Config, context: Context, batches: Iterable[Batch]) -> Iterator[list[Outcome]]:
    """One `Verdicts` row per prompt: every tuned answer against every base answer."""
    scorer: Scorer | None = None
    identifier: LanguageIdentifier | None = None
    for batch in batches:
        scorer = scorer or rewards.load(config.judge, context.resources)
        identifier = identifier or load_identifier(config.identifier)
        yield [_outcome(config, item, scorer, identifier) for item in batch]


def _outcome(config: Config, item: Item, scorer: Scorer, identifier: LanguageIdentifier) -> Outcome:
    try:
        return _verdicts(config, item, scorer, identifier)
    except StopError:
        raise
    except Exception as error:
        return Failure.of(item.key, error)


def _verdicts(
    config: Config, item: Item, scorer: Scorer, identifier: LanguageIdentifier
) -> Verdicts:
    base = scorer.score(candidates_of(item, "base")).rewards
    tuned = scorer.score(candidates_of(item, "tuned")).rewards
    base_languages = _languages(identifier, item.rows["base"].texts)
    tuned_languages = _languages(identifier, item.rows["tuned"].texts)
    lang = item.key[1]
    return Verdicts(
        *item.key,
        win_rate(tuned, base, config.tie),
        base,
        tuned,
        [float(same_language(found, lang)) for found in base_languages],
        [float(same_language(found, lang)) for found in tuned_languages],
        base_languages,
        tuned_languages,
    )


def _languages(identifier: LanguageIdentifier, texts: Sequence[str]) -> list[str]:
    return [ranked[0][0] for ranked in identifier.identify(texts)]
