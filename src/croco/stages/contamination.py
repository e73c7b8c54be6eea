"""Contamination: which training prompts give held-out prompts away, in any language, before any is used."""

from __future__ import annotations

from collections.abc import Iterator

from croco.contamination import THRESHOLD, N, overlaps
from croco.records import Draft, Key, Overlap, Prompt
from croco.settings import Section
from croco.stage import Context


class Config(Section):
    """How alike is too alike; see `croco.contamination`."""

    n: int = N
    threshold: float = THRESHOLD


def contamination(config: Config, context: Context) -> list[Overlap]:
    """The rows of `overlaps`. Prompts that were translated are compared as they were written too."""
    train, heldout = (_prompts(context, side) for side in ("train", "heldout"))
    return overlaps(train, list(heldout), config.n, config.threshold)


def _prompts(context: Context, side: str) -> Iterator[Prompt]:
    """Each prompt once, a draft as what it was written as."""
    seen: set[Key] = set()
    for name in (f"prompts-{side}", f"translate-{side}"):
        for row in context.inputs[name].rows() if name in context.inputs else ():
            lang = row.source if isinstance(row, Draft) else row.lang
            if (row.id, lang) not in seen:
                seen.add((row.id, lang))
                yield Prompt(row.id, lang, row.prompt, row.before)
