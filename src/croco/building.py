"""What a recipe's names mean, and stages made of them: `pipeline` builds by these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from croco.datafiles import FileRef, PromptFiles, refer, refer_prompts
from croco.engines import ENGINES
from croco.errors import RecipeError
from croco.judging import JUDGES
from croco.languages import IDENTIFIERS
from croco.plugins import check_name, source_digest
from croco.recipe import AnyRecipe, StageKind
from croco.reward_settings import RewardConfig
from croco.rewards import SCORERS
from croco.settings import Resources
from croco.stage import Stage
from croco.stages import train
from croco.training import accelerating

#: Raised when what a stage computes changes, so that old artifacts are not taken for new ones.
VERSIONS = dict.fromkeys(get_args(StageKind), 1) | {
    "answers": 2,
    "translate": 3,
    "sample": 6,
    "reward": 6,
    "score": 6,
    "pair": 8,
    "encode": 5,
    "judge": 7,
    "audit": 10,
    "loss": 2,
    "contamination": 2,
    "reference": 2,
    "train": 5,
    "language": 3,
    "report": 10,
    "benchmark": 2,
}


def stage_of(
    recipe: AnyRecipe,
    name: str,
    function: Any,
    config: Any,
    record: type[Any],
    inputs: dict[str, Stage],
    engines: Iterable[str] = (),
    aligned: Iterable[str] = (),
    **more: Any,
) -> Stage:
    """A stage of that name; its kind, version and resources follow from the name and the recipe."""
    kind = name.rpartition(".")[2].partition("-")[0]
    resources = recipe.resources.get(kind, Resources())  # type: ignore[call-overload]
    if resources.accelerate:
        file = recipe.folder / resources.accelerate
        if not file.is_file():
            raise RecipeError(f"resources.{kind}.accelerate: there is no file {file}: name one")
        resources = resources.model_copy(update={"accelerate": str(file.absolute())})
    served = sorted({"openai", "server"} & set(engines))
    if served and resources.server is None:
        raise RecipeError(
            f"{served[0]!r} in stage {name!r} needs a server: give its address in"
            f" resources.{kind}.server.url"
        )
    more.setdefault("deciding", asked_of(resources) if served else {})
    if resources.accelerate and isinstance(config, train.Config):
        more["deciding"] |= accelerating.meant(Path(resources.accelerate), config.train)
    shards = next(iter(inputs.values())).shards if inputs and more.get("unit") else 1
    return Stage(
        name=name,
        kind=kind,
        version=VERSIONS[kind],
        function=function,
        config=config,
        record=record,
        inputs=inputs,
        resources=resources,
        allow_failed=recipe.allow_failed,
        aligned=frozenset(aligned),
        **({"shards": shards} | more),
    )


def asked_of(resources: Resources) -> dict[str, str]:
    """The name by which a server is asked for a model, where the resources give one: it decides which
    model answers."""
    server = resources.server
    return {"server.model": server.model} if server and server.model else {}


def files_of(names: list[str], folder: Path) -> list[FileRef]:
    """The data files that a recipe names."""
    return [refer(name, folder) for name in names]


def prompt_files_of(names: list[str], folder: Path) -> list[PromptFiles]:
    """The prompt files, folders and hub data sets that a recipe names."""
    return [refer_prompts(name, folder) for name in names]


#: A name in a recipe that stands for code, the table it may come from, and what it is.
Name = tuple[str, Mapping[str, str], str]


def code_of(*names: Name) -> dict[str, str]:
    """The digests of the user's code behind some names; RecipeError where a name means nothing."""
    for name, table, what in names:
        check_name(name, table, what)
    return {name: source_digest(name) for name, _, _ in names if ":" in name}


def engines_of(config: RewardConfig) -> list[str]:
    """What may need a server in a reward and its parts."""
    return [
        name
        for one in config.walk()
        for name in (one.kind, one.prompt and one.prompt.engine)
        if name
    ]


def names_of(config: RewardConfig, judge: bool = False) -> list[Name]:
    """The names that stand for code in a reward, or in a judge, and its parts."""
    found: list[Name] = []
    for one in config.walk():
        if not (judge and one is config and one.kind in JUDGES):
            found.append((one.kind, SCORERS, "reward kind"))
        if one.prompt:
            found.append((one.prompt.engine, ENGINES, "prompt.engine"))
        if one.function:
            found.append((one.function, {}, "function"))
        for identifier in (one.identifier, one.gate and one.gate.identifier):
            if identifier:
                found.append((identifier, IDENTIFIERS, "identifier"))
    return found
