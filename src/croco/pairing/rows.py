"""Pairs as Arrow columns: what a stage seals, and what is said of every pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from croco.arrays import Ints
from croco.pairing.build import BARRED, Built
from croco.pairing.facts import Facts
from croco.records import Pairs
from croco.schemas import schema
from croco.selection import REASONS, Selection


@dataclass(frozen=True, slots=True)
class Answers:
    """Responses as flat columns: facts, and each one's text, finish reason and place in its row."""

    facts: Facts
    texts: pa.Array
    finish: pa.Array
    index: Ints


def pairs_table(answers: Answers, built: Built) -> pa.Table:
    """`Pairs` rows, one per pool, sorted by key."""
    facts, found = answers.facts, built.selection
    columns = pool_columns(facts, built)
    pairs = pa.StructArray.from_arrays(
        [
            names(facts.langs, built.prompt_lang),
            _sides(answers, built, found.chosen),
            _sides(answers, built, found.rejected),
        ],
        fields=_fields("pairs"),
    )
    barred = np.flatnonzero(built.barred)
    barred = barred[np.argsort(built.pool[barred], kind="stable")]
    why = pa.StructArray.from_arrays(
        [
            names(facts.langs, facts.lang[barred]),
            pa.array(answers.index[barred]),
            pa.array(built.may_be_rejected[barred]),
            names(BARRED, built.barred[barred]),
        ],
        fields=_fields("barred"),
    )
    pools = len(built.keys)
    columns["pairs"] = _lists(pairs, found.pool, pools)
    columns["barred"] = _lists(why, built.pool[barred], pools)
    columns["top"] = _top(answers, built)
    form = schema(Pairs)
    return pa.table([columns[name] for name in form.names], schema=form)


def pool_columns(facts: Facts, built: Built) -> dict[str, pa.Array]:
    """What is known of each pool besides its pairs, in the order of `built.keys`."""
    pools, count = built.selection.pools, len(built.keys)
    refused, refusal = built.selection.refused, built.selection.refusal
    if refused is None or refusal is None:  # pragma: no cover
        raise ValueError("a selection as a whole has its refused pairs")

    def counted(flags: npt.NDArray[np.bool_]) -> pa.Array:
        return pa.array(np.bincount(built.pool[flags], minlength=count))

    return {
        "id": pa.array([key[0] for key in built.keys], pa.string()),
        "lang": pa.array([key[1] for key in built.keys], pa.string()),
        "pool_size": pa.array(pools.size),
        "pool_mean": pa.array(pools.mean),
        "pool_std": pa.array(pools.std),
        "pool_min": pa.array(pools.low),
        "pool_max": pa.array(pools.high),
        "best": pa.array(pools.best),
        "repeats": counted(built.repeats()),
        "cut_off": counted(facts.cut_off),
        "empty": counted(facts.empty),
        "untold": counted(facts.untold),
        "special": counted(facts.special),
        "fallback": pa.array(pools.fallback),
        "reason": names(REASONS, pools.reason),
        "scores": _scores(built),
        "refused": _lists(names(REASONS, refusal), refused.pool, count),
        "raw": _raw_languages(facts, built.raw, count),
    }


def names(table: Sequence[str], codes: Ints) -> pa.Array:
    """The names behind some places in a table."""
    return pa.array(table, pa.string()).take(pa.array(codes, pa.int64()))


def _sides(answers: Answers, built: Built, rows: Ints) -> pa.Array:
    facts = answers.facts
    return pa.StructArray.from_arrays(
        [
            names(facts.langs, facts.lang[rows]),
            pa.array(answers.index[rows]),
            answers.texts.take(pa.array(rows)),
            pa.array(facts.reward[rows]),
            pa.array(built.score[rows]),
            answers.finish.take(pa.array(rows)),
            names(facts.writers, facts.writer[rows]),
        ],
        fields=list(schema(Pairs).field("pairs").type.value_type.field("chosen").type),
    )


def _top(answers: Answers, built: Built) -> pa.Array:
    """The best response of each pool, null where none may be chosen."""
    best = built.best()
    place = np.full(len(built.keys), -1)
    place[built.pool[best]] = np.arange(len(best))
    return _sides(answers, built, best).take(pa.array(place, mask=place < 0))


def _scores(built: Built) -> pa.Array:
    order = np.argsort(built.pool, kind="stable")
    return _lists(pa.array(built.score[order]), built.pool[order], len(built.keys))


def _raw_languages(facts: Facts, raw: Selection | None, count: int) -> pa.Array:
    none = np.zeros(0, np.int64)
    pool, chosen, rejected = (raw.pool, raw.chosen, raw.rejected) if raw else (none, none, none)
    both = np.stack([facts.lang[chosen], facts.lang[rejected]], axis=1).ravel()
    pairs = _lists(names(facts.langs, both), np.repeat(np.arange(len(pool)), 2), len(pool))
    return _lists(pairs, pool, count)


def _lists(values: pa.Array, owner: Ints, count: int) -> pa.Array:
    """Values as one list per owner; owners are in order."""
    offsets = np.searchsorted(owner, np.arange(count + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _fields(name: str) -> list[pa.Field]:
    return list(schema(Pairs).field(name).type.value_type)
