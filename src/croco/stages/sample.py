"""Sampling: n answers per prompt from the policy, with or without an adapter, a seed per answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain

import pyarrow.compute as pc

from croco import engines, models
from croco.engines import Generator, Reply, Request
from croco.keeping import keep
from croco.models import ModelRef
from croco.records import Failure, Prompt, Responses
from croco.schemas import decode
from croco.settings import Sampling, Section
from croco.stage import Batch, Context, Item, Outcome, Sealed, seed_of


class Config(Section):
    """The policy, how to sample, the seed that all answers' seeds come from, and the engine's code."""

    policy: ModelRef
    sampling: Sampling
    seed: int
    code: dict[str, str]


def sample(config: Config, context: Context, batches: Iterable[Batch]) -> Iterator[list[Outcome]]:
    """One `Responses` row per prompt, as they are ready; answer k's seed is that of (seed, id, lang, k).

    What an earlier artifact has of a row is taken from there. The files of the input "adapter", where
    there is one, are put on the policy. Raises DataError, before anything is sampled, where a prompt is
    longer than the model's context.
    """
    work = _Work(config, context)
    for replies in _answered(config, context, work.requests(batches)):
        yield [*work.ready(), *map(work.outcome, replies)]
    yield work.ready()


def _answered(
    config: Config, context: Context, batches: Iterator[list[Request]]
) -> Iterator[list[Reply]]:
    """What the engine replies; it is loaded when the first request is there."""
    first = next(batches, None)
    if first is None:
        return
    yield from _engine(config, context).generate(chain([first], batches))


@keep
def _engine(config: Config, context: Context) -> Generator:
    adapter = context.inputs["adapter"].files if "adapter" in context.inputs else None
    policy, adapter = models.tuned(config.policy, adapter)
    engine = engines.load(
        config.sampling.engine, policy, config.sampling, context.resources, adapter
    )
    _refuse_too_long(engine, config, context)
    return engine


class _Work:
    """Rows in the making: asks for what an item lacks, and puts the row together."""

    def __init__(self, config: Config, context: Context) -> None:
        self.config = config
        tuned = "+adapter" if "adapter" in context.inputs else ""
        self.writer = f"{config.policy.name}@{config.policy.revision}{tuned}"
        self.items: dict[tuple[str, str], Item] = {}
        self.whole: list[Outcome] = []

    def requests(self, batches: Iterable[Batch]) -> Iterator[list[Request]]:
        """The owed answers of each batch; a row that lacks none is ready at once."""
        n = self.config.sampling.n
        for batch in batches:
            owed = []
            for item in batch:
                begun: Responses | None = item.earlier
                have = len(begun.texts) if begun else 0
                if begun and have >= n:
                    self.whole.append(_first(begun, n))
                    continue
                self.items[item.key] = item
                seeds = [seed_of(self.config.seed, *item.key, k) for k in range(n)]
                chat, temperature = item.rows["prompts"].chat, self.config.sampling.temperature
                owed.append(Request(item.key, chat, seeds[have:], temperature, have, seeds[0]))
            if owed:
                yield owed

    def ready(self) -> list[Outcome]:
        """Rows that need no engine."""
        ready, self.whole = self.whole, []
        return ready

    def outcome(self, reply: Reply) -> Outcome:
        """The row of a reply, after what was there already; a Failure where the engine could not."""
        item = self.items.pop(reply.request.key)
        if reply.error:
            return Failure.of(item.key, reply.error)
        wanted, found = len(reply.request.seeds), len(reply.completions)
        if wanted != found:
            error = ValueError(f"the engine gave {found} answers to this prompt, not {wanted}")
            return Failure.of(item.key, error)
        prompt: Prompt = item.rows["prompts"]
        begun = item.earlier or Responses(prompt.id, prompt.lang, reply.prompt_ids, [], [], [])
        return Responses(
            prompt.id,
            prompt.lang,
            reply.prompt_ids,
            begun.texts + [answer.text for answer in reply.completions],
            begun.token_ids + [answer.token_ids for answer in reply.completions],
            begun.finish_reasons + [answer.finish_reason for answer in reply.completions],
            self.writer,
            begun.prompt_tokens + reply.prompt_tokens,
            begun.completion_tokens + reply.completion_tokens,
            begun.whole + [answer.whole for answer in reply.completions],
            begun.reasoning_tokens + [answer.reasoning_tokens for answer in reply.completions],
            begun.special + [answer.special for answer in reply.completions],
        )


def _first(row: Responses, n: int) -> Responses:
    """The row's first answers, with what a server counted but for the tokens of the others."""
    others = sum(map(len, row.token_ids[n:]))
    return replace(
        row,
        texts=row.texts[:n],
        token_ids=row.token_ids[:n],
        finish_reasons=row.finish_reasons[:n],
        completion_tokens=max(0, row.completion_tokens - others),
        whole=row.whole[:n],
        reasoning_tokens=row.reasoning_tokens[:n],
        special=row.special[:n],
    )


def _longer(prompts: Sealed, room: int) -> Iterator[Prompt]:
    """The prompts of more bytes than that; the others, millions perhaps, become no Python objects."""
    for shard in range(prompts.shards):
        for batch in prompts.batches(shard, ("id", "lang", "prompt", "before")):
            turns = pc.list_value_length(batch["before"])
            long = pc.or_(pc.greater(pc.binary_length(batch["prompt"]), room), pc.greater(turns, 0))
            for values in batch.filter(long).to_pylist():
                prompt: Prompt = decode(Prompt, values)
                if sum(len(turn["content"].encode()) for turn in prompt.chat) > room:
                    yield prompt


def _refuse_too_long(engine: Generator, config: Config, context: Context) -> None:
    if engine.context_length is None:
        return
    room = engine.context_length - config.sampling.max_tokens - engines.TEMPLATE
    engines.refuse_too_long(engine, _longer(context.inputs["prompts"], room), config.sampling)
