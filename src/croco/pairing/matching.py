"""Responses and their prompts: which belong together, and which answer another prompt than their pool's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from croco.arrays import Bools, Ints
from croco.asked import NONE
from croco.pairing.facts import Facts
from croco.pairing.prompts import Prompts
from croco.pairing.spool import Places
from croco.records import Key

#: The reason of a response whose own prompt is not its pool's.
OTHER_PROMPT = "answers another prompt than its pool"


@dataclass(frozen=True, slots=True)
class Matched:
    """The responses of a part beside their prompts, as places in the facts.

    `agreeing` are those that do not answer another prompt than their pool's, `asked` those of them that
    have a prompt. `refused` and `unmatched` are rows that say what is left out and why; `lacking` counts
    the responses without a prompt.
    """

    agreeing: Ints
    asked: Ints
    refused: list[dict[str, Any]]
    unmatched: list[dict[str, Any]]
    lacking: int


def match(facts: Facts, places: Places, prompts: Prompts, files: Sequence[str]) -> Matched:
    """Compare the prompts of responses with those of their pools, by id and language.

    A pool's prompt is that of the file of prompts, or else the one in its first row, by file and line.
    `files` are the names of the responses' files.
    """
    codes, own = np.unique(facts.prompt * len(facts.langs) + facts.lang, return_inverse=True)
    keys = [
        (facts.ids[code // len(facts.langs)], facts.langs[code % len(facts.langs)])
        for code in codes.tolist()
    ]
    first = _first_asked(own, places, len(keys))
    wanted = np.where(first >= 0, places.asked[first], NONE) if len(keys) else first
    for k, key in enumerate(keys):
        if key in prompts:
            wanted[k] = prompts[key].digest
    foreign = (places.asked != NONE) & (places.asked != wanted[own])
    known = (places.asked != NONE) | _listed(keys, prompts)[own]
    lacking = np.bincount(own[~known], minlength=len(keys))
    used = {keys[k] for k in np.unique(own[~foreign]).tolist()}
    return Matched(
        agreeing=np.flatnonzero(~foreign),
        asked=np.flatnonzero(known & ~foreign),
        refused=list(_refused(foreign, own, first, keys, places, prompts, files)),
        unmatched=[*_lacking(keys, lacking), *_unanswered(prompts, used)],
        lacking=int(lacking.sum()),
    )


def _listed(keys: Sequence[Key], prompts: Prompts) -> Bools:
    return np.array([key in prompts for key in keys], dtype=bool)


def _first_asked(own: Ints, places: Places, count: int) -> Ints:
    """For each pool its first response, by file and line, that has a prompt of its own; -1 for none."""
    rows = np.flatnonzero(places.asked != NONE)
    rows = rows[np.lexsort((places.line[rows], places.file[rows]))][::-1]
    first = np.full(count, -1, np.int64)
    first[own[rows]] = rows  # of several the last one stays, which is the first of the files
    return first


def _refused(
    foreign: Bools,
    own: Ints,
    first: Ints,
    keys: Sequence[Key],
    places: Places,
    prompts: Prompts,
    files: Sequence[str],
) -> Iterator[dict[str, Any]]:
    """Rows of files whose prompt is another one than their pool's, each with the place of that."""
    said: set[tuple[int, int]] = set()
    for row in np.flatnonzero(foreign).tolist():
        file, line = int(places.file[row]), int(places.line[row])
        if (file, line) in said:  # one of several responses in a row
            continue
        said.add((file, line))
        listed, other = prompts.get(keys[own[row]]), int(first[own[row]])
        where = listed.where if listed else f"{files[places.file[other]]}:{places.line[other]}"
        yield {
            "file": files[file],
            "line": line,
            "reason": OTHER_PROMPT,
            "detail": f"its prompt is not that of {where}",
        }


def _lacking(keys: Sequence[Key], counts: Ints) -> Iterator[dict[str, Any]]:
    for (id, lang), n in zip(keys, counts.tolist(), strict=True):
        if n:
            yield {"reason": "responses without a prompt", "id": id, "lang": lang, "responses": n}


def _unanswered(prompts: Prompts, answered: set[Key]) -> Iterator[dict[str, Any]]:
    for id, lang in sorted(prompts.keys() - answered):
        yield {"reason": "prompt without responses", "id": id, "lang": lang}
