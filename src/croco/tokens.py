"""Chats as token ids: the one place where a chat template is applied.

Sampling, scoring and evaluation all come here, and training takes the ids that sampling stored, so one
conversation has the same ids everywhere: one BOS where the model has one, and the end of turn kept.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from croco import models
from croco.control import BREAK, applied, control_of, parted_ids
from croco.errors import StopError
from croco.models import ModelRef
from croco.reasoning import KNOWN, Markers
from croco.template_arguments import NONE, Arguments, check_arguments

Chat = list[dict[str, Any]]
log = logging.getLogger("croco")

#: What a document ended with in pretraining, in vocabularies whose EOS ends a turn instead.
DOCUMENT_ENDS = ("<|endoftext|>", "<|end_of_text|>")


def load_tokenizer(model: ModelRef) -> Any:
    """A model's tokenizer, without its weights."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(models.fetch_tokenizer(model))


def prompt_ids(tokenizer: Any, chat: Chat, arguments: Arguments = NONE) -> list[int]:
    """A chat up to the model's turn; `arguments` are more of what the chat template asks for.

    Raises StopError where the model has no chat template or the template doubles the BOS, RecipeError
    where the template knows no such argument, and EngineError where it refuses the chat (some know no
    system prompt).
    """
    check_arguments(tokenizer, arguments)
    ids = _rendered(tokenizer, chat, add_generation_prompt=True, arguments=arguments)
    check_bos(ids, tokenizer)
    return ids


def conversation_ids(tokenizer: Any, chat: Chat, response: str) -> list[int]:
    """A chat with its answer, as a reward model reads it: the end of turn kept, exactly one BOS."""
    answered = [*chat, {"role": "assistant", "content": response}]
    return _one_bos(tokenizer, _rendered(tokenizer, answered))


def document_ids(tokenizer: Any, text: str) -> list[int]:
    """A text without a chat template, after the one token that documents begin with.

    That is the BOS where the tokenizer puts one before a text, else what ended the document before it in
    pretraining. Raises StopError where the tokenizer has neither.
    """
    ids = as_text(tokenizer, text)
    if _begins_with_bos(tokenizer):
        return _one_bos(tokenizer, ids)
    known = tokenizer.get_added_vocab()
    first = next((known[name] for name in DOCUMENT_ENDS if name in known), tokenizer.eos_token_id)
    if first is None:
        raise StopError("the tokenizer has neither BOS nor EOS: name one in tokenizer_config.json")
    return [first, *ids]


def answer_ids(tokenizer: Any, text: str, finished: bool, markers: Markers = ()) -> list[int]:
    """An answer of which only the text is known; with the end of turn if it came to its end.

    What spells a special token is text, but for `markers` that enclose the reasoning before the answer.
    """
    parted = control_of(tokenizer).parted(text)
    shown = sorted(marker_ids(tokenizer, tuple((one, other) for one, other in markers)))
    for name in tokenizer.convert_ids_to_tokens(shown):
        parted = parted.replace(f"{name[0]}{BREAK}{name[1:]}", name)
    return parted_ids(tokenizer, parted) + [end_of_turn(tokenizer)] * finished


def answer_text(
    tokenizer: Any, ids: Sequence[int], stops: Sequence[str] = (), markers: Markers = KNOWN
) -> str:
    """The text of an answer's ids, without its end, up to the first stop text in it.

    Of special tokens it has those alone that open and close reasoning.
    """
    if ids and ids[-1] == turn_end(tokenizer):  # some tokenizers do not call it special
        ids = ids[:-1]
    shown = marker_ids(tokenizer, tuple((one, other) for one, other in markers))
    if shown.isdisjoint(ids):
        text: str = tokenizer.decode(ids, skip_special_tokens=True)
    else:
        hidden = control_of(tokenizer).special - shown
        text = tokenizer.decode([token for token in ids if token not in hidden])
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=None)]


@lru_cache(maxsize=64)
def marker_ids(tokenizer: Any, markers: Markers) -> frozenset[int]:
    """The special tokens that stand in markers of reasoning."""
    written = [text for pair in markers for text in pair]
    ids = [token for token in control_of(tokenizer).special if token < len(tokenizer)]
    names = zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True)
    return frozenset(token for token, name in names if name and any(name in t for t in written))


