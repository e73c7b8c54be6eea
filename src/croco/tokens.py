"""Chats as token ids: the one place where a chat template is applied.

Sampling, scoring and evaluation all come here, and training takes the ids that sampling stored, so one
conversation has the same ids everywhere: one BOS where the model has one, and the end of turn kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from croco import models
from croco.dates import pinned
from croco.errors import EngineError, StopError
from croco.models import ModelRef

Chat = list[dict[str, Any]]


def load_tokenizer(model: ModelRef) -> Any:
    """A model's tokenizer, without its weights."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(models.fetch_tokenizer(model))


def prompt_ids(tokenizer: Any, chat: Chat) -> list[int]:
    """A chat up to the model's turn.

    Raises StopError where the model has no chat template or the template doubles the BOS, and
    EngineError where the template refuses the chat (some know no system prompt).
    """
    ids = _rendered(tokenizer, chat, add_generation_prompt=True)
    check_bos(ids, tokenizer)
    return ids


def conversation_ids(tokenizer: Any, chat: Chat, response: str) -> list[int]:
    """A chat with its answer, as a reward model reads it: the end of turn kept, exactly one BOS."""
    answered = [*chat, {"role": "assistant", "content": response}]
    return _one_bos(tokenizer, _rendered(tokenizer, answered))


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """A text as it stands, without a chat template, with one BOS in front where the model expects one."""
    return _one_bos(tokenizer, list(tokenizer(text, add_special_tokens=False)["input_ids"]))


def answer_ids(tokenizer: Any, text: str, finished: bool) -> list[int]:
    """An answer of which only the text is known; with the end of turn if it came to its end."""
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return ids + [end_of_turn(tokenizer)] * finished


def answer_text(tokenizer: Any, ids: Sequence[int], stops: Sequence[str] = ()) -> str:
    """The text of an answer's ids, without special tokens, up to the first stop text in it."""
    text: str = tokenizer.decode(ids, skip_special_tokens=True)
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=None)]


def ends_turn(tokenizer: Any, ids: Sequence[int]) -> bool:
    """Whether an answer's last id is one of the tokenizer's special ones."""
    return bool(ids) and ids[-1] in {
        *tokenizer.all_special_ids,
        *tokenizer.get_added_vocab().values(),
    }


def end_of_turn(tokenizer: Any) -> int:
    """The id that the chat template puts after an answer; StopError where it puts none."""
    chat = [{"role": "user", "content": "a"}]
    ids, longer = (conversation_ids(tokenizer, chat, text) for text in ("a", "a a"))
    # Not from the prompt's end on: some templates open an answer with special tokens of their own.
    apart = (k for k, (one, other) in enumerate(zip(ids, longer, strict=False)) if one != other)
    start = next(apart, len(ids))
    special = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    found = next((token for token in ids[start:] if token in special), None)
    if found is None:
        raise StopError("the chat template puts no end-of-turn token after an answer: mend it")
    return found


def check_bos(ids: Sequence[int], tokenizer: Any) -> None:
    """StopError unless the ids begin with exactly one BOS where the tokenizer's own texts do."""
    bos = tokenizer.bos_token_id
    if bos is None:
        return
    leading = next((k for k, token in enumerate(ids) if token != bos), len(ids))
    if leading > 1 or (leading == 0 and _begins_with_bos(tokenizer)):
        raise StopError(
            f"the chat template gives {leading} BOS tokens at the start of a prompt and the model"
            " expects one: mend the model's chat template"
        )


def check_vocabulary(tokenizer: Any, size: int, what: str) -> None:
    """StopError where a tokenizer's words have ids that the model has no embedding for.

    Special tokens may: Gemma 3's text models know no image, and their tokenizer has a token for one.
    """
    largest = max({*tokenizer.get_vocab().values()} - {*tokenizer.all_special_ids})
    if largest >= size:
        raise StopError(
            f"{what} has {size} embeddings and its tokenizer ids up to {largest}: they are not of one"
            " model; put the model's own tokenizer files beside its weights"
        )


def _rendered(tokenizer: Any, chat: Chat, add_generation_prompt: bool = False) -> list[int]:
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise StopError(
            "the model has no chat template: take an instruction-tuned model, or put a"
            " chat_template.jinja into a local copy of its directory and name that"
        )
    try:
        ids = tokenizer.apply_chat_template(
            chat,
            add_generation_prompt=add_generation_prompt,
            tokenize=True,
            return_dict=False,
            **pinned(tokenizer),
        )
    except TemplateError as error:
        raise EngineError(f"the model's chat template refuses this chat: {error}") from error
    return list(ids)


def _one_bos(tokenizer: Any, ids: list[int]) -> list[int]:
    """The ids with exactly one BOS in front where the tokenizer's own encoding begins with one."""
    if not _begins_with_bos(tokenizer):
        return ids
    rest = next((i for i, token in enumerate(ids) if token != tokenizer.bos_token_id), len(ids))
    return [tokenizer.bos_token_id, *ids[rest:]]


def _begins_with_bos(tokenizer: Any) -> bool:
    bos = tokenizer.bos_token_id
    return bos is not None and list(tokenizer("a")["input_ids"][:1]) == [bos]
