"""Translators turn texts into another language; a stage knows only the protocol and `load`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from croco.keeping import keep
from croco.plugins import load_class
from croco.settings import Resources, Translate

TRANSLATORS = {
    "apertium": "croco.translation.apertium:Apertium",
    "prompt": "croco.translation.prompted:PromptTranslator",
}


@dataclass(frozen=True, slots=True)
class Text:
    """A text to be translated from `source` to `target` (BCP-47); `key` is the asker's own.

    `seed` and `attempt` (0, then 1 where a check failed) are for translators that sample.
    """

    key: Any
    source: str
    target: str
    text: str
    seed: int = 0
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Translated:
    """What became of a text: its translation and the words left unknown in it, or an error."""

    of: Text
    text: str = ""
    unknown: list[str] = field(default_factory=list)
    error: Exception | None = None


class Translator(Protocol):
    """Translates; built as `Translator(config, resources)`."""

    #: Whether a second attempt may give another translation.
    varies: bool

    def translate(self, batches: Iterable[list[Text]]) -> Iterator[list[Translated]]:
        """One result per text, in any order, as they are ready."""
        ...


@keep
def load(config: Translate, resources: Resources) -> Translator:
    """The translator that `config` names, or a `module:Class` of the user's."""
    translator: Translator = load_class(config.translator, TRANSLATORS, "translator")(
        config, resources
    )
    return translator
