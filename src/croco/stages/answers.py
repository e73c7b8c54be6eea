"""Answers that exist already, and the prompts that they answer: the beginning of a mere comparison."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from croco.answers import Answered, Asked, read_answers, read_asked
from croco.datafiles import FileRef
from croco.errors import DataError
from croco.reasoning import KNOWN
from croco.records import Key, Prompt, Responses
from croco.settings import Reasoning, Section
from croco.stage import Context

#: One side's answers by key.
Answers = Mapping[Key, Answered]


class Config(Section):
    """The files of one side's answers, the languages that are wanted (none: all of them), and the marks of
    reasoning."""

    files: list[FileRef]
    languages: list[str]
    reasoning: Reasoning = None

    def check(self) -> None:
        """DataError where a file has a bad line."""
        read_answers(self.files)


class PromptsConfig(Section):
    """The files of both sides' answers, and of prompts that are not beside the answers."""

    base: list[FileRef]
    tuned: list[FileRef]
    prompts: list[FileRef]
    languages: list[str]

    def check(self) -> None:
        """DataError where the sides share no prompt, or a prompt is nowhere or not the same everywhere."""
        shared_prompts(self)


def answers(config: Config, context: Context) -> list[Responses]:
    """One side's answers, one row per prompt."""
    markers = KNOWN if config.reasoning is None else config.reasoning
    found = [one.responses for one in read_answers(config.files, markers).values()]
    return [row for row in found if not config.languages or row.lang in config.languages]


def prompts(config: PromptsConfig, context: Context) -> list[Prompt]:
    """The stage: what `shared_prompts` gives."""
    return shared_prompts(config)


def shared_prompts(config: PromptsConfig) -> list[Prompt]:
    """The prompts that both sides answered, in the wanted languages; each of these has some."""
    base, tuned = read_answers(config.base), read_answers(config.tuned)
    known = read_asked(config.prompts)
    both = base.keys() & tuned.keys()
    for lang in config.languages:
        if not any(key[1] == lang for key in both):
            raise DataError(_nothing(config, base, tuned, lang))
    if not both:
        raise DataError(_nothing(config, base, tuned))
    keys = sorted(key for key in both if not config.languages or key[1] in config.languages)
    return [_prompt(key, base[key], tuned[key], known.get(key, [])) for key in keys]


def _nothing(config: PromptsConfig, base: Answers, tuned: Answers, lang: str | None = None) -> str:
    """Why nothing can be compared, in a language or at all."""
    where = f" in {lang!r}" if lang else ""
    for files, rows in ((config.base, base), (config.tuned, tuned)):
        if lang and not any(key[1] == lang for key in rows):
            return f"{_label(files)}: no answers{where}: name languages that both sides have"
    return (
        f"{_label(config.base)} and {_label(config.tuned)} have no prompt in common, by id and"
        f" language{where}: give answers to the same prompts"
    )


def _prompt(key: Key, base: Answered, tuned: Answered, known: list[Asked]) -> Prompt:
    """The prompt of both answers; DataError where it is nowhere, or two places have two."""
    own = [Asked(one.prompt, one.where) for one in (base, tuned) if one.prompt]
    found = [*known, *own]
    if not found:
        raise DataError(
            f"{base.where}: the prompt of {key} is nowhere: write it beside the answer as 'prompt', or"
            " give a file of prompts"
        )
    for one, other in combinations([*own, *known], 2):
        if not one.is_as(other):
            sides = " on both sides" if one in own and other in own else ""
            raise DataError(
                f"{one.where} and {other.where}: the prompt of {key} is not the same{sides}: compare"
                " answers to the same prompts"
            )
    return found[0].prompt


def _label(files: list[FileRef]) -> str:
    return ", ".join(file.label for file in files[:3])
