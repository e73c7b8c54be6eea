"""Findings, and what is looked at to make them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel

from croco.recipe import AnyRecipe
from croco.records import Prompt
from croco.stage import Stage
from croco.store import Store

#: Who speaks in a conversation, turn by turn.
Roles = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: `where` is the recipe's key, the stage or the file ("" where the message
    says it), and the message says in one sentence what is wrong and what to do.

    With an error a run does not start; a warning is printed. `here`: it is wrong on this machine and may be
    right on another, so a plan can be made all the same. `exit_code` is what the command line ends with.
    """

    level: Literal["error", "warning"]
    where: str
    message: str
    here: bool = False
    exit_code: int = 2

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


@dataclass(frozen=True)
class Subject:
    """What is checked: a recipe, its wanted stages, and the store in which some of them may be done.

    `quick`: data files that take long to read, or to be had, are left to the run. `turns` has, by identity
    of a prompts stage whose files were read, the orders of roles in its prompts, each with the prompt that
    has it first.
    """

    recipe: AnyRecipe
    stages: Mapping[str, Stage]
    store: Store | None = None
    quick: bool = False
    turns: dict[str, dict[Roles, str]] = field(default_factory=dict)

    @cached_property
    def pending(self) -> dict[str, Stage]:
        """The stages that have work to do, by name."""
        return {name: stage for name, stage in self.stages.items() if not self._is_done(stage)}

    def _is_done(self, stage: Stage) -> bool:
        return self.store is not None and not self.store.artifact(stage).owed()


def roles_in(prompts: Iterable[Prompt]) -> dict[Roles, str]:
    """The orders of roles in prompts, each with the prompt that has it first."""
    found: dict[Roles, str] = {}
    for prompt in prompts:
        roles = tuple(turn["role"] for turn in prompt.chat)
        if roles not in found:
            found[roles] = f"prompt {prompt.id!r} ({prompt.lang})"
    return found


def sections(value: Any) -> Iterator[BaseModel]:
    """A section and all sections in it."""
    if isinstance(value, BaseModel):
        yield value
        value = dict(value)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from sections(one)
