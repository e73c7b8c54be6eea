"""Audit: how often the reward prefers the better answer, per language, on pairs it never saw."""

from __future__ import annotations

from croco import rewards
from croco.datafiles import FileRef, read_preferences
from croco.errors import DataError, StopError
from croco.metrics import audit as accuracy
from croco.records import Audit, Candidate, Preference
from croco.reward_settings import RewardConfig
from croco.rewards import Scorer
from croco.settings import Section
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
    except StopError:
        raise
    except Exception:
        for row in pairs:  # one by one, to name the pair at fault
            try:
                _score(scorer, [row])
            except StopError:
                raise
            except Exception as error:
                raise DataError(
                    f"audit: pair {row.id!r} ({row.lang}) cannot be scored ({error}): mend or remove it"
                ) from error
        raise
    return accuracy(pairs, chosen, rejected, config.seed)


def _score(scorer: Scorer, pairs: list[Preference]) -> tuple[list[float], list[float]]:
    chosen = [Candidate(row.lang, row.prompt, row.chosen, row.before) for row in pairs]
    rejected = [Candidate(row.lang, row.prompt, row.rejected, row.before) for row in pairs]
    return scorer.score(chosen).rewards, scorer.score(rejected).rewards
