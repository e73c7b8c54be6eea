"""Counts of everything that went into pairs and everything that did not, and why."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from croco.arrays import Ints
from croco.pairing.build import Built
from croco.pairing.facts import Facts
from croco.pairing.prompts import UNUSABLE
from croco.recipe import PairConfig
from croco.selection import REASONS, Selection

#: Chosen's language -> rejected's language -> pairs.
Matrix = dict[str, dict[str, int]]


class Counts:
    """What parts gave, added up."""

    def __init__(self, config: PairConfig, policy: str | None) -> None:
        self.config = config
        self.policy = policy
        self.responses = self.prompts = self.prompts_twice = self.unmatched = self.untold = 0
        self.pools: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.languages: dict[str, Counter[str]] = {}
        self.writers: dict[str, Counter[str]] = {}
        self.after: Counter[tuple[str, str]] = Counter()
        self.before: Counter[tuple[str, str]] = Counter()

    def add(self, facts: Facts, built: Built) -> None:
        """Count a part."""
        found, pools = built.selection, built.selection.pools
        self.responses += len(facts.reward)
        self.pools.update(
            made=len(pools.label),
            fallback=int(pools.fallback.sum()),
            of_one=int((pools.size == 1).sum()),
            all_tied=int(((pools.low == pools.high) & (pools.size > 1)).sum()),
            without_pair=int((pools.reason > 0).sum()),
        )
        self.pools["repeats"] += int(built.repeats().sum())
        self.untold += int(facts.untold.sum())
        self.reasons.update(_named(REASONS, pools.reason[pools.reason > 0]))
        if found.refusal is not None:
            self.refused.update(_named(REASONS, found.refusal))
        everyone = np.arange(len(facts.reward))
        sides = {"responses": everyone, "chosen": found.chosen, "rejected": found.rejected}
        for side, rows in sides.items():
            _tally(self.languages, side, _named(facts.langs, facts.lang[rows]))
            _tally(self.writers, side, _named(facts.writers, facts.writer[rows]))
        _tally(self.languages, "pairs", _named(facts.langs, built.prompt_lang))
        self.after.update(_languages(facts, found))
        self.before.update(_languages(facts, built.raw) if built.raw else {})

    def summary(
        self,
        refused: Counter[str],
        unmatched: Counter[str],
        filtered: Counter[str],
        reasoning: Counter[str],
    ) -> dict[str, Any]:
        """All counts as plain values; `on_policy` are shares of the texts that the policy wrote."""
        pairs = sum(self.after.values())
        return {
            "settings": self.config.model_dump(mode="json"),
            "responses": {
                "used": self.responses,
                "refused": {why: n for why, n in refused.items() if why != UNUSABLE},
                "without_prompt": self.unmatched,
                "filtered": dict(filtered),
                "cannot_tell_language": self.untold,
                "reasoning": dict(reasoning),
            },
            "prompts": {
                "read": self.prompts,
                "refused": refused[UNUSABLE],
                "standing_twice": self.prompts_twice,
                "without_responses": unmatched["prompt without responses"],
            },
            "pools": dict(self.pools) | {"why_no_pair": dict(self.reasons)},
            "pairs": {"made": pairs, "refused": dict(self.refused)},
            "languages": {lang: dict(own) for lang, own in sorted(self.languages.items())},
            "matrix": _matrix(self.after),
            "matrix_of_raw_rewards": _matrix(self.before) if self.before else None,
            "written_by": {
                name or "unknown": dict(own) for name, own in sorted(self.writers.items())
            },
            "on_policy": self._on_policy(),
        }

    def _on_policy(self) -> dict[str, Any] | None:
        if self.policy is None:
            return None
        own, shares = self.writers.get(self.policy, Counter()), {}
        for side in ("responses", "chosen", "rejected"):
            total = sum(counts[side] for counts in self.writers.values())
            shares[side] = own[side] / total if total else None
        return {"policy": self.policy, **shares}


def _tally(table: dict[str, Counter[str]], what: str, counts: dict[str, int]) -> None:
    for name, count in counts.items():
        table.setdefault(name, Counter())[what] += count


def _named(names: Any, codes: Ints) -> dict[str, int]:
    found, counts = np.unique(codes, return_counts=True)
    return {names[code]: int(n) for code, n in zip(found, counts, strict=True)}


def _languages(facts: Facts, found: Selection) -> dict[tuple[str, str], int]:
    both = facts.lang[found.chosen] * len(facts.langs) + facts.lang[found.rejected]
    codes, counts = np.unique(both, return_counts=True)
    pairs = (divmod(int(code), len(facts.langs)) for code in codes)
    return {
        (facts.langs[one], facts.langs[other]): int(n)
        for (one, other), n in zip(pairs, counts, strict=True)
    }


def _matrix(counts: Counter[tuple[str, str]]) -> Matrix:
    table: Matrix = {}
    for (chosen, rejected), n in sorted(counts.items()):
        table.setdefault(chosen, {})[rejected] = n
    return table
