"""`croco export`: an arm's tuned model in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from croco.errors import RecipeError

if TYPE_CHECKING:
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
    """What an arm's training left, and how it came to be; RecipeError where it left nothing yet."""
    import json

    from croco import pipeline
    from croco.provenance import provenance
    from croco.recipe import Recipe
    from croco.runs import Run
    from croco.training.export import Tuned

    run = Run.load(home, name)
    run.store.check()
    recipe = run.recipe
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"run {name!r} is a comparison and tunes nothing: name another run")
    if arm not in recipe.arms:
        raise RecipeError(f"run {name!r} has no arm {arm!r}: its arms are {', '.join(recipe.arms)}")
    stage = pipeline.build(recipe)[f"{arm}.train"]
    artifact = run.store.artifact(stage)
    if artifact.owed():
        raise RecipeError(
            f"arm {arm!r} of run {name!r} is not trained yet in {home}: run its recipe first"
        )
    described = json.loads((artifact.root / "stage.json").read_text("utf-8"))
    about = {
        "run": name,
        "arm": arm,
        "identity": stage.identity,
        "languages": recipe.languages,
        "recipe": recipe.model_dump(mode="json", exclude={"resources"}),
        "stage": described["recipe"],
        "trained_by": described["provenance"],
        "versions": provenance(),
    }
    return Tuned(artifact.files, stage.config.policy, about)  # type: ignore[attr-defined]
