"""Pairing: chosen and rejected answers of every pool; a pool is a prompt in one language or in all.

A shard is done as Arrow columns, a few prompts at a time: no answer becomes a Python object unless it
is compared with another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from croco.arrays import Ints
from croco.calibration import Calibration, Rewards, fit
from croco.errors import StageError
from croco.pairing.build import build
from croco.pairing.facts import Facts, text_facts
from croco.pairing.rows import Answers, pairs_table
from croco.recipe import Filters, PairConfig
from croco.records import Key
from croco.records import Rewards as RewardRow
from croco.schemas import schema
from croco.settings import Section
from croco.stage import Context, Sealed

COLUMNS = ("id", "lang", "texts", "finish_reasons", "policy")


class Config(Section):
    """How pairs are taken, the seed of random choices, and digests of the user's code."""

    pair: PairConfig
    seed: int
    code: dict[str, str]


def pair(config: Config, context: Context) -> Callable[[int], Iterator[pa.Table]]:
    """One `Pairs` row per pool of a shard; a pool without a pair says why."""
    scores, samples = context.inputs["score"], context.inputs["sample"]
    known = (_rewards(_scored(scores, shard)) for shard in range(scores.shards))
    calibration = fit(config.pair.normalise, known)

    def shard_rows(shard: int) -> Iterator[pa.Table]:
        scored = _scored(scores, shard)
        rewarded = _whole(scored["rewards"])
        known = {key: place for place, key in enumerate(_keys(scored))}
        for rows in _pieces(samples.batches(shard, COLUMNS), config.pair.scope):
            places = np.array([known.get(key, -1) for key in _keys(rows)], dtype=np.int64)
            if (places < 0).any():  # a row that failed has no reward
                rows = rows.filter(pa.array(places >= 0))
            rewards = rewarded.take(pa.array(places[places >= 0]))
            yield _table(config, _answers(rows, rewards, config.pair.filters), calibration)

    return shard_rows


def _table(config: Config, answers: Answers, calibration: Calibration) -> pa.Table:
    def texts(rows: Ints) -> list[str]:
        return list(answers.texts.take(pa.array(rows)).to_pylist())

    built = build(answers.facts, texts, config.pair, calibration, config.seed)
    return pairs_table(answers, built)


def _scored(scores: Sealed, shard: int) -> pa.Table:
    """A shard's rewards: they are few beside the texts."""
    names = ["id", "lang", "rewards"]
    batches = list(scores.batches(shard, names))
    empty = schema(RewardRow)
    form = pa.schema([empty.field(name) for name in names])
    return pa.Table.from_batches(batches, form).combine_chunks()


def _rewards(scored: pa.Table) -> Rewards:
    """Rewards as a calibration takes them."""
    rewards = _whole(scored["rewards"])
    counts = rewards.value_lengths().to_numpy(zero_copy_only=False)
    ids, langs = (scored[name].combine_chunks().dictionary_encode() for name in ("id", "lang"))
    prompts, spoken = (np.repeat(codes.indices.to_numpy(), counts) for codes in (ids, langs))
    return Rewards(rewards.flatten().to_numpy(), prompts, spoken, langs.dictionary.to_pylist())


def _pieces(batches: Iterator[pa.RecordBatch], scope: str) -> Iterator[pa.Table]:
    """Pieces of a shard that hold whole pools: whole prompts, where a pool spans languages."""
    rest = None
    for batch in batches:
        piece = pa.Table.from_batches([batch])
        if scope == "monolingual":
            yield piece
            continue
        piece = piece if rest is None else pa.concat_tables([rest, piece])
        cut = pc.index(piece["id"], piece["id"][-1]).as_py()
        if cut:
            yield piece.slice(0, cut)
        rest = piece.slice(cut)
    if rest is not None:
        yield rest


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece; it is copied only where it is in several."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _answers(rows: pa.Table, rewards: pa.ListArray, filters: Filters) -> Answers:
    """The answers of some rows with their rewards, each row's after the other's."""
    counts = rewards.value_lengths().to_numpy(zero_copy_only=False)
    texts = _whole(rows["texts"])
    if not np.array_equal(counts, texts.value_lengths().to_numpy(zero_copy_only=False)):
        raise StageError("a prompt has not as many rewards as answers: score its answers again")
    (ids, prompt), (langs, lang), (writers, writer) = (
        _coded(column, counts) for column in (rows["id"], rows["lang"], _writers(rows))
    )
    flat, finish = texts.flatten(), _whole(rows["finish_reasons"]).flatten()
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
        signature=read.signature,
    )
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    return Answers(facts, flat, finish, np.arange(len(flat)) - starts)


def _keys(rows: pa.Table) -> Iterator[Key]:
    return zip(rows["id"].to_pylist(), rows["lang"].to_pylist(), strict=True)


def _writers(rows: pa.Table) -> pa.ChunkedArray:
    known = "policy" in rows.column_names  # older versions did not write it down
    return rows["policy"] if known else pa.chunked_array([pa.array([""] * rows.num_rows)])


def _coded(column: pa.ChunkedArray, counts: Ints) -> tuple[list[str], Ints]:
    """The sorted names in a column, and for each answer the place of its row's name among them."""
    table, codes = np.unique(np.array(column.to_pylist(), dtype=object), return_inverse=True)
    return table.tolist(), np.repeat(codes, counts)
