"""Which tokens of a tokenizer are not text: those that open and end turns, and other special ones.

A chat template writes such tokens as text, and a tokenizer reads them wherever they stand. So a message
that spells one would open a turn of its own. Here what spells one is parted before the template is applied
and read part by part after it: as the text that it is.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from croco.dates import pinned
from croco.errors import EngineError
from croco.template_arguments import NONE, Arguments

#: A noncharacter of Unicode, which no text has: it parts a text that spells a control token.
BREAK = "\ufdd0"


@dataclass(frozen=True, slots=True)
class Control:
    """What a tokenizer and its chat template say: ids of added and of special tokens, the id that the
    template puts after an answer (None: no such), and what finds a control token in a text."""

    added: frozenset[int]
    special: frozenset[int]
    turn_end: int | None
    spelled: re.Pattern[str]

    def parted(self, value: Any) -> Any:
        """Texts, or those in lists and dicts, with a BREAK in whatever spells a control token."""
        if isinstance(value, str):
            while self.spelled.search(value):  # a break may leave a shorter token behind it
                value = self.spelled.sub(lambda found: found[0][0] + BREAK + found[0][1:], value)
            return value
        if isinstance(value, dict):
            return {name: self.parted(one) for name, one in value.items()}
        return [self.parted(one) for one in value] if isinstance(value, list) else value


_KNOWN: WeakKeyDictionary[Any, tuple[Any, Control]] = WeakKeyDictionary()


def control_of(tokenizer: Any) -> Control:
    """What is known of a tokenizer, read once for each chat template that it has."""
    template, control = _KNOWN.get(tokenizer, (None, None))
    if control is None or template != tokenizer.chat_template:
        control = _read(tokenizer)
        _KNOWN[tokenizer] = (tokenizer.chat_template, control)
    return control


def parted_ids(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text that `Control.parted` made, without the breaks."""
    first, *rest = text.split(BREAK)
    ids = plain_ids(tokenizer, first)
    anchor = plain_ids(tokenizer, "\n") if rest else []
    for part in rest:
        # Behind something, or SentencePiece would put a space in front.
        behind = plain_ids(tokenizer, f"\n{part}")
        same = behind[: len(anchor)] == anchor
        ids += behind[len(anchor) :] if same else plain_ids(tokenizer, part)
    return ids


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text, in which control tokens are read as such, without anything put around it."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def applied(
    tokenizer: Any,
    chat: list[dict[str, Any]],
    add_generation_prompt: bool = False,
    arguments: Arguments = NONE,
) -> str:
    """A chat as the template writes it, given more `arguments`; EngineError where it refuses the chat."""
    from jinja2 import TemplateError

    try:
        text: str = tokenizer.apply_chat_template(
            chat,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
            **{**pinned(tokenizer), **arguments},
        )
    except TemplateError as error:
        raise EngineError(f"the model's chat template refuses this chat: {error}") from error
    return text


def _read(tokenizer: Any) -> Control:
    known = tokenizer.added_tokens_decoder
    special = {token for token, own in known.items() if own.special} | {*tokenizer.all_special_ids}
    # Whitespace (Gemma has tokens of line breaks) is text.
    added = frozenset(special | {k for k, own in known.items() if not own.content.isspace()})
    end, around = None, set[int]()
    if tokenizer.chat_template:
        # Some templates take chats of their own form only: of theirs the special tokens are known.
        with contextlib.suppress(EngineError, TypeError, ValueError):
            around = _around_turns(tokenizer, added)
            end = _turn_end(tokenizer, added)
    names = tokenizer.convert_ids_to_tokens(sorted(special | around | {*filter(None, [end])}))
    names = sorted((n for n in names if len(n) > 1 and not n.isspace()), key=len, reverse=True)
    spelled = re.compile("|".join(map(re.escape, names)) or r"(?!)")
    return Control(added, frozenset(special), end, spelled)


def _turn_end(tokenizer: Any, added: frozenset[int]) -> int | None:
    """The first added token after an answer's text."""
    ids, longer = (_turns(tokenizer, [("user", "a"), ("assistant", a)]) for a in ("a", "a a"))
    # Not from the prompt's end on: some templates open an answer with special tokens of their own.
    apart = (k for k, (one, other) in enumerate(zip(ids, longer, strict=False)) if one != other)
    return next((token for token in ids[next(apart, len(ids)) :] if token in added), None)


def _around_turns(tokenizer: Any, added: frozenset[int]) -> set[int]:
    """The added tokens around the turns of system and user, and the one that opens an answer.

    Others before an answer, such as those around reasoning, are a part of it.
    """
    asked = _turns(tokenizer, [("user", "a")])
    opened = _turns(tokenizer, [("user", "a")], add_generation_prompt=True)
    found = {token for token in asked if token in added}
    found |= {*[token for token in opened[len(asked) :] if token in added][:1]}
    with contextlib.suppress(EngineError):
        led = _turns(tokenizer, [("system", "a"), ("user", "a")])
        found |= {token for token in led if token in added}
    return found


def _turns(tokenizer: Any, turns: Sequence[tuple[str, str]], **more: Any) -> list[int]:
    chat = [{"role": role, "content": content} for role, content in turns]
    return plain_ids(tokenizer, applied(tokenizer, chat, **more))