def special_inside(
    tokenizer: Any, ids: Sequence[int], ends: Sequence[int], markers: Markers = KNOWN
) -> int:
    """How many ids of an answer, but for its end, leave nothing in its text: special tokens, and ids that
    the tokenizer does not have."""
    inside = ids[:-1] if ids and ids[-1] in ends else ids
    shown = marker_ids(tokenizer, tuple((one, other) for one, other in markers))
    special, size = control_of(tokenizer).special - shown, len(tokenizer)
    return sum(token in special or token >= size for token in inside)


def ends_turn(tokenizer: Any, ids: Sequence[int]) -> bool:
    """Whether an answer's last id is one of the tokenizer's special ones."""
    return bool(ids) and ids[-1] in control_of(tokenizer).added


def end_of_turn(tokenizer: Any) -> int:
    """The id that the chat template puts after an answer; StopError where it puts none."""
    found = turn_end(tokenizer)
    if found is None:
        raise StopError("the chat template puts no end-of-turn token after an answer: mend it")
    return found


def turn_end(tokenizer: Any) -> int | None:
    """The id that the chat template puts after an answer, if there is a template and it puts one."""
    return control_of(tokenizer).turn_end


def end_ids(tokenizer: Any, declared: int | Sequence[int] | None, what: str) -> list[int]:
    """The ids that end an answer: the tokenizer's EOS first, the chat template's end of turn, and those
    that the model's files declare.

    Warns where the template ends a turn by a token that no file names; StopError where nothing ends one.
    """
    named = declared if isinstance(declared, Sequence) else [declared]
    files = [token for token in (tokenizer.eos_token_id, *named) if token is not None]
    end = turn_end(tokenizer)
    if end is not None and end not in files:
        own, *others = tokenizer.convert_ids_to_tokens([end, *dict.fromkeys(files)])
        named_there = " and ".join(others) or "none"
        _warn_once(
            f"{what}: its chat template ends a turn by {own} and its files name {named_there}: each ends an"
            " answer"
        )
    ends = [*files[:1], *([] if end is None else [end]), *files[1:]]
    if not ends:
        raise StopError(
            f"{what}: nothing says which token ends an answer: name eos_token in its tokenizer_config.json"
        )
    return list(dict.fromkeys(ends))


@lru_cache(maxsize=64)
def _warn_once(message: str) -> None:
    log.warning("%s", message)


def declared_ends(folder: Path) -> int | list[int] | None:
    """The end tokens that a model's generation config declares, or else its config."""
    from transformers import AutoConfig, GenerationConfig

    found: int | list[int] | None
    try:
        found = GenerationConfig.from_pretrained(folder).eos_token_id
    except OSError:
        found = AutoConfig.from_pretrained(folder).get_text_config().eos_token_id
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


def spells_control(tokenizer: Any, chat: Chat) -> bool:
    """Whether a text in a chat spells a token that opens or ends turns, or another special one."""
    return bool(control_of(tokenizer).parted(chat) != chat)


def as_text(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text; what spells a control token is text like all else."""
    return parted_ids(tokenizer, control_of(tokenizer).parted(text))


def _rendered(
    tokenizer: Any, chat: Chat, add_generation_prompt: bool = False, arguments: Arguments = NONE
) -> list[int]:
    """A chat by the template, whose own control tokens alone are read as such."""
    if not tokenizer.chat_template:
        raise StopError(
            "the model has no chat template: take an instruction-tuned model, or put a"
            " chat_template.jinja into a local copy of its directory and name that"
        )
    parted = control_of(tokenizer).parted(chat)
    return parted_ids(tokenizer, applied(tokenizer, parted, add_generation_prompt, arguments))


def _one_bos(tokenizer: Any, ids: list[int]) -> list[int]:
    """The ids with exactly one BOS in front where the tokenizer's own encoding begins with one."""
    if not _begins_with_bos(tokenizer):
        return ids
    rest = next((i for i, token in enumerate(ids) if token != tokenizer.bos_token_id), len(ids))
    return [tokenizer.bos_token_id, *ids[rest:]]


def _begins_with_bos(tokenizer: Any) -> bool:
    bos = tokenizer.bos_token_id
    return bos is not None and list(tokenizer("a")["input_ids"][:1]) == [bos]
