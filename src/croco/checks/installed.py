"""The packages that engines, rewards, identifiers, trainers and judges of a recipe need."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel

from croco import packages
from croco.checks.findings import Finding, Subject, sections
from croco.engines import ENGINES
from croco.executors import EXECUTORS
from croco.judging import JUDGES
from croco.languages import IDENTIFIERS
from croco.likelihood import LIKELIHOODS
from croco.recipe import AnyRecipe, Filters
from croco.reward_settings import Gate, RewardConfig
from croco.rewards import SCORERS
from croco.settings import Checks, Prompted, Sampling, Translate
from croco.stage import Stage
from croco.training import TRAINERS
from croco.training_settings import TrainConfig, Watch
from croco.translation import TRANSLATORS

#: What is needed, as in "the engine 'vllm'", and the `module:attribute` or module behind it.
Use = tuple[str, str]


def check(subject: Subject) -> Iterator[Finding]:
    """One error that names all that is missing and the command that installs it.

    A warning instead where other machines, with a Python of their own, do the work. An error for each name
    that a module does not define.
    """
    kind = subject.recipe.executor.kind
    here = {f"the executor {kind!r}": packages.missing(EXECUTORS[kind])}
    there: dict[str, list[str]] = {}
    for stage in subject.pending.values():
        place = there if is_elsewhere(subject.recipe, stage) else here
        for what, missing in _needs(stage):
            place.setdefault(f"the {what} of stage {stage.name!r}", missing)
    yield from _finding("error", here)
    yield from _finding("warning", there)
    yield from dict.fromkeys(
        one for stage in subject.pending.values() for use in _all(stage) for one in _undefined(*use)
    )


def is_elsewhere(recipe: AnyRecipe, stage: Stage) -> bool:
    """Whether a stage may run by another Python than this one."""
    executor = recipe.executor
    if executor.kind == "slurm":
        places = (stage.resources.slurm, executor.slurm)
        return any(one.python or one.container or one.setup for one in places)
    return executor.kind == "ray" and executor.ray.address != "local"


def _finding(level: Literal["error", "warning"], lacks: dict[str, list[str]]) -> Iterator[Finding]:
    """What is missing in one sentence, if anything is; each package is named with who needs it first."""
    told: dict[str, None] = {}
    said = []
    for what, missing in lacks.items():
        new = [name for name in missing if name not in told]
        told |= dict.fromkeys(new)
        if new:
            said.append(f"{what} needs {packages.listed(new)}")
    if said:
        be = "is" if len(told) == 1 else "are"
        where = "here" if level == "error" else "here: where the work is done, it must be"
        how = packages.install(told)
        text = f"{', '.join(said)}, which {be} not installed {where}: {how}"
        yield Finding(level, "", text, here=True)


def _undefined(what: str, target: str) -> Iterator[Finding]:
    """An error where a module has no attribute of the name in `module:attribute`."""
    module, _, attribute = target.partition(":")
    known = packages.defined(module) if attribute else set()
    if known and attribute not in known:
        near = difflib.get_close_matches(attribute, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "name one that it defines"
        yield Finding("error", "", f"{what}: {module} has no {attribute!r}: {hint}")


def _needs(stage: Stage) -> Iterator[tuple[str, list[str]]]:
    """What a stage uses that is not here, in words, and the packages that it lacks."""
    for what, target in _all(stage):
        yield what, packages.missing(target)
    own: Any = stage.config
    quantized = own.train.quantized if stage.kind == "train" else getattr(own, "quantized", False)
    if quantized:
        yield "setting lora.quantized", packages.absent(["bitsandbytes"])
    if stage.kind == "train":
        for tracker in stage.resources.trackers:
            yield f"tracker {tracker!r}", packages.absent([tracker])


def _all(stage: Stage) -> Iterator[Use]:
    """The names that stand for code in a stage's settings."""
    for section in sections(stage.config):
        yield from _uses(section)
    yield from _uses_of_kind(stage)


def _uses(section: BaseModel) -> Iterator[Use]:
    """The names that stand for code in a section itself."""
    match section:
        case Sampling() | Prompted():
            yield _use("engine", section.engine, ENGINES)
        case RewardConfig():
            yield _use("reward kind", section.kind, SCORERS | JUDGES)
            if section.function:
                yield _use("function", section.function, {})
            if section.identifier:
                yield _use("identifier", section.identifier, IDENTIFIERS)
        case Filters() if section.wrong_language != "off":
            yield _use("identifier", section.identifier, IDENTIFIERS)
        case Gate() | Checks() | Watch():
            yield _use("identifier", section.identifier, IDENTIFIERS)
        case Translate():
            yield _use("translator", section.translator, TRANSLATORS)
        case TrainConfig():
            yield _use("trainer", section.trainer, TRAINERS)


def _uses_of_kind(stage: Stage) -> Iterator[Use]:
    """What stages of some kinds use besides."""
    own: Any = stage.config
    match stage.kind:
        case "language":
            yield from (
                _use("identifier", n, IDENTIFIERS) for n in (own.identifier, own.second) if n
            )
        case "audit":
            yield _use("identifier", own.identifier, IDENTIFIERS)
        case "loss":
            yield _use("likelihood", own.likelihood, LIKELIHOODS)
        case "encode":
            yield "tokenizer", "croco.tokens"
        case "reference":
            yield "reference", "croco.training.reference"
        case "reward":
            trained = "reward" if own.train.layers == 0 else "reward_trl"
            yield "training", f"croco.training.{trained}"


def _use(what: str, name: str, table: Mapping[str, str]) -> Use:
    return f"{what} {name!r}", table.get(name, name)
