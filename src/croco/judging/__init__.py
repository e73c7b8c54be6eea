"""Judges compare two answers to a prompt; the stage knows only the protocol and `load`.

A judge is a model that is shown both answers, in both orders (`prompted`), or a reward that scores
each answer by itself (`scored`), whose verdict knows no order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from croco import rewards, templates
from croco.judging.contests import VALUES, Contest, Decision
from croco.judging.scored import ScoredJudge
from croco.keeping import keep
from croco.plugins import load_class
from croco.reward_settings import RewardConfig
from croco.settings import Resources

#: Judges that see two answers at a time; every other kind is a reward's.
JUDGES = {"pairwise": "croco.judging.prompted:PairwiseJudge"}


class Judge(Protocol):
    """Decides contests; built as `Judge(config, resources)`."""

    def decide(self, batches: Iterable[list[Contest]]) -> Iterator[list[Decision]]:
        """One decision per contest, in any order, as they are ready."""
        ...


@keep
def load(config: RewardConfig, tie: float, resources: Resources) -> Judge:
    """The judge that `config` describes; scores of a reward closer than `tie` are a tie."""
    if config.kind in JUDGES:
        judge: Judge = load_class(config.kind, JUDGES, "judge")(config, resources)
        return judge
    return ScoredJudge(config, tie, resources)


def check(config: RewardConfig) -> None:
    """RecipeError where a template of the judge cannot be used."""
    if config.kind not in JUDGES:
        rewards.check(config)
    elif config.prompt:
        templates.read(config.prompt.file, VALUES)
