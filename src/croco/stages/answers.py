"""Answers that exist already, and the prompts that they answer: the beginning of a mere comparison."""

from __future__ import annotations

from croco.answers import Answered, read_answers, read_asked
from croco.datafiles import FileRef
from croco.errors import DataError
from croco.reasoning import KNOWN
from croco.records import Key, Prompt, Responses
from croco.settings import Reasoning, Section
from croco.stage import Context


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
    """The files of both sides' answers, and of prompts that do not stand beside the answers."""

    base: list[FileRef]
    tuned: list[FileRef]
    prompts: list[FileRef]
    languages: list[str]

    def check(self) -> None:
        """DataError where the sides share no prompt, or one of theirs is nowhere or not the same."""
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
    """The prompts that both sides answered, in the wanted languages."""
    base, tuned = read_answers(config.base), read_answers(config.tuned)
    known = read_asked(config.prompts)
    wanted = config.languages
    keys = sorted(key for key in base.keys() & tuned.keys() if not wanted or key[1] in wanted)
    if not keys:
        raise DataError(
            f"{_label(config.base)} and {_label(config.tuned)} have no prompt in common, by id and"
            f" language{f', in {wanted}' if wanted else ''}: give answers to the same prompts"
        )
    return [_prompt(key, base[key], tuned[key], known.get(key)) for key in keys]


def _prompt(key: Key, base: Answered, tuned: Answered, known: Prompt | None) -> Prompt:
    own = [one.prompt for one in (base, tuned) if one.prompt]
    if len(own) == 2 and own[0] != own[1]:
        raise DataError(
            f"{base.where} and {tuned.where}: the prompt of {key} is not the same on both sides: compare"
            " answers to the same prompts"
        )
    prompt = known or next(iter(own), None)
    if prompt is None:
        raise DataError(
            f"{base.where}: the prompt of {key} is nowhere: write it beside the answer as 'prompt', or"
            " give a file of prompts"
        )
    return prompt


def _label(files: list[FileRef]) -> str:
    return ", ".join(file.label for file in files[:3])
