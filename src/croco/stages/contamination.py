"""Contamination: which training prompts give held-out prompts away, in any language, before any is used."""

from __future__ import annotations

from collections.abc import Iterator

from croco.arena import ORIGINAL
from croco.contamination import THRESHOLD, N, overlaps
from croco.datafiles import PromptFiles, read_prompts
from croco.records import Key, Overlap, Prompt
from croco.settings import Section
from croco.stage import Context


class Config(Section):
    """Both sides' files and the run's languages, and how alike is too alike (`croco.contamination`)."""

    train: list[PromptFiles]
    heldout: list[PromptFiles]
    languages: list[str]
    n: int = N
    threshold: float = THRESHOLD


def contamination(config: Config, context: Context) -> list[Overlap]:
    """The rows of `overlaps`, among the run's prompts in every language that they have in their files, and
    among their translations where these are an input."""
    train = _prompts(config, context, "train", config.train)
    heldout = _prompts(config, context, "heldout", config.heldout)
    return overlaps(train, list(heldout), config.n, config.threshold)


def _prompts(
    config: Config, context: Context, side: str, files: list[PromptFiles]
) -> Iterator[Prompt]:
    """Each prompt once in each language; folders and hub data sets are read in the run's and English."""
    ids = {row.id for row in context.inputs[f"prompts-{side}"].rows()}
    seen: set[Key] = set()
    for row in read_prompts(files, {*config.languages, ORIGINAL}):
        if row.id in ids:
            seen.add(row.key)
            yield row
    translated = context.inputs.get(f"translate-{side}")
    for row in translated.rows() if translated else ():
        if row.key not in seen:
            yield row
