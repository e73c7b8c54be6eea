"""The names of strategies for chosen and rejected, taken apart (`croco.selection` says what they mean)."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from croco.arrays import Floats


@dataclass(frozen=True, slots=True)
class Rule:
    """A strategy's name taken apart: its kind, and the number in it."""

    kind: str
    value: float = 0.0

    @classmethod
    def chosen(cls, name: str) -> Rule:
        """`max`, `top-K` or `quantile-P`; ValueError for anything else."""
        if name == "max":
            return cls("max")
        if match := re.fullmatch(r"top-([1-9]\d*)", name):
            return cls("top", int(match[1]))
        if rule := _quantile(name):
            return rule
        raise ValueError(
            f"chosen strategy {name!r} is not known: use max, top-4 or quantile-0.9, for instance"
        )

    @classmethod
    def rejected(cls, name: str) -> Rule:
        """`mean-2std` and its like, `q1`, `quantile-P`, `min`, `median`, `random`; else ValueError."""
        named = {"min": cls("quantile", 0.0), "median": cls("quantile", 0.5)}
        named |= {"q1": cls("quantile", 0.25), "random": cls("random"), "mean": cls("mean")}
        if name in named:
            return named[name]
        if match := re.fullmatch(r"mean([+-]\d+(?:\.\d+)?)\*?std", name):
            return cls("mean", float(match[1]))
        if rule := _quantile(name):
            return rule
        raise ValueError(
            f"rejected strategy {name!r} is not known: use mean-2std, mean-1.5std, q1, quantile-0.1,"
            " min, median or random, for instance"
        )

    def target(self, rewards: Floats) -> Floats:
        """The reward that a response should be nearest to, per pool; rewards are pools x responses."""
        if self.kind == "mean":
            return np.asarray(rewards.mean(axis=1) + self.value * rewards.std(axis=1))
        if self.kind == "quantile":
            return np.asarray(np.quantile(rewards, self.value, axis=1))
        return np.full(len(rewards), np.nan)


def _quantile(name: str) -> Rule | None:
    match = re.fullmatch(r"quantile-(0(?:\.\d+)?|1(?:\.0+)?)", name)
    return Rule("quantile", float(match[1])) if match else None
