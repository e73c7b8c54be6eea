"""Prompts: read, checked, filtered to the recipe's languages, or drafted for translation."""

from __future__ import annotations

from croco.datafiles import FileRef, read_prompts
from croco.errors import DataError
from croco.records import Draft, Prompt
from croco.settings import Section
from croco.stage import Context


class Config(Section):
    """Files by content, languages, how many ids to take, and files whose ids must not occur."""

    files: list[FileRef]
    languages: list[str]
    limit: int | None
    never: list[FileRef] = []
    source: str | None = None

    def check(self) -> None:
        """DataError where the files do not give what is wanted."""
        read(self)


def prompts(config: Config, context: Context) -> list[Prompt] | list[Draft]:
    """The stage: what `read` gives; with a `source` language, drafts of all that is wanted."""
    return drafts(config, read(config)) if config.source else read(config)


def drafts(config: Config, rows: list[Prompt]) -> list[Draft]:
    """A draft in every wanted language of each id: what exists as it is, else the source's text."""
    found = {row.key: row for row in rows}
    return [
        Draft(id, lang, row.prompt, row.before, row.lang)
        for id in sorted({row.id for row in rows})
        for lang in config.languages
        if (row := found.get((id, lang)) or found.get((id, config.source or "")))
    ]


def read(config: Config) -> list[Prompt]:
    """The prompts of the wanted languages, the first `limit` ids in sorted order.

    With a `source` language its prompts are read as well, and other languages may be missing. Raises
    DataError where a wanted language has none, or a prompt stands in a `never` file too, by id or by
    text: training prompts must not stand in the evaluation set.
    """
    wanted = [*config.languages, config.source]
    rows = [row for row in read_prompts(config.files) if row.lang in wanted]
    _refuse_shared(config, rows)
    ids = sorted({row.id for row in rows})[: config.limit]
    kept = [row for row in rows if row.id in set(ids)]
    if config.source:
        _refuse_without_source(config, kept)
        return kept
    missing = [lang for lang in config.languages if lang not in {row.lang for row in kept}]
    if missing:
        names = ", ".join(file.label for file in config.files)
        raise DataError(f"{names}: no prompts in {missing[0]!r}: add some or drop the language")
    return kept


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


def _refuse_shared(config: Config, rows: list[Prompt]) -> None:
    others = read_prompts(config.never)
    ids, texts = {row.id for row in others}, {(*row.before, row.prompt) for row in others}
    for row in rows:
        if row.id in ids or (*row.before, row.prompt) in texts:
            raise DataError(
                f"{config.files[0].label}: prompt {row.id!r} ({row.lang}) is a training prompt too:"
                " remove it from one of the sets"
            )
