"""Sampling: n answers per prompt from the policy, with or without an adapter, a seed per answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from croco import engines
from croco.engines import Generator
from croco.errors import DataError, EngineError
from croco.models import ModelRef
from croco.recipe import Sampling, Section
from croco.records import Completion, Prompt, Responses
from croco.stage import Batch, Context, Outcome, seed_of


class Config(Section):
    """The policy, how to sample, the seed that all answers' seeds come from, and the engine's code."""

    policy: ModelRef
    sampling: Sampling
    seed: int
    code: dict[str, str]


def sample(config: Config, context: Context, batches: Iterable[Batch]) -> Iterator[list[Outcome]]:
    """One `Responses` row per prompt; answer k's seed depends on (seed, id, lang, k) alone.

    The files of the input "adapter", where there is one, are put on the policy. Raises DataError,
    before anything is sampled, where a prompt is longer than the model's context.
    """
    adapter = context.inputs["adapter"].files if "adapter" in context.inputs else None
    writer = f"{config.policy.name}@{config.policy.revision}" + ("+adapter" if adapter else "")
    engine: Generator | None = None
    for batch in batches:
        if engine is None:
            engine = engines.load(
                config.sampling.engine, config.policy, config.sampling, context.resources, adapter
            )
            _refuse_too_long(engine, config, context)
        chats = [[{"role": "user", "content": item.rows["prompts"].prompt}] for item in batch]
        prompt_ids = [engine.encode(chat) for chat in chats]
        seeds = [_seeds(config, *item.key) for item in batch]
        completions = engine.generate(prompt_ids, seeds)
        yield [
            _row(item.rows["prompts"], ids, answers, config.sampling.n, writer)
            for item, ids, answers in zip(batch, prompt_ids, completions, strict=True)
        ]


def _seeds(config: Config, id: str, lang: str) -> list[int]:
    return [seed_of(config.seed, id, lang, k) for k in range(config.sampling.n)]


def _row(
    prompt: Prompt, ids: list[int], answers: list[Completion], n: int, writer: str
) -> Responses:
    if len(answers) != n:
        raise EngineError(
            f"the engine gave {len(answers)} answers to prompt {prompt.id!r}, not {n}"
        )
    return Responses(
        prompt.id,
        prompt.lang,
        ids,
        [answer.text for answer in answers],
        [answer.token_ids for answer in answers],
        [answer.finish_reason for answer in answers],
        writer,
    )


def _refuse_too_long(engine: Generator, config: Config, context: Context) -> None:
    room = engine.context_length - config.sampling.max_tokens
    for prompt in context.inputs["prompts"].rows():
        # A token is at least a byte and a template seldom over 256 tokens: short texts need no count.
        if len(prompt.prompt.encode()) + 256 <= room:
            continue
        length = len(engine.encode([{"role": "user", "content": prompt.prompt}]))
        if length > room:
            raise DataError(
                f"prompt {prompt.id!r} ({prompt.lang}) has {length} tokens and the model's context"
                f" leaves {room} beside sample.max_tokens: shorten it or lower sample.max_tokens"
            )
