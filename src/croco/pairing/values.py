"""One row of the user's files as plain values: the columns that are understood, and what a row says."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from croco.asked import text_of_turns
from croco.datafiles import is_text

_TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
#: The columns that are understood, and the types they are read as.
FORM = {
    "id": pa.string(),
    "lang": pa.string(),
    "prompt": pa.string(),
    "messages": _TURNS,
    "response": pa.string(),
    "reward": pa.float64(),
    "reward_score": pa.float64(),
    "finish_reason": pa.string(),
    "responses": pa.list_(pa.string()),
    "rewards": pa.list_(pa.float64()),
    "finish_reasons": pa.list_(pa.string()),
    "policy": pa.string(),
    "model": pa.string(),
}

#: The columns that a pair has in its own way; all others are carried along.
OWN = {
    "id",
    "lang",
    "prompt",
    "messages",
    "response",
    "reward",
    "reward_score",
    "responses",
    "rewards",
}


def text_of(values: dict[str, Any], item: int) -> str:
    """The response in a row, by its item: what `flat` found there."""
    if values.get("responses") is not None:
        return str(values["responses"][item])
    said = values.get("response")
    return str(said if said is not None else values["messages"][-1]["content"])


def prompt_of(values: dict[str, Any]) -> list[dict[str, str]]:
    """The prompt that a row holds itself, as messages; ValueError where it holds none."""
    prompt = values.get("prompt")
    if isinstance(prompt, str):
        return [{"role": "user", "content": whole_text("prompt", prompt)}]
    found = turns(prompt or values.get("messages") or [])
    if not prompt and found and found[-1]["role"] == "assistant":
        found = found[:-1]
    if not found:
        raise ValueError("it has no prompt")
    return found


def extras_of(values: dict[str, Any], item: int) -> dict[str, Any]:
    """What else a row says of a response: its other columns, of lists the response's own value."""
    many = values.get("responses")
    found = {}
    for name, value in values.items():
        if name in OWN or value is None:
            continue
        listed = isinstance(value, list) and many is not None and len(value) == len(many)
        name = "finish_reason" if name == "finish_reasons" else name
        found[name] = value[item] if listed else value
    return found


def canonical(values: Any) -> dict[str, Any]:
    """A row of any JSON in the types of `FORM`; ValueError says what cannot be read."""
    if not isinstance(values, dict):
        raise ValueError("it is not a JSON object")
    return {name: _read(name, values[name], kind) for name, kind in FORM.items() if name in values}


def _read(name: str, value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_list(kind):
        if name == "messages":
            return turns(value)
        if not isinstance(value, list):
            raise ValueError(f"field {name!r} is not a list")
        return [_read(name, one, kind.value_type) for one in value]
    if pa.types.is_floating(kind):
        return _number(name, value)
    if name == "prompt" and isinstance(value, list):
        return text_of_turns(turns(value)) if value else None
    if name == "id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"field {name!r} is {value!r}, not a string")
    return whole_text(name, value)


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)  # a number that is written as a string is a number
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"field {name!r} is {value!r}, not a number") from None
    return number if math.isfinite(number) else math.nan


def turns(value: Any) -> list[dict[str, str]]:
    """A conversation's turns, role and content each; ValueError where it is none."""
    try:
        return [{key: whole_text(key, turn[key]) for key in ("role", "content")} for turn in value]
    except (TypeError, KeyError, AttributeError):
        raise ValueError("messages are not a list of turns with role and content") from None


def are_whole(conversations: pa.Array | pa.ChunkedArray) -> bool:
    """Whether all turns of some conversations have a role and content."""
    found = pc.list_flatten(conversations)
    parts = [found, *(pc.struct_field(found, name) for name in ("role", "content"))]
    return not any(part.null_count for part in parts)


def whole_text(name: str, value: str) -> str:
    """The text; ValueError where it cannot be written as UTF-8, such as JSON's lone "\\ud800"."""
    if not is_text(value):
        raise ValueError(f"field {name!r} holds half a character")
    return value
