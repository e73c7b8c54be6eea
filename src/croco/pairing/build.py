"""Pairs from facts: filters say who may stand on which side, `croco.selection` takes the pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from croco.arrays import Bools, Floats, Ints
from croco.calibration import Calibration
from croco.pairing.facts import Facts, near_duplicates
from croco.recipe import PairConfig
from croco.records import MULTIPLE, Key
from croco.selection import NO_REFERENCE, Pools, Selection, select
from croco.stage import seed_of
from croco.texts import same_text

#: The texts of some responses, by their places in the facts.
Texts = Callable[[Ints], Sequence[str]]

#: Why a response may not stand on a side, by code; 0 is one that may stand on both.
BARRED = (
    "",
    "empty",
    "cut off by the token limit",
    "not in the language that was asked for",
    "nearly the same as a better response",
    "special tokens inside, which its text leaves out",
)
EMPTY, CUT_OFF, WRONG_LANGUAGE, NEAR_DUPLICATE, SPECIAL = range(1, 6)


@dataclass(frozen=True, slots=True)
class Built:
    """The pairs of some pools; indices are places in the facts.

    `keys` are the pools' keys, in the order of `selection.pools`. `prompt_lang` is a place in the
    facts' `langs`, per pair. `score` is the reward that was compared: calibrated, or as it was.
    `barred` is a code per response, `may_be_chosen` and `may_be_rejected` say from which sides. `code`
    is equal in a pool where texts are, `order` then tells languages and writers apart. `raw` is what
    uncalibrated rewards would have given, None where rewards are not calibrated.
    """

    keys: Sequence[Key]
    selection: Selection
    prompt_lang: Ints
    pool: Ints
    score: Floats
    barred: Ints
    may_be_chosen: Bools
    may_be_rejected: Bools
    code: Ints
    order: Ints
    raw: Selection | None

    def repeats(self) -> Bools:
        """Responses with the text of one that stands before them in their pool."""
        rows = np.flatnonzero(self.code < len(self.pool))  # the texts that were compared at all
        order = rows[np.lexsort((self.code[rows], self.pool[rows]))]
        same = (np.diff(self.pool[order]) == 0) & (np.diff(self.code[order]) == 0)
        found = np.zeros(len(self.pool), bool)
        found[order[1:][same]] = True
        return found

    def best(self) -> Ints:
        """The place of the best response that may be chosen, for each pool that has one."""
        order = np.lexsort((self.order, self.code, -self.score, ~self.may_be_chosen, self.pool))
        first = order[np.flatnonzero(np.diff(self.pool[order], prepend=-1))]
        return first[self.may_be_chosen[first]]


def build(
    facts: Facts, texts: Texts, config: PairConfig, calibration: Calibration, seed: int
) -> Built:
    """The pairs of all pools of some facts."""
    keys, pool = _pools(facts, config.scope)
    score = calibration(facts.rewards)
    known = np.isfinite(score)
    score = np.where(known, score, 0.0)
    calibrated = config.normalise != "none"
    tied = [score, facts.reward] if calibrated else [score]
    codes = text_codes(pool, [facts.mark, *tied], lambda rows: _keys(texts(rows)))
    barred, may_be_chosen, may_be_rejected = _filtered(facts, pool, score, codes, config)
    rules: dict[str, Any] = {
        "rejected": config.rejected,
        "chosen": config.chosen,
        "count": config.pairs_per_pool,
        "lengths": facts.length,
        "order": facts.lang * len(facts.writers) + facts.writer,
        "min_gap": config.filters.min_gap,
        "max_length_ratio": config.filters.max_length_ratio,
        "seed": _seeds(keys, pool, config, seed),
        "may_be_rejected": may_be_rejected & known,
        "may_be_chosen": may_be_chosen & known,
    }
    found = select(score, pool, texts=codes, **rules)
    lacking = np.bincount(pool, ~known, len(keys)) > 0
    if lacking.any():
        found = replace(found, pools=_without_reference(found.pools, lacking))
    return Built(
        keys=keys,
        selection=found,
        prompt_lang=_prompt_languages(facts, found, keys, config, seed),
        pool=pool,
        score=score,
        barred=barred,
        may_be_chosen=may_be_chosen & known,
        may_be_rejected=may_be_rejected & known,
        code=codes,
        order=rules["order"],
        raw=select(facts.reward, pool, texts=codes, **rules) if calibrated else None,
    )


def _without_reference(pools: Pools, lacking: Bools) -> Pools:
    """The pools, of which those that lack English responses have no scores to speak of."""
    unknown = {
        name: np.where(lacking, np.nan, getattr(pools, name))
        for name in ("mean", "std", "low", "high", "target")
    }
    return replace(
        pools,
        **unknown,
        best=np.where(lacking, 0, pools.best),
        fallback=pools.fallback & ~lacking,
        reason=np.where(lacking, NO_REFERENCE, pools.reason),
    )


def _pools(facts: Facts, scope: str) -> tuple[list[Key], Ints]:
    """The pools' keys, sorted, and the place of each response's pool among them."""
    many = len(facts.langs)
    code = facts.prompt if scope == "multilingual" else facts.prompt * many + facts.lang
    counts = np.bincount(code)
    present = np.flatnonzero(counts)
    place = np.cumsum(counts > 0) - 1
    if scope == "multilingual":
        keys = [(facts.ids[one], MULTIPLE) for one in present.tolist()]
    else:
        keys = [(facts.ids[one // many], facts.langs[one % many]) for one in present.tolist()]
    return keys, place[code]


def _filtered(
    facts: Facts, pool: Ints, score: Floats, codes: Ints, config: PairConfig
) -> tuple[Ints, Bools, Bools]:
    """Why each response is barred, if it is, and whether it may be chosen and rejected."""
    filters, n = config.filters, len(pool)
    wrong = facts.share < filters.threshold  # NaN is not
    barred, may_be_chosen, may_be_rejected = (
        np.zeros(n, np.int64),
        np.ones(n, bool),
        np.ones(n, bool),
    )
    for code, treatment, hit in (
        (CUT_OFF, filters.cut_off, facts.cut_off),
        (WRONG_LANGUAGE, filters.wrong_language, wrong),
        (EMPTY, filters.empty, facts.empty),
        (SPECIAL, "drop", facts.special),  # what is trained on is not what was scored
    ):
        if treatment != "off":
            barred[hit] = code
            may_be_chosen &= ~hit
        if treatment == "drop":
            may_be_rejected &= ~hit
    if filters.near_duplicates is not None:
        order = np.lexsort((codes, -score, ~may_be_chosen, pool))
        alike = _near_duplicates(facts, pool, order, filters.near_duplicates)
        barred[alike & (barred == 0)] = NEAR_DUPLICATE
        may_be_chosen &= ~alike
        may_be_rejected &= ~alike
    return barred, may_be_chosen, may_be_rejected


def _near_duplicates(facts: Facts, pool: Ints, order: Ints, similarity: float) -> Bools:
    """Responses that are like one of their pool that stands before them in the order."""
    if facts.signature is None:
        raise ValueError("near-duplicates are looked for in signatures, and there are none")
    found = np.zeros(len(pool), bool)
    for rows in np.split(order, np.flatnonzero(np.diff(pool[order])) + 1):
        found[rows] = near_duplicates(facts.signature[rows], similarity)
    return found


def _keys(texts: Sequence[str]) -> list[str]:
    """What texts are compared by; empty ones, where they may stand in pairs, by themselves."""
    return [same_text(text) or text for text in texts]


def text_codes(pool: Ints, marks: Sequence[Floats | Ints], texts: Texts) -> Ints:
    """Codes that are equal in a pool exactly where texts are, and in the order of texts in ties.

    Only texts that share their pool and one of the `marks` (of text or reward) with another can matter:
    the others are not even read.
    """
    rows = np.flatnonzero(np.logical_or.reduce([_shared(pool, mark) for mark in marks]))
    codes = np.arange(len(pool)) + len(pool)
    if rows.size:
        found = np.array(texts(rows), dtype=object)
        codes[rows] = np.unique(found, return_inverse=True)[1]
    return codes


def _shared(pool: Ints, mark: Floats | Ints) -> Bools:
    """Rows whose pool has another row of the same mark; a few more for a hash that collides."""
    bits = (mark + 0).view(np.uint64)  # -0.0 becomes 0.0
    with np.errstate(over="ignore"):
        keys = (pool.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) ^ bits
    ordered = np.sort(keys)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if not repeated.size:
        return np.zeros(len(keys), bool)
    place = np.minimum(np.searchsorted(repeated, keys), len(repeated) - 1)
    return np.asarray(repeated[place] == keys)


def _seeds(keys: Sequence[Key], pool: Ints, config: PairConfig, seed: int) -> Ints | int:
    """A seed per response where something is drawn: that of its pool."""
    if config.rejected != "random" and not config.chosen.startswith("top-"):
        return 0
    return np.array([seed_of(seed, *key) for key in keys], dtype=np.int64)[pool]


def _prompt_languages(
    facts: Facts, found: Selection, keys: Sequence[Key], config: PairConfig, seed: int
) -> Ints:
    """The language each pair's prompt is shown in, as a place in the facts' languages."""
    sides = {"chosen": facts.lang[found.chosen], "rejected": facts.lang[found.rejected]}
    if config.prompt_language != "random":
        return sides[config.prompt_language]
    rank = np.arange(len(found.pool)) - np.searchsorted(found.pool, found.pool)
    draws = [
        seed_of(seed, *keys[pool], int(k)) % 2 for pool, k in zip(found.pool, rank, strict=True)
    ]
    return np.where(draws, sides["chosen"], sides["rejected"])
