"""Encoding: another model's answers in the token ids of the policy that is tuned on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from croco.completions import opening_of, without_opening
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
    turn_end,
)


class Config(Section):
    """The policy whose token ids are wanted, with the arguments of its chat template, and the marks of
    reasoning of the model that answered."""

    policy: ModelRef
    chat_template_kwargs: TemplateArguments = {}
    reasoning: Reasoning = None


def encode(config: Config, context: Context, batches: Iterable[Batch]) -> Iterator[list[Outcome]]:
    """One `Encoded` row per `Responses` row; what is not trained on is not encoded.

    Prompts are rendered by the policy's chat template. Answers are encoded from their texts, unless the
    policy's tokenizer reads the sampled ids as the same text: then these stay as they were. The policy's
    end of turn takes the place of the other model's end token, or of the stop text that ended an answer;
    one that was cut off has none.
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
        self.tokenizer, self.arguments = tokenizer, config.chat_template_kwargs
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
            made = [
                self._ids(row, k, opening) if k in wanted else [] for k in range(len(row.texts))
            ]
            kept = sum(made[k] == row.token_ids[k] for k in wanted)
            return Encoded(*item.key, asked, made, kept)
        except StopError:
            raise
        except Exception as error:
            return Failure.of(item.key, error)

    def _ids(self, row: Responses, place: int, opening: str) -> list[int]:
        """The ids of an answer and its reasoning, which the prompt may have opened already.

        The policy's end of turn is after one that came to its end by itself.
        """
        ids, finished = row.token_ids[place], row.finish_reasons[place] == "stop"
        text = without_opening(row.said(place), opening)
        body = self._body(ids, text, finished)
        if body is None:
            markers = self.markers if text != row.texts[place] else ()
            return answer_ids(self.tokenizer, text, finished, markers)
        end = turn_end(self.tokenizer)
        return body + [ids[-1] if end is None else end] * finished

    def _body(self, ids: list[int], text: str, finished: bool) -> list[int] | None:
        """The sampled ids without the end token, where the policy's tokenizer reads them as the text.

        A stop text that ended the answer is among its ids: there are none either.
        """
        if not ids or ends_turn(self.tokenizer, ids) != finished:
            return None
        body = ids[:-1] if finished else ids
        if body and max(body) >= len(self.tokenizer):
            return None
        # Some tokenizers add a space in front and take it away.
        read = answer_text(self.tokenizer, body, markers=self.markers)
        return body if read.strip() == text.strip() else None
