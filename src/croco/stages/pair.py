"""Pairing: chosen and rejected answers of every pool; a pool is a prompt in one language or in all.

A shard is done as Arrow columns, a few prompts at a time: no answer becomes a Python object unless it
is compared with another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from croco.calibration import fit
from croco.pairing.sampled import COLUMNS, pairs_of, rewards_of, whole
from croco.recipe import PairConfig
from croco.records import Key
from croco.records import Rewards as RewardRow
from croco.schemas import schema
from croco.settings import Section
from croco.stage import Context, Sealed


class Config(Section):
    """How pairs are taken, the seed of random choices, and digests of the user's code."""

    pair: PairConfig
    seed: int
    code: dict[str, str]


def pair(config: Config, context: Context) -> Callable[[int], Iterator[pa.Table]]:
    """One `Pairs` row per pool of a shard; a pool without a pair says why."""
    scores, samples = context.inputs["score"], context.inputs["sample"]
    known = (rewards_of(_scored(scores, shard)) for shard in range(scores.shards))
    calibration = fit(config.pair.normalise, known)

    def shard_rows(shard: int) -> Iterator[pa.Table]:
        scored = _scored(scores, shard)
        rewarded = whole(scored["rewards"])
        known = {key: place for place, key in enumerate(_keys(scored))}
        for rows in _pieces(samples.batches(shard, COLUMNS), config.pair.scope):
            places = np.array([known.get(key, -1) for key in _keys(rows)], dtype=np.int64)
            if (places < 0).any():  # a row that failed has no reward
                rows = rows.filter(pa.array(places >= 0))
            rewards = rewarded.take(pa.array(places[places >= 0]))
            yield pairs_of(rows, rewards, config.pair, calibration, config.seed)

    return shard_rows


def _scored(scores: Sealed, shard: int) -> pa.Table:
    """A shard's rewards: they are few beside the texts."""
    names = ["id", "lang", "rewards"]
    batches = list(scores.batches(shard, names))
    empty = schema(RewardRow)
    form = pa.schema([empty.field(name) for name in names])
    return pa.Table.from_batches(batches, form).combine_chunks()


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


def _keys(rows: pa.Table) -> Iterator[Key]:
    return zip(rows["id"].to_pylist(), rows["lang"].to_pylist(), strict=True)
