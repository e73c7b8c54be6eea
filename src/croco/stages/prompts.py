"""Prompts: read, checked, filtered to the recipe's languages."""

from __future__ import annotations

from croco.datafiles import FileRef, read_prompts
from croco.errors import DataError
from croco.recipe import Section
from croco.records import Prompt
from croco.stage import Context


class Config(Section):
    """Files by content, languages, how many ids to take, and files whose ids must not occur."""

    files: list[FileRef]
    languages: list[str]
    limit: int | None
    never: list[FileRef] = []

    def check(self) -> None:
        """DataError where the files do not give what is wanted."""
        read(self)


def prompts(config: Config, context: Context) -> list[Prompt]:
    """The stage: what `read` gives."""
    return read(config)


def read(config: Config) -> list[Prompt]:
    """The prompts of the wanted languages, the first `limit` ids in sorted order.

    Raises DataError where a wanted language has none, or a prompt stands in a `never` file too, by
    id or by text: training prompts must not stand in the evaluation set.
    """
    rows = [row for row in read_prompts(config.files) if row.lang in config.languages]
    _refuse_shared(config, rows)
    ids = sorted({row.id for row in rows})[: config.limit]
    kept = [row for row in rows if row.id in set(ids)]
    missing = [lang for lang in config.languages if lang not in {row.lang for row in kept}]
    if missing:
        names = ", ".join(file.label for file in config.files)
        raise DataError(f"{names}: no prompts in {missing[0]!r}: add some or drop the language")
    return kept


def _refuse_shared(config: Config, rows: list[Prompt]) -> None:
    others = read_prompts(config.never)
    ids, texts = {row.id for row in others}, {row.prompt for row in others}
    for row in rows:
        if row.id in ids or row.prompt in texts:
            raise DataError(
                f"{config.files[0].label}: prompt {row.id!r} ({row.lang}) is a training prompt too:"
                " remove it from one of the sets"
            )
