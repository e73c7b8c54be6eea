"""Preferences held out of a reward model's training: by prompt id, the same ones on every run."""

from __future__ import annotations

from collections.abc import Sequence

from croco.contamination import overlaps
from croco.records import Preference, Prompt
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
    away = {row.train_id for row in overlaps(_prompts(train), _prompts(heldout))}
    return [one for one in train if one.id not in away]


def _prompts(preferences: Sequence[Preference]) -> list[Prompt]:
    return [Prompt(one.id, one.lang, one.prompt, one.before) for one in preferences]
