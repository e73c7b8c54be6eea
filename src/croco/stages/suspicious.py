"""Rewards that cannot be meant, told while they are made: all equal, or a classifier's all in [0, 1]."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from croco.records import Rewards
from croco.reward_settings import RewardConfig
from croco.stage import Outcome, shard_of

log = logging.getLogger("croco")

#: Fewer answers of a shard tell nothing: a few logits may lie in [0, 1] by chance.
FEW = 8
#: Kinds of rewards that give raw logits, which lie on both sides of [0, 1].
LOGITS = ("classifier", "vllm", "server")


class Seen:
    """The range of a shard's rewards, and of each part of a composite, warned of at the shard's end."""

    def __init__(self, config: RewardConfig, shards: int) -> None:
        self._shards, self._shard = shards, -1
        parts = config.parts or {}
        self._kinds = {"": config.kind} | {name: one.kind for name, one in parts.items()}
        self._ranges: dict[str, tuple[float, float]] = {}
        self._count = 0

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Take note of a batch, which is of one shard."""
        for row in outcomes:
            if not isinstance(row, Rewards) or not row.rewards:
                continue
            shard = shard_of(row.id, self._shards)
            if shard != self._shard:
                self.end()
                self._shard = shard
            self._count += len(row.rewards)
            for name, values in {"": row.rewards, **row.parts}.items():
                low, high = self._ranges.get(name, (values[0], values[0]))
                self._ranges[name] = min(low, *values), max(high, *values)

    def end(self) -> None:
        """Warn of what is wrong with the shard, and forget it."""
        told = [one for name, own in self._ranges.items() if (one := self._problem(name, *own))]
        for problem in told if self._count >= FEW else ():
            log.warning("shard %d: %s", self._shard, problem)
        self._ranges, self._count = {}, 0

    def _problem(self, name: str, low: float, high: float) -> str:
        what = f"rewards of part {name!r}" if name else "rewards"
        if low == high:
            return (
                f"all {self._count} {what} are {low:g}: they tell no answer from another and give no"
                " pair: look at the reward"
            )
        if self._kinds.get(name) in LOGITS and low >= 0 and high <= 1:
            return (
                f"all {self._count} {what} lie in [0, 1], as probabilities do: near 0 and 1 they tell"
                " answers apart worse than logits: take a model without a sigmoid at its end"
            )
        return ""
