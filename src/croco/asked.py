"""Which prompt a response answers, as a number: equal for equal prompts, however they are written.

A prompt is a text, or the turns of a conversation; a sole turn of the user's is the text itself. White
space around a text, format characters, and Unicode's two ways to write an accent (NFC, NFD) make no
difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from croco.arrays import Bools, Ints
from croco.texts import same_text

#: The digest of a row without a prompt.
NONE = 0
#: Between role and content of a turn, and between turns.
_UNIT, _RECORD = "\x1f", "\x1e"


def text_of_turns(turns: Sequence[Mapping[str, str]]) -> str:
    """The turns of a prompt as one text."""
    if len(turns) == 1 and turns[0]["role"] == "user":
        return turns[0]["content"]
    return _RECORD.join(f"{turn['role']}{_UNIT}{turn['content']}" for turn in turns)


def digest(text: str) -> int:
    """A prompt's digest: 63 bits, never `NONE`."""
    plain = same_text(text).encode("utf-8", "surrogatepass")
    hashed = blake2b(plain, digest_size=8).digest()
    return (int.from_bytes(hashed) >> 1) or 1


def digests(prompts: pa.Array | pa.ChunkedArray, conversations: pa.ChunkedArray) -> Ints:
    """The digest of each row's prompt: its own, or else the turns before the answer; or `NONE`."""
    texts = prompts
    if conversations.null_count < len(conversations):
        texts = pc.coalesce(prompts, _before_answers(conversations.combine_chunks()))
    if texts.null_count == len(texts):
        return np.full(len(texts), NONE, np.int64)
    coded = (
        texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    ).dictionary_encode()
    known = np.array([*map(digest, coded.dictionary.to_pylist()), NONE], np.int64)
    places: Ints = pc.fill_null(coded.indices, len(known) - 1).to_numpy(zero_copy_only=False)
    return known[places]


def contradicting(prompts: pa.ChunkedArray, conversations: pa.ChunkedArray) -> Bools:
    """Which rows have both a prompt and a conversation, and these are not the same."""
    found = np.zeros(len(prompts), bool)
    both = pc.and_(pc.is_valid(prompts), pc.greater(pc.list_value_length(conversations), 0))
    rows = np.flatnonzero(pc.fill_null(both, False).to_numpy(zero_copy_only=False))
    if rows.size:
        own, turns = prompts.take(pa.array(rows)), conversations.take(pa.array(rows))
        asked = digests(pa.chunked_array([pa.nulls(len(rows), pa.string())]), turns)
        found[rows] = (asked != NONE) & (asked != digests(own, turns))
    return found


def texts_of_turns(conversations: pa.Array, kept: Ints | None = None) -> pa.Array:
    """Conversations, or the first `kept` turns of each, as `text_of_turns` has them; null for no turns."""
    sizes = pc.fill_null(conversations.value_lengths(), 0).to_numpy(zero_copy_only=False)
    sizes = sizes.astype(np.int64)
    kept = sizes if kept is None else kept
    place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    turns = conversations.flatten().filter(pa.array(place < np.repeat(kept, sizes)))
    role, content = turns.field("role"), turns.field("content")
    starts = np.append(0, np.cumsum(kept))
    said = pc.binary_join_element_wise(role, content, _UNIT)
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(starts, pa.int32()), said), _RECORD)
    sole = pa.array(starts[:-1], mask=kept != 1)
    asked = pc.if_else(pc.equal(role.take(sole), "user"), content.take(sole), None)
    return pc.if_else(pa.array(kept > 0), pc.coalesce(asked, joined), None)


def _before_answers(conversations: pa.Array) -> pa.Array:
    """The turns of each conversation without an answer at its end."""
    sizes = pc.fill_null(conversations.value_lengths(), 0).to_numpy(zero_copy_only=False)
    last = pa.array(np.cumsum(sizes) - 1, mask=sizes == 0)
    roles = conversations.flatten().field("role").take(last)
    answered = pc.fill_null(pc.equal(roles, "assistant"), False).to_numpy(zero_copy_only=False)
    return texts_of_turns(conversations, sizes.astype(np.int64) - answered)
