"""What reward models read: token ids of a chat and its answer; equal ones are scored once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from croco.errors import EngineError
from croco.records import Candidate
from croco.tokens import conversation_ids

#: `input_ids`, and `token_type_ids` where the tokenizer tells prompt and answer apart by them.
Row = dict[str, list[int]]


def encode(tokenizer: Any, candidate: Candidate, limit: int) -> Row:
    """A prompt and its answer: a chat where there is a template, or else a text pair.

    Raises EngineError where they are longer than `limit` tokens; nothing is cut.
    """
    if tokenizer.chat_template:
        row = {"input_ids": conversation_ids(tokenizer, candidate.chat, candidate.response)}
    else:
        before = "\n\n".join(turn["content"] for turn in candidate.chat)
        # What spells a special token is text like all else.
        row = dict(tokenizer(before, candidate.response, split_special_tokens=True))
        row.pop("attention_mask", None)
    if len(row["input_ids"]) > limit:
        raise EngineError(
            f"an answer with its prompt has {len(row['input_ids'])} tokens, more than the reward"
            f" model's limit of {limit}: raise max_length or take a model that reads more"
        )
    return row


def plain_ids(row: Row, pad: int | None) -> list[int]:
    """A row for vLLM, which reads ids only and takes the reward at the last one.

    transformers takes it at the last that is not padding, so padding at the end is left out. Raises
    EngineError where the row says by token types what is prompt and what is answer.
    """
    if any(row.get("token_type_ids", ())):
        raise EngineError(
            "this reward model reads token types, which vLLM would leave out: take kind 'classifier'"
        )
    ids = row["input_ids"]
    return ids[: read_at(ids, pad) + 1]


def padding_of(folder: Path) -> int | None:
    """The padding id in the config of a model's directory, if it has one."""
    from transformers import AutoConfig

    pad: int | None = AutoConfig.from_pretrained(folder).get_text_config().pad_token_id
    return pad


def read_at(ids: Sequence[int], pad: int | None) -> int:
    """Where a decoder's reward is read: at the last token that is not padding."""
    return next((k for k in range(len(ids) - 1, 0, -1) if ids[k] != pad), 0)


def scored_once(rows: Sequence[Row], logits: Callable[[list[int]], list[float]]) -> list[float]:
    """The logit of every row; of equal rows (an answer given twice) `logits` is asked for one place.

    Raises EngineError where a logit is not a finite number.
    """
    keys = [tuple(map(tuple, row.values())) for row in rows]
    places = {key: k for k, key in reversed(list(enumerate(keys)))}
    firsts = sorted(places.values())
    found = dict(zip(firsts, logits(firsts), strict=True)) if firsts else {}
    bad = next((k for k in firsts if not math.isfinite(found[k])), None)
    if bad is not None:
        raise EngineError(f"the reward of answer {bad} is {found[bad]}: check the model")
    return [found[places[key]] for key in keys]
