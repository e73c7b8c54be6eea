"""Rows of the user's files as flat columns: one scored response each, what is wrong refused with a reason.

A row is one response (`id, lang, response, reward`), a conversation whose last turn is the response
(`messages`, `reward_score`), or all responses to a prompt (`responses`, `rewards`). `finish_reason`,
`policy` (or `model`: who wrote it) and `prompt` are used where they are there; other columns stay with
their row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from croco.arrays import Ints
from croco.asked import contradicting, digests
from croco.languages import checked_tag

NO_ID, NO_LANG, BAD_LANG = "no id", "no lang", "lang is not a BCP-47 tag"
NO_TEXT, NO_REWARD, NOT_FINITE = "no response", "no reward", "reward is not a finite number"
UNEQUAL = "unequal numbers of responses and rewards"
TWO_PROMPTS = "prompt and messages are not the same"


@dataclass(frozen=True, slots=True)
class Flat:
    """Responses as columns: id, lang, response, reward, finish_reason, policy, asked (the
    prompt's digest), contradicts (whether an answer at the end of turns has another prompt: false here).

    `row` is each one's row in the table it came from, `item` its place in that row. `refused` holds
    rows of the table with the reason.
    """

    table: pa.Table
    row: Ints
    item: Ints
    refused: list[tuple[int, str]]


def flat(rows: pa.Table, default_lang: str | None) -> Flat:
    """The responses of a table that has the columns of `FORM`; those that cannot be used are refused."""
    rows = rows.append_column("asked", pa.array(digests(rows["prompt"], rows["messages"])))
    many = pc.is_valid(rows["responses"]).to_numpy(zero_copy_only=False)
    parts, refused = [], []
    if not many.any():  # all rows as they are: texts are not copied
        parts.append(_single(rows, np.arange(len(many))))
    elif not many.all():
        single = np.flatnonzero(~many)
        parts.append(_single(rows.take(pa.array(single)), single))
    if many.any():
        listed, wrong = _listed(rows, np.flatnonzero(many))
        parts.append(listed)
        refused += wrong
    table = parts[0] if len(parts) == 1 else pa.concat_tables(parts).combine_chunks()
    if default_lang is not None:
        table = _set(table, "lang", pc.fill_null(table["lang"], default_lang))
    reasons = _reasons(table)
    bad = np.array([reason is not None for reason in reasons], dtype=bool)
    place, item = table["row"].to_numpy(), table["item"].to_numpy()
    refused += [(int(place[k]), str(reasons[k])) for k in np.flatnonzero(bad)]
    if bad.any():
        table, place, item = table.filter(pa.array(~bad)), place[~bad], item[~bad]
    return Flat(_tagged(table), place, item, refused)


def _single(rows: pa.Table, places: Ints) -> pa.Table:
    """Rows of one response each; `places` are where they come from."""
    role, said = _last_turns(rows, "role", "content")
    spoken = pc.if_else(pc.equal(role, "assistant"), said, None)
    return _table(
        rows,
        response=_filled(rows["response"], spoken),
        contradicts=_contradicting(rows),
        reward=_filled(rows["reward"], rows["reward_score"]),
        finish=rows["finish_reason"],
        row=places,
        item=np.zeros(len(places), np.int64),
    )


def _contradicting(rows: pa.Table) -> pa.Array:
    """Whether a row's answer is the last one of turns that ask something else than its prompt."""
    own = pc.is_null(rows["response"]).to_numpy()
    return pa.array(contradicting(rows["prompt"], rows["messages"]) & own)


def _filled(column: Any, other: Any) -> Any:
    return pc.coalesce(column, other) if column.null_count else column


def _last_turns(rows: pa.Table, *fields: str) -> list[pa.Array]:
    """Fields of each conversation's last turn, null where there is none."""
    turns = rows["messages"].combine_chunks()
    sizes = pc.fill_null(turns.value_lengths(), 0).to_numpy(zero_copy_only=False)
    last = pa.array(np.cumsum(sizes) - 1, mask=sizes == 0)
    return [turns.flatten().field(name).take(last) for name in fields]


def _listed(rows: pa.Table, places: Ints) -> tuple[pa.Table, list[tuple[int, str]]]:
    """Rows of many responses, a row for each; and the rows without any, or with unequal lists."""
    rows = rows.take(pa.array(places)).combine_chunks()
    counts = [
        pc.fill_null(rows[name].combine_chunks().value_lengths(), -1).to_numpy(zero_copy_only=False)
        for name in ("responses", "rewards", "finish_reasons")
    ]
    equal = (counts[0] == counts[1]) & ((counts[2] == counts[0]) | (counts[2] < 0))
    refused = [(int(place), UNEQUAL) for place in places[~equal]]
    refused += [(int(place), NO_TEXT) for place in places[equal & (counts[0] == 0)]]
    rows, places, sizes = rows.filter(pa.array(equal)), places[equal], counts[0][equal]
    finish = rows["finish_reasons"].combine_chunks()
    known = np.repeat(counts[2][equal] >= 0, sizes)
    at = np.cumsum(known) - 1
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    table = _table(
        rows.take(pa.array(np.repeat(np.arange(len(sizes)), sizes))),
        response=rows["responses"].combine_chunks().flatten(),
        reward=rows["rewards"].combine_chunks().flatten(),
        finish=finish.flatten().take(pa.array(at, mask=~known)),
        contradicts=pa.array(np.zeros(int(sizes.sum()), bool)),
        row=np.repeat(places, sizes),
        item=np.arange(int(sizes.sum())) - starts,
    )
    return table, refused


def _table(
    rows: pa.Table,
    *,
    response: Any,
    reward: Any,
    finish: Any,
    contradicts: pa.Array,
    row: Ints,
    item: Ints,
) -> pa.Table:
    return pa.table(
        {
            "id": rows["id"],
            "lang": rows["lang"],
            "response": response,
            "reward": reward,
            "finish_reason": finish,
            "policy": pc.coalesce(rows["policy"], rows["model"], ""),
            "asked": rows["asked"],
            "contradicts": contradicts,
            "row": pa.array(row, pa.int64()),
            "item": pa.array(item, pa.int64()),
        }
    )


def _reasons(table: pa.Table) -> npt.NDArray[np.object_]:
    """Why each response cannot be used, None where it can."""
    finite = pc.fill_null(pc.is_finite(table["reward"]), False)
    conditions = [
        (NO_ID, pc.is_null(table["id"])),
        (NO_LANG, pc.is_null(table["lang"])),
        (NO_TEXT, pc.is_null(table["response"])),
        (TWO_PROMPTS, table["contradicts"]),
        (NO_REWARD, pc.is_null(table["reward"])),
        (NOT_FINITE, pc.invert(finite)),
        (BAD_LANG, pc.is_in(table["lang"], pa.array(_bad_tags(table["lang"]), pa.string()))),
    ]
    found = np.full(table.num_rows, None, dtype=object)
    for reason, hit in reversed(conditions):
        found[hit.to_numpy()] = reason
    return found


def _bad_tags(tags: pa.ChunkedArray) -> list[str]:
    bad = []
    for tag in pc.unique(tags.drop_null()).to_pylist():
        try:
            checked_tag(tag)
        except ValueError:
            bad.append(tag)
    return bad


def _tagged(table: pa.Table) -> pa.Table:
    """Language tags in their normal form."""
    coded = table["lang"].combine_chunks().dictionary_encode()
    normal = pa.array([checked_tag(tag) for tag in coded.dictionary.to_pylist()], pa.string())
    return _set(table, "lang", normal.take(coded.indices))


def _set(table: pa.Table, name: str, column: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)
