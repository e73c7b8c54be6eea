"""What can be known before work starts: `check(recipe)` gives findings, errors and warnings.

A check is a function that takes a `Subject` and yields findings; a new one is added to `CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from croco import pipeline
from croco.checks import chats, files, installed, steps, training, weights
from croco.checks.findings import Finding, Subject
from croco.errors import CrocoError
from croco.recipe import AnyRecipe
from croco.stage import Stage
from croco.store import Store

__all__ = ["Finding", "Subject", "check"]

#: In this order: what is quick to find out, and what it makes pointless to look further for, comes first.
CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    installed.check,
    files.check,
    steps.check,
    training.check,
    chats.check,
    weights.check,
)


def check(
    recipe: AnyRecipe,
    stages: Mapping[str, Stage] | None = None,
    store: Store | None = None,
    quick: bool = False,
) -> list[Finding]:
    """Everything that can be known of a recipe before work starts: findings, the errors first.

    `stages` are those that are wanted, by default all; those that are done in `store` are not looked at.
    Reads data files (if `quick`, only those that are here and small), and of models the configuration and
    the tokenizer, which are downloaded where they are missing, but no weights: of those in local
    directories the names and shapes.
    """
    if stages is None:
        try:
            stages = pipeline.build(recipe)
        except CrocoError as error:
            return [Finding("error", "", str(error))]
    subject = Subject(recipe, stages, store, quick)
    found = dict.fromkeys(one for own in CHECKS for one in own(subject))
    return sorted(found, key=lambda one: one.level != "error")
