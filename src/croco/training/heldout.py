"""Preferences held out of a reward model's training: by prompt id, the same ones on every run."""

from __future__ import annotations

import re
from collections.abc import Sequence

from croco.contamination import overlaps
from croco.languages import is_region, names_in_ids
from croco.records import Preference
from croco.seen import prompts_of
from croco.stage import seed_of


def split(
    preferences: Sequence[Preference], share: float
) -> tuple[list[Preference], list[Preference]]:
    """What to train on, and about that share of the prompts, in all their languages, held out.

    A prompt's side follows from its id alone: more or other rows do not move it.
    """
    limit = share * 2**63
    sides: tuple[list[Preference], list[Preference]] = ([], [])
    for one in preferences:
        sides[seed_of("heldout", one.id) < limit].append(one)
    return sides


def unseen(train: Sequence[Preference], heldout: Sequence[Preference]) -> list[Preference]:
    """The training preferences whose prompts give no held-out one away, by id, text or n-grams."""
    away = {row.train_id for row in overlaps(prompts_of(train), prompts_of(heldout))}
    return [one for one in train if one.id not in away]


def translations(
    train: Sequence[Preference], heldout: Sequence[Preference]
) -> list[tuple[str, str]]:
    """Held-out ids with the id of a training pair that seems to be the same prompt in another language.

    By the ids alone, where they are the same but for the language in them, as of `q1-es` and `q1-en`.
    """
    known: dict[str, list[Preference]] = {}
    for one in train:
        known.setdefault(_stem(one), []).append(one)
    found: dict[str, str] = {}
    for one in heldout:
        others = (other for other in known.get(_stem(one), ()) if other.lang != one.lang)
        other = next((other for other in others if other.id != one.id), None)
        if other:
            found.setdefault(one.id, other.id)
    return list(found.items())


def _stem(row: Preference) -> str:
    """The words and numbers in an id without those that name the row's language, and a region after it."""
    parts = re.findall(r"[^\W\d_]+|\d+", row.id.casefold())
    names = names_in_ids(row.lang)
    rest = [
        part
        for before, part in zip(["", *parts], parts, strict=False)
        if part not in names and not (before in names and is_region(part))
    ]
    return "-".join(rest) or row.id
