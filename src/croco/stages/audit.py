"""Audit: how often the reward prefers the better answer, per language, on pairs it never saw."""

from __future__ import annotations

from croco import rewards
from croco.datafiles import FileRef, read_preferences
from croco.errors import DataError
from croco.metrics import audit as accuracy
from croco.recipe import RewardConfig, Section
from croco.records import Audit, Candidate, Preference
from croco.rewards import Scorer
from croco.stage import Context


class Config(Section):
    """The reward, digests of code in it, the preference files, and the seed of the bootstrap."""

    reward: RewardConfig
    code: dict[str, str]
    files: list[FileRef]
    seed: int

    def check(self) -> None:
        """DataError where a file has a bad line."""
        read_preferences(self.files)


def audit(config: Config, context: Context) -> list[Audit]:
    """Accuracy per language and flaw, with intervals, beside what "the longer wins" gets."""
    trained = context.inputs["reward"].files if "reward" in context.inputs else None
    pairs = read_preferences(config.files)
    if not pairs:
        return []
    scorer = rewards.load(config.reward, context.resources, trained)
    try:
        chosen, rejected = _score(scorer, pairs)
    except Exception:
        for row in pairs:  # one by one, to name the pair at fault
            try:
                _score(scorer, [row])
            except Exception as error:
                raise DataError(
                    f"audit: pair {row.id!r} ({row.lang}) cannot be scored ({error}): mend or remove it"
                ) from error
        raise
    return accuracy(pairs, chosen, rejected, config.seed)


def _score(scorer: Scorer, pairs: list[Preference]) -> tuple[list[float], list[float]]:
    chosen = scorer.score([Candidate(row.lang, row.prompt, row.chosen) for row in pairs])
    rejected = scorer.score([Candidate(row.lang, row.prompt, row.rejected) for row in pairs])
    return chosen.rewards, rejected.rewards
