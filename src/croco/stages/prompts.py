"""Prompts: read, checked, filtered to the recipe's languages, or drafted for translation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from croco.arena import ORIGINAL, REPAIRED, repaired
from croco.datafiles import PromptFiles, read_prompts
from croco.errors import DataError
from croco.records import Draft, Key, Prompt
from croco.settings import Section
from croco.stage import Context


class Config(Section):
    """Files by content, languages, how many ids to take, and files whose ids must not occur."""

    files: list[PromptFiles]
    languages: list[str]
    limit: int | None
    never: list[PromptFiles] = []
    source: str | None = None
    repair_escapes: bool = True

    def check(self) -> None:
        """DataError where the files do not give what is wanted."""
        read(self)


def prompts(config: Config, context: Context) -> list[Prompt] | list[Draft]:
    """The stage: what `read` gives; with a `source` language, drafts of all that is wanted."""
    rows, mended = read(config)
    counts = {lang: mended[lang] for lang in sorted(mended)}
    (context.files / REPAIRED).write_text(json.dumps(counts), encoding="utf-8")
    return drafts(config, rows) if config.source else rows


def drafts(config: Config, rows: list[Prompt]) -> list[Draft]:
    """A draft in every wanted language of each id: what exists as it is, else the source's text."""
    found = {row.key: row for row in rows}
    return [
        Draft(id, lang, row.prompt, row.before, row.lang)
        for id in sorted({row.id for row in rows})
        for lang in config.languages
        if (row := found.get((id, lang)) or found.get((id, config.source or "")))
    ]


def read(config: Config) -> tuple[list[Prompt], Counter[str]]:
    """The prompts of the wanted languages, the first `limit` ids in sorted order, and how many of each
    language were repaired.

    With a `source` language its prompts are read as well, and other languages may be missing. Raises
    DataError where a wanted language has none, or a prompt stands in a `never` file too, by id or by
    text: training prompts must not stand in the evaluation set.
    """
    rows, mended = _wanted(config, config.files)
    _refuse_shared(config, rows, _wanted(config, config.never, every=True)[0])
    ids = set(sorted({row.id for row in rows})[: config.limit])
    kept = [row for row in rows if row.id in ids]
    counts = Counter(row.lang for row in kept if row.key in mended)
    if config.source:
        _refuse_without_source(config, kept)
        return kept, counts
    missing = [lang for lang in config.languages if lang not in {row.lang for row in kept}]
    if missing:
        names = ", ".join(file.label for file in config.files)
        raise DataError(f"{names}: no prompts in {missing[0]!r}: add some or drop the language")
    return kept, counts


def _wanted(
    config: Config, files: Sequence[PromptFiles], every: bool = False
) -> tuple[list[Prompt], set[Key]]:
    """The rows of some files in the wanted languages, or in all, and the keys of those repaired."""
    wanted = {*config.languages, *([config.source] if config.source else [])}
    mended: set[Key] = set()
    if config.repair_escapes:
        rows, mended = repaired(read_prompts(files, {*wanted, ORIGINAL}))
    else:
        rows = read_prompts(files, wanted)
    return [row for row in rows if every or row.lang in wanted], mended


def _refuse_without_source(config: Config, rows: list[Prompt]) -> None:
    """DataError where a prompt that is to be translated does not exist in the source language."""
    have = {row.key for row in rows}
    names = ", ".join(file.label for file in config.files)
    for id in sorted({row.id for row in rows}) or [""]:
        lacks = [lang for lang in config.languages if (id, lang) not in have]
        if lacks and (id, config.source) not in have:
            raise DataError(
                f"{names}: prompt {id!r} is in neither {lacks[0]!r} nor {config.source!r}, from which"
                " it would be translated: add one of them"
            )


def _refuse_shared(config: Config, rows: list[Prompt], others: list[Prompt]) -> None:
    ids, texts = {row.id for row in others}, {(*row.before, row.prompt) for row in others}
    for row in rows:
        if row.id in ids or (*row.before, row.prompt) in texts:
            raise DataError(
                f"{config.files[0].label}: prompt {row.id!r} ({row.lang}) is a training prompt too:"
                " remove it from one of the sets"
            )
