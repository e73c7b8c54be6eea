"""Encoding: another model's answers in the token ids of the policy that is tuned on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from croco.completions import opening_of
from croco.errors import StopError
from croco.examples import trained_on
from croco.models import ModelRef
from croco.reasoning import KNOWN
from croco.records import Encoded, Failure, Key, Prompt, Responses
from croco.settings import Reasoning, Section, TemplateArguments
from croco.stage import Batch, Context, Item, Outcome, shard_of
from croco.tokens import (
    answer_ids,
    answer_text,
    ends_turn,
    load_tokenizer,
    prompt_ids,
)


class Config(Section):
    """The policy whose token ids are wanted, with the arguments of its chat template, and the stop texts
    and marks of reasoning of the model that answered."""

    policy: ModelRef
    stop: list[str]
    chat_template_kwargs: TemplateArguments = {}
    reasoning: Reasoning = None


def encode(config: Config, context: Context, batches: Iterable[Batch]) -> Iterator[list[Outcome]]:
    """One `Encoded` row per `Responses` row; what is not trained on is not encoded.

    Prompts are rendered by the policy's chat template. Answers are encoded from their texts, with the end
    of turn where they came to their end, unless the policy's tokenizer reads the sampled ids as the same
    text: then these stay as they were.
    """
    encoder = _Encoder(load_tokenizer(config.policy), config)
    shard, wanted = -1, dict[Key, set[int]]()
    for batch in batches:
        own = shard_of(batch[0].key[0], context.inputs["pair"].shards)
        if own != shard:
            shard, wanted = own, _wanted(context, own)
        yield [encoder.outcome(item, wanted.get(item.key)) for item in batch]


def _wanted(context: Context, shard: int) -> dict[Key, set[int]]:
    """The places of the answers of a shard that may be trained on, by the key of their row."""
    found: defaultdict[Key, set[int]] = defaultdict(set)
    for row in context.inputs["pair"].read(shard):
        for pair in trained_on(row, "dpo") + trained_on(row, "sft"):
            found[row.id, pair.prompt_lang].update()  # its prompt, if no answer to it
            for side in (pair.chosen, pair.rejected):
                found[row.id, side.lang].add(side.index)
    return dict(found)


class _Encoder:
    """A policy's tokenizer."""

    def __init__(self, tokenizer: Any, config: Config) -> None:
        self.tokenizer, self.stop = tokenizer, config.stop
        self.arguments = config.chat_template_kwargs
        self.markers = KNOWN if config.reasoning is None else config.reasoning

    def outcome(self, item: Item, wanted: set[int] | None) -> Outcome:
        """The row of an item; a Failure where the chat template refuses its prompt."""
        row: Responses = item.rows["sample"]
        prompt: Prompt = item.rows["prompts"]
        if wanted is None:
            return Encoded(*item.key, [], [[] for _ in row.texts], 0)
        try:
            asked = prompt_ids(self.tokenizer, prompt.chat, self.arguments)
            opening = opening_of(self.tokenizer, asked, self.markers)
            kept = {k for k in wanted if self._own(row, k, opening)}
            made = [
                self._ids(row, k, kept, opening) if k in wanted else []
                for k in range(len(row.texts))
            ]
            return Encoded(*item.key, asked, made, len(kept))
        except StopError:
            raise
        except Exception as error:
            return Failure.of(item.key, error)

    def _ids(self, row: Responses, place: int, kept: set[int], opening: str) -> list[int]:
        """The ids of an answer and its reasoning, which the prompt may have opened already."""
        if place in kept:
            return row.token_ids[place]
        text = row.said(place).removeprefix(opening)
        return answer_ids(self.tokenizer, text, row.finish_reasons[place] == "stop")

    def _own(self, row: Responses, place: int, opening: str) -> bool:
        """Whether an answer's sampled ids are the policy's own for its text and its end."""
        ids, finished = row.token_ids[place], row.finish_reasons[place] == "stop"
        if not ids or max(ids) >= len(self.tokenizer):
            return False
        # Some tokenizers add a space in front and take it away.
        whole = answer_text(self.tokenizer, ids, markers=self.markers)
        text = row.said(place).removeprefix(opening).strip()
        if answer_text(self.tokenizer, ids, self.stop, self.markers).strip() != text:
            return False
        at_stop_text = finished and any(stop in whole for stop in self.stop)
        return at_stop_text or ends_turn(self.tokenizer, ids) == finished
