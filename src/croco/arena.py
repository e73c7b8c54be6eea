"""Rows of m-ArenaHard's shape, and what machine translation did to them: HTML escapes, taken back.

Translation services give `&#39;` for an apostrophe. A prompt may mean an escape, as in a question about
HTML; so only those are taken back that the English original of the same id does not have.
"""

from __future__ import annotations

import html
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from croco.languages import tag_named
from croco.records import Key, Prompt, Turn

#: The language that translated prompts were written in.
ORIGINAL = "en"
#: The file of a stage `prompts` that counts its repaired prompts by language.
REPAIRED = "repaired.json"
ESCAPE = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


def shaped(values: dict[str, Any], lang: str) -> dict[str, Any]:
    """A row with the names of ours: `question_id` is its id, `language` its language, a tag or a name.

    A folder's language, `lang`, goes before what the row says. Raises ValueError where `language` is
    neither a tag nor a name.
    """
    known = dict(values)
    if "id" not in known and "question_id" in known:
        known["id"] = known["question_id"]
    if lang:
        known["lang"] = lang
    elif "lang" not in known and isinstance(known.get("language"), str):
        known["lang"] = tag_named(known["language"])
    return known


def repaired(rows: Sequence[Prompt]) -> tuple[list[Prompt], set[Key]]:
    """The rows without the HTML escapes that their English originals do not have, and the keys of those
    that had some; English rows and rows without an original stay as they are."""
    meant: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.lang == ORIGINAL:
            meant[row.id].update(ESCAPE.findall(_text(row)))
    mended = [
        _mended(row, meant[row.id]) if row.lang != ORIGINAL and row.id in meant else row
        for row in rows
    ]
    return mended, {new.key for old, new in zip(rows, mended, strict=True) if new != old}


def _text(row: Prompt) -> str:
    return "\n".join([*(turn.content for turn in row.before), row.prompt])


def _mended(row: Prompt, meant: set[str]) -> Prompt:
    before = [Turn(turn.role, unescaped(turn.content, meant)) for turn in row.before]
    return replace(row, prompt=unescaped(row.prompt, meant), before=before)


def unescaped(text: str, meant: Iterable[str] = ()) -> str:
    """The text with its HTML escapes taken back, twice escaped ones too, but for those that are meant."""
    kept = set(meant)
    while True:
        found = ESCAPE.sub(lambda m: m[0] if m[0] in kept else html.unescape(m[0]), text)
        if found == text:
            return text
        text = found
