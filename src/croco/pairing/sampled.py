"""Pairs of sampled answers: columns of `Responses` and `Rewards` rows in, `Pairs` rows out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from croco.arrays import Bools, Ints
from croco.calibration import Calibration, Rewards
from croco.errors import StageError
from croco.pairing.build import build
from croco.pairing.facts import Facts, text_facts
from croco.pairing.rows import Answers, pairs_table
from croco.recipe import Filters, PairConfig

#: The columns of `Responses` rows that pairs are made of.
COLUMNS = ("id", "lang", "texts", "finish_reasons", "policy", "special")


def pairs_of(
    rows: pa.Table, rewards: pa.ListArray, config: PairConfig, calibration: Calibration, seed: int
) -> pa.Table:
    """A `Pairs` row per pool of some `Responses` rows, which hold whole pools; sorted by key.

    `rewards` has a list per row. Raises StageError where they are not as many as the answers.
    """
    answers = _answers(rows, rewards, config.filters)

    def texts(places: Ints) -> list[str]:
        return list(answers.texts.take(pa.array(places)).to_pylist())

    built = build(answers.facts, texts, config, calibration, seed)
    return pairs_table(answers, built)


def rewards_of(scored: pa.Table) -> Rewards:
    """Rewards as a calibration takes them."""
    rewards = whole(scored["rewards"])
    counts = rewards.value_lengths().to_numpy(zero_copy_only=False)
    ids, langs = (scored[name].combine_chunks().dictionary_encode() for name in ("id", "lang"))
    prompts, spoken = (np.repeat(codes.indices.to_numpy(), counts) for codes in (ids, langs))
    return Rewards(rewards.flatten().to_numpy(), prompts, spoken, langs.dictionary.to_pylist())


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece; it is copied only where it is in several."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _answers(rows: pa.Table, rewards: pa.ListArray, filters: Filters) -> Answers:
    """The answers of some rows with their rewards, each row's after the other's."""
    counts = rewards.value_lengths().to_numpy(zero_copy_only=False)
    texts = whole(rows["texts"])
    if not np.array_equal(counts, texts.value_lengths().to_numpy(zero_copy_only=False)):
        raise StageError("a prompt has not as many rewards as answers: score its answers again")
    (ids, prompt), (langs, lang), (writers, writer) = (
        _coded(column, counts) for column in (rows["id"], rows["lang"], _writers(rows))
    )
    flat, finish = texts.flatten(), whole(rows["finish_reasons"]).flatten()
    read = text_facts(flat, langs, lang, filters)
    facts = Facts(
        ids=ids,
        langs=langs,
        writers=writers,
        prompt=prompt,
        lang=lang,
        writer=writer,
        reward=rewards.flatten().to_numpy(),
        mark=read.mark,
        length=read.length,
        cut_off=pc.equal(finish, "length").to_numpy(zero_copy_only=False),
        empty=read.empty,
        share=read.share,
        untold=read.untold,
        special=_special(rows, counts),
        signature=read.signature,
    )
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    return Answers(facts, flat, finish, np.arange(len(flat)) - starts)


def _writers(rows: pa.Table) -> pa.ChunkedArray:
    known = "policy" in rows.column_names  # older versions did not write it down
    return rows["policy"] if known else pa.chunked_array([pa.array([""] * rows.num_rows)])


def _special(rows: pa.Table, counts: Ints) -> Bools:
    """Which answers have special tokens inside; none where nobody looked."""
    found = np.zeros(int(counts.sum()), bool)
    if "special" in rows.column_names:
        inside = whole(rows["special"])
        known = inside.value_lengths().to_numpy(zero_copy_only=False) > 0
        found[np.repeat(known, counts)] = inside.flatten().to_numpy() > 0
    return found


def _coded(column: pa.ChunkedArray, counts: Ints) -> tuple[list[str], Ints]:
    """The sorted names in a column, and for each answer the place of its row's name among them."""
    table, codes = np.unique(np.array(column.to_pylist(), dtype=object), return_inverse=True)
    return table.tolist(), np.repeat(codes, counts)
