"""`croco export`: an arm's tuned model in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from croco.errors import DataError, RecipeError

if TYPE_CHECKING:
    from croco.models import ModelRef
    from croco.recipe import Recipe
    from croco.training.export import Tuned

HERE = Path()


def export(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A run: the `name` of its recipe.")],
    arm: Annotated[str, typer.Argument(metavar="ARM", help="One of its arms.")],
    *,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="A new folder.")],
    merged: Annotated[
        bool, typer.Option("--merged", help="The base's weights with the adapter in them.")
    ] = False,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"],
        typer.Option(help="Of merged weights; 16 bits round part of the tuning away."),
    ] = "float32",
    home: Annotated[
        Path, typer.Option(envvar="CROCO_HOME", help="The folder that holds `store/` and `runs/`.")
    ] = HERE,
) -> None:
    """Write an arm's adapter, or merged weights, with tokenizer, chat template and where it comes from."""
    from croco.training.export import export as write

    tuned = _tuned(home, name, arm)
    if not write(tuned, out, merged, dtype):
        typer.echo(f"{out} is this export already: nothing to do", err=True)
    typer.echo(out)


def _tuned(home: Path, name: str, arm: str) -> Tuned:
    """What an arm's training left, and how it came to be; RecipeError where it left nothing yet.

    The run's own link says which training that is: data files that are gone, or another version of CroCo,
    do not matter.
    """
    from croco import describing
    from croco.models import ModelRef
    from croco.provenance import provenance
    from croco.recipe import Recipe
    from croco.rounds import training_of
    from croco.runs import Run
    from croco.training.export import Tuned

    run = Run.load(home, name)
    run.store.check()
    recipe = run.recipe
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"run {name!r} is a comparison and tunes nothing: name another run")
    if arm not in recipe.arms:
        raise RecipeError(f"run {name!r} has no arm {arm!r}: its arms are {', '.join(recipe.arms)}")
    root = run.linked(training_of(arm, recipe.arms[arm]))
    if root is None or not any(root.glob("shard-*.parquet")):
        raise RecipeError(
            f"arm {arm!r} of run {name!r} is not trained yet in {home}: run its recipe first"
        )
    described = describing.read(root)
    if described is None:
        raise DataError(f"{root} has no {describing.NAME}: run the recipe again")
    about = {
        "run": name,
        "arm": arm,
        "identity": root.name,
        "languages": recipe.languages,
        "recipe": recipe.model_dump(mode="json", exclude={"resources"}),
        "stage": described["recipe"],
        "trained_by": described["provenance"],
        "versions": provenance(),
    }
    policy = ModelRef(**described["recipe"]["config"]["policy"])
    return Tuned(root / "files", _located(policy, recipe), about)


def _located(policy: ModelRef, recipe: Recipe) -> ModelRef:
    """A policy that is a folder, where the recipe says that it lies; RecipeError where that is another."""
    from croco import models

    if policy.name != "local":
        return policy
    found = models.resolve(recipe.policy, recipe.folder)
    if found != policy.model_copy(update={"location": found.location}):
        raise RecipeError(
            f"policy {recipe.policy!r} is not what the arm was tuned from ({policy.revision}): put it back"
        )
    return found
