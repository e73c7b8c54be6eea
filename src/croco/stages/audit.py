"""Audit: how often the reward prefers the better answer, per language, on pairs it never saw."""

from __future__ import annotations

from croco import rewards
from croco.datafiles import FileRef, read_preferences
from croco.metrics import audit as accuracy
from croco.recipe import RewardConfig, Section
from croco.records import Audit, Candidate
from croco.stage import Context


class Config(Section):
    """The reward with its model revisions, the preference files, and the seed of the bootstrap."""

    reward: RewardConfig
    models: dict[str, str]
    files: list[FileRef]
    seed: int


def audit(config: Config, context: Context) -> list[Audit]:
    """Accuracy per language and flaw, with intervals, beside what "the longer wins" gets."""
    trained = context.inputs["reward"].files if "reward" in context.inputs else None
    pairs = read_preferences(config.files)
    if not pairs:
        return []
    scorer = rewards.load(config.reward, context.resources, trained)
    chosen = scorer.score([Candidate(row.lang, row.prompt, row.chosen) for row in pairs])
    rejected = scorer.score([Candidate(row.lang, row.prompt, row.rejected) for row in pairs])
    return accuracy(pairs, chosen.rewards, rejected.rewards, config.seed)
