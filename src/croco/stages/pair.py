"""Pairing: a chosen and a rejected answer per pool; a pool is a prompt in one language or in all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from croco.recipe import PairConfig, Section
from croco.records import Key, Pair, Pairs, Responses, Rewards, Side
from croco.selection import select
from croco.stage import Batch, Context, Item, Outcome, seed_of


class Config(Section):
    """How pairs are taken, and the seed of random choices."""

    pair: PairConfig
    seed: int


@dataclass(frozen=True, slots=True)
class _Pool:
    """The answers of a pool, all languages in a row, each with the prompt ids it was asked with."""

    sides: list[Side]
    prompts: dict[str, list[int]]


def pair(config: Config, context: Context, batches: Iterable[Batch]) -> Iterator[list[Outcome]]:
    """One `Pairs` row per pool; a pool without a pair says why."""
    for batch in batches:
        yield [_pairs(config, item) for item in batch]


def _pairs(config: Config, item: Item) -> Pairs:
    pool = _pool(item)
    finished = [side.finish_reason == "stop" for side in pool.sides]
    choice = select(
        [side.reward for side in pool.sides],
        [side.text for side in pool.sides],
        strategy=config.pair.rejected,
        count=config.pair.pairs_per_pool,
        choosable=[
            bool(side.text.strip()) and (done or not config.pair.finished_only)
            for side, done in zip(pool.sides, finished, strict=True)
        ],
    )
    made = [
        _pair(config, item.key, rank, pool, pool.sides[chosen], pool.sides[rejected])
        for rank, (chosen, rejected) in enumerate(choice.pairs)
    ]
    return Pairs(
        *item.key, made, len(pool.sides), choice.mean, choice.std, choice.fallback, choice.reason
    )


def _pool(item: Item) -> _Pool:
    scores, samples = item.rows["score"], item.rows["sample"]
    scores = scores if isinstance(scores, list) else [scores]
    samples = samples if isinstance(samples, list) else [samples]
    sides = [side for one, two in zip(scores, samples, strict=True) for side in _sides(one, two)]
    return _Pool(sides, {row.lang: row.prompt_ids for row in samples})


def _sides(rewards: Rewards, responses: Responses) -> Iterator[Side]:
    for k, reward in enumerate(rewards.rewards):
        yield Side(
            rewards.lang,
            k,
            responses.texts[k],
            responses.token_ids[k],
            reward,
            responses.finish_reasons[k],
        )


def _pair(config: Config, key: Key, rank: int, pool: _Pool, chosen: Side, rejected: Side) -> Pair:
    languages = {"chosen": chosen.lang, "rejected": rejected.lang}
    if config.pair.prompt_language == "random":
        generator = np.random.default_rng(seed_of(config.seed, *key, rank))
        lang = languages[str(generator.choice(["chosen", "rejected"]))]
    else:
        lang = languages[config.pair.prompt_language]
    return Pair(lang, pool.prompts[lang], chosen, rejected)
