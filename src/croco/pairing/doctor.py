"""The pair doctor: what pairs would teach besides quality, measured per language and overall.

`Exam` is what is looked at: pools with all their rewards, and pairs. `diagnose` gives figures as plain
values; `croco.pairing.verdicts` says what they mean and what to do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from croco import intervals
from croco.arrays import Bools, Floats, Ints
from croco.errors import RecipeError
from croco.languages import load_identifier
from croco.pairing.reasons import FLAGS, Words, of_table
from croco.recipe import PairConfig
from croco.records import MULTIPLE
from croco.selection import select
from croco.spoken import hear

#: Whether chosen and rejected are in the prompt's language, 1.0 or 0.0; None: one cannot be told.
Both = tuple[float, float] | None

Names = npt.NDArray[np.object_]

OVERALL = "overall"
#: Of fewer pairs, or pools, shares tell nothing: the rule of the reward audit.
FEW = 30
#: Sizes of pools that are tried, pools of a language they are tried on, and pairs whose languages are
#: identified, per language.
SIZES = (4, 8, 16, 32, 64, 128, 256, 512)
TRIED_POOLS, IDENTIFIED = 1000, 500


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs, one value each: ids, languages by name, rewards (NaN where unknown), lengths in characters.

    `cut_off` flags are -1 where it is not known. `samples` are places of some pairs, with both texts.
    """

    id: Names
    prompt_lang: Names
    chosen_lang: Names
    rejected_lang: Names
    chosen_reward: Floats
    rejected_reward: Floats
    chosen_length: Ints
    rejected_length: Ints
    chosen_cut_off: Ints
    rejected_cut_off: Ints
    samples: dict[int, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exam:
    """What is looked at, and how the pairs were taken; `pools` is None where only pairs are known.

    `identifier` is what tells languages where it is not the filters'; `words` are those in which advice is
    given.
    `pools` has the columns lang, pool_size, pool_mean, pool_std, pool_min, pool_max, best, repeats,
    cut_off, empty, untold, special, reason and scores (the rewards that were compared, a list per pool).
    """

    name: str
    config: PairConfig
    pairs: Pairs
    pools: pa.Table | None = None
    raw: dict[str, dict[str, int]] | None = None
    on_policy: dict[str, Any] | None = None
    identifier: str = ""
    words: Words = FLAGS


def diagnose(exam: Exam, identifier: str | None, seed: int = 42) -> dict[str, Any]:
    """All figures, per language (of a pair: its prompt's) and overall, as plain values.

    Shares that nobody could know are None. Without an identifier languages are not looked at.
    """
    spoken = _spoken(exam.pairs, identifier)
    languages = sorted({*exam.pairs.prompt_lang, *_pool_langs(exam)} - {MULTIPLE})
    table = {
        lang: _figures(exam, None if lang == OVERALL else lang, spoken, seed)
        for lang in (*languages, OVERALL)
    }
    return {
        "name": exam.name,
        "settings": exam.config.model_dump(mode="json"),
        "languages": table,
        "matrix": _matrix(exam.pairs),
        "matrix_of_raw_rewards": exam.raw,
        "identifier": identifier,
        "on_policy": exam.on_policy,
        "n_advice": _advice(table[OVERALL]),
        "place": {"sample": exam.words.sample, "pair": exam.words.pair},
        "no_pair": _no_pair(exam),
    }


def _figures(exam: Exam, lang: str | None, spoken: dict[int, Both], seed: int) -> dict[str, Any]:
    own = np.flatnonzero([lang in (None, one) for one in exam.pairs.prompt_lang])
    found = {"pairs": len(own)} | _pair_figures(exam.pairs, own, spoken)
    if exam.pools is not None:
        langs = np.array(exam.pools["lang"].to_pylist(), dtype=object)
        mask = np.ones(len(langs), bool) if lang is None else langs == lang
        if mask.any():
            pools = exam.pools.filter(pa.array(mask))
            found |= _pool_figures(pools) | {"by_n": by_size(pools, exam.config, seed)}
    return found


def _pool_langs(exam: Exam) -> list[str]:
    return [] if exam.pools is None else exam.pools["lang"].unique().to_pylist()


def _pair_figures(pairs: Pairs, own: Ints, spoken: dict[int, Both]) -> dict[str, Any]:
    gap = pairs.chosen_reward[own] - pairs.rejected_reward[own]
    gap = gap[np.isfinite(gap)]
    lengths = pairs.chosen_length[own], pairs.rejected_length[own]
    ids = [pairs.id[k] for k in own]
    heard = [k for k in own.tolist() if k in spoken]
    told = [k for k in heard if spoken[k] is not None]
    sides = list(zip(*(both for k in told if (both := spoken[k])), strict=True)) or [(), ()]
    return {
        "margin": _mean(gap),
        "median_margin": _known(float(np.median(gap))) if gap.size else None,
        "margins": _quantiles(gap),
        "length_gap": _mean(lengths[0] - lengths[1]),
        "length_gaps": _quantiles(lengths[0] - lengths[1]),
        "longer_is_chosen": _rule(*lengths, ids),
        "in_language_is_chosen": _rule(
            np.array(sides[0]), np.array(sides[1]), [pairs.id[k] for k in told]
        ),
        "only_chosen_in_language": _mean([a > b for a, b in zip(*sides, strict=True)]),
        "only_rejected_in_language": _mean([a < b for a, b in zip(*sides, strict=True)]),
        "cannot_tell": len(heard) - len(told) if heard else None,
        "chosen_cut_off": _flagged(pairs.chosen_cut_off[own]),
        "rejected_cut_off": _flagged(pairs.rejected_cut_off[own]),
        "prompt_not_in_chosens_language": _mean(
            [pairs.prompt_lang[k] != pairs.chosen_lang[k] for k in own]
        ),
    }


def _pool_figures(pools: pa.Table) -> dict[str, Any]:
    nothing = pa.array(np.zeros(len(pools), np.int64))  # of what older files do not count
    names = set(pools.column_names)
    column = {n: (pools[n] if n in names else nothing).to_numpy() for n in NUMBERS}
    size, responses = column["pool_size"], int(column["pool_size"].sum())
    std = column["pool_std"]
    tied = (column["pool_max"] == column["pool_min"]) & (size > 1)
    below = (column["pool_mean"] - 2 * std < column["pool_min"]) & ~tied  # but for rounding
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = (column["pool_max"] - column["pool_mean"]) / std
    return {
        "pools": len(size),
        "pool_size": float(np.median(size)),
        "without_pair": int((np.array(pools["reason"].to_pylist(), dtype=object) != "").sum()),
        "target_below_minimum": _mean(below),
        "best_above_mean_in_std": _mean(spread[np.isfinite(spread) & ~tied]),
        "tied_best": _mean(column["best"] > 1),
        "all_tied": _mean(tied),
        "of_one": _mean(size == 1),
        "repeats": int(column["repeats"].sum()) / responses,
        "empty": int(column["empty"].sum()) / responses,
        "untold": int(column["untold"].sum()) / responses,
        "responses": responses,
        "special": int(column["special"].sum()),
        "cut_off": int(column["cut_off"].sum()) / responses,
    }


#: The columns of numbers in `Exam.pools`.
NUMBERS = ["pool_size", "pool_mean", "pool_std", "pool_min", "pool_max"]
NUMBERS += ["best", "repeats", "cut_off", "empty", "untold", "special"]


def by_size(pools: pa.Table, config: PairConfig, seed: int) -> list[dict[str, Any]]:
    """What the same pools would give if they were smaller: each is drawn from without replacement.

    `gap` is chosen's less rejected's score, in standard deviations of the whole pool, over the pools
    that have at least n responses; `target_below_minimum` is the share of drawn pools whose mean - 2 std
    lies below their minimum.
    """
    scores = [np.asarray(row.as_py()) for row in pools["scores"][:TRIED_POOLS]]
    generator = np.random.default_rng(seed)
    scores = [generator.permutation(own) for own in scores if len(own) > 1 and np.ptp(own) > 0]
    largest = max(map(len, scores), default=0)
    sizes = sorted({n for n in SIZES if n <= largest} | ({largest} if largest > 1 else set()))
    found = [_of_size(n, [own for own in scores if len(own) >= n], config) for n in sizes]
    return [row for row in found if row["gap"] is not None]  # none where all that was drawn ties


def _advice(figures: dict[str, Any]) -> str | None:
    """How many responses are enough; None where too few pools tell nothing."""
    return n_advice(figures.get("by_n") or []) if figures.get("pools", 0) >= FEW else None


def _no_pair(exam: Exam) -> str:
    """How many pools give no pair, by reason, in words; empty where nobody knows, or all give one."""
    if exam.pools is None:
        return ""
    return of_table(exam.pools, exam.config.filters).words(exam.words)


def n_advice(sizes: Sequence[dict[str, Any]]) -> str | None:
    """In words, how many responses are enough: 90 % of the largest gap, and few pools below the target."""
    if len(sizes) < 2:
        return None
    largest = sizes[-1]
    for row in sizes:
        if row["gap"] >= 0.9 * largest["gap"] and row["target_below_minimum"] <= 0.1:
            return (
                f"n = {row['n']} is enough: {row['gap'] / largest['gap']:.0%} of the gap at"
                f" n = {largest['n']}, mean - 2 std below the minimum in"
                f" {row['target_below_minimum']:.0%} of the pools"
            )
    half = min(sizes, key=lambda row: abs(row["n"] - largest["n"] / 2))
    return (
        f"more than n = {largest['n']} would help: from n = {half['n']} to {largest['n']} the gap grew by"
        f" {largest['gap'] / half['gap'] - 1:.0%}, and mean - 2 std is still below the minimum in"
        f" {largest['target_below_minimum']:.0%} of the pools"
    )


def _of_size(n: int, scores: list[Floats], config: PairConfig) -> dict[str, Any]:
    drawn = np.concatenate([own[: len(own) // n * n] / own.std() for own in scores])
    found = select(
        drawn,
        np.repeat(np.arange(len(drawn) // n), n),
        rejected=config.rejected,
        chosen=config.chosen,
    )
    pools = found.pools
    return {
        "n": n,
        "pools": len(scores),
        "gap": _mean(drawn[found.chosen] - drawn[found.rejected]),
        "target_below_minimum": _mean(
            (pools.mean - 2 * pools.std < pools.low) & (pools.low < pools.high)
        ),
    }


def _spoken(pairs: Pairs, identifier: str | None) -> dict[int, Both]:
    """For some pairs, whether chosen and rejected are in the prompt's language."""
    if identifier is None or not pairs.samples:
        return {}
    texts = [text for sides in pairs.samples.values() for text in sides]
    langs = [pairs.prompt_lang[k] for k in pairs.samples for _ in range(2)]
    heard = [one.right for one in hear(texts, langs, load_identifier(identifier))]
    return {
        k: None if one is None or other is None else (float(one), float(other))
        for k, one, other in zip(pairs.samples, heard[::2], heard[1::2], strict=True)
    }


def identifier_for(exam: Exam) -> str | None:
    """The exam's identifier, by default the filters', if it can be loaded here."""
    name = exam.identifier or exam.config.filters.identifier
    try:
        load_identifier(name)
    except RecipeError:
        return None
    return name


def _rule(chosen: Any, rejected: Any, ids: Sequence[str]) -> dict[str, Any] | None:
    """How often a rule picks the chosen, ties as half, with its 95 % interval over prompts."""
    if not len(ids):
        return None
    right = (chosen > rejected) + 0.5 * (chosen == rejected)
    _, cluster = np.unique(np.array(ids, dtype=object), return_inverse=True)
    means = np.bincount(cluster, right) / np.bincount(cluster)
    found = intervals.share(means[:, None])
    return {
        "share": found.mean,
        "ci": [_known(found.low), _known(found.high)],
        "pairs": len(ids),
    }


def _matrix(pairs: Pairs) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for one, other in sorted(zip(pairs.chosen_lang, pairs.rejected_lang, strict=True)):
        row = table.setdefault(one, {})
        row[other] = row.get(other, 0) + 1
    return table


def _mean(values: Floats | Ints | Bools | Sequence[Any]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _quantiles(values: Floats | Ints) -> list[float]:
    """The 5, 25, 50, 75 and 95 % quantiles."""
    found = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95]) if len(values) else np.zeros(0)
    return list(map(float, found))


def _flagged(flags: Ints) -> float | None:
    return _mean(flags[flags >= 0])


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
