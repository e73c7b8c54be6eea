"""`croco compare`: two sides' answers to the same prompts, judged, with intervals per language."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from croco import yamls
from croco.cli_checks import findings_of, refuse
from croco.errors import RecipeError

if TYPE_CHECKING:
    from croco.runs import Run

SIDE = "a file of answers (id, lang, response), or RUN/ARM or RUN/base of a run"
HERE = Path()
#: Columns of the table: heading, and the figure's key.
COLUMNS = {
    "prompts": "prompts",
    "win / tie / loss": "counts",
    "win rate [95 %]": "win_rate",
    "both in language": "in_language",
    "share": "share",
    "language alone": "language_alone",
    "length-controlled": "length_controlled",
    "language-adjusted": "language_adjusted",
    "flips": "flip_rate",
    "no verdict": "unparseable",
}


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=f"The base: {SIDE}.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Whose wins are counted: the like.")],
    judge: Annotated[
        Path,
        typer.Option(
            metavar="YAML", help="A file with `judge:`, or a recipe: its `evaluate` judges."
        ),
    ],
    prompts: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Prompts, where the answers' files have none."),
    ] = None,
    lang: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="Only these languages.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the run of this comparison is called.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key.")
    ] = None,
    ask_again: Annotated[
        int | None,
        typer.Option(
            metavar="TIMES",
            min=1,
            help="Ask the judge again, so often at most, for the verdicts that are missing alone.",
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="All figures as JSON.")] = False,
    home: Annotated[
        Path, typer.Option(envvar="CROCO_HOME", help="The folder that holds `store/` and `runs/`.")
    ] = HERE,
) -> None:
    """Say how often B's answers beat A's, per language and with intervals.

    Answers are compared in both orders where the judge is a model. What is judged is kept: the same
    command goes on where it was stopped.
    """
    from croco import recipe_file
    from croco.runs import Run

    recipe = _recipe(a, b, judge, prompts or [], lang or [], home)
    recipe["name"] = name or _name(a, b)
    overrides = [*(set_ or []), *_again(recipe, ask_again)]
    run = Run(home, recipe_file.parse(recipe_file.overridden(recipe, overrides), judge))
    figures = _figures(run)
    if json_:
        typer.echo(json.dumps(figures, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        _print(figures["comparisons"]["tuned"], b, a)
    typer.echo(str(run.folder / "report" / "index.html"), err=True)


def _again(recipe: dict[str, Any], times: int | None) -> list[str]:
    """The override that asks again; RecipeError where the judge is none that is asked."""
    judge = recipe["evaluate"].get("judge")
    if times is not None and not (isinstance(judge, dict) and judge.get("kind") == "pairwise"):
        raise RecipeError("--ask-again: the judge is no model that compares: leave it out")
    return [] if times is None else [f"evaluate.judge.prompt.retries={times}"]


def _name(a: str, b: str) -> str:
    parts = [
        re.sub(r"[^A-Za-z0-9._-]+", "-", Path(one).with_suffix("").as_posix()) for one in (a, b)
    ]
    return "compare-" + "-vs-".join(part.strip("-.")[-40:].strip("-.") for part in parts)


def _evaluation(path: Path) -> dict[str, Any]:
    """The sections of a recipe that judge."""
    try:
        values = yamls.load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise RecipeError(
            f"{path} cannot be read as YAML ({first}): give a judge's file"
        ) from error
    if not isinstance(values, dict) or not {"judge", "evaluate"} & values.keys():
        raise RecipeError(f"{path} has neither 'judge' nor 'evaluate': say who judges")
    own = values.get("evaluate") or {
        key: value for key, value in values.items() if key not in ("resources", "seed")
    }
    found = {"evaluate": {key: own[key] for key in _KEPT if key in own}}
    unknown = sorted(own.keys() - _KEPT) if "judge" in values else []
    if unknown:
        raise RecipeError(f"{path}: unknown key {unknown[0]!r}: known here are {', '.join(_KEPT)}")
    found |= {key: values[key] for key in ("resources", "seed") if key in values}
    return found


_KEPT = ("judge", "tie", "identifier", "second_identifier")


def _recipe(
    a: str, b: str, judge: Path, prompts: list[Path], languages: list[str], home: Path
) -> dict[str, Any]:
    """The recipe of a comparison, but for its name."""
    sides = [_side(one, home) for one in (a, b)]
    asked = [str(path.resolve()) for path in prompts]
    return {
        "languages": languages,
        "compare": {"base": [sides[0]], "tuned": [sides[1]], "prompts": asked},
        **_evaluation(judge),
    }


def _side(name: str, home: Path) -> str:
    """A side as a path."""
    if Path(name).exists():
        return str(Path(name).resolve())
    run, _, arm = name.rpartition("/")
    if not run:
        raise RecipeError(
            f"{name!r} is neither a file nor the answers of a run: give a path, or RUN/ARM or RUN/base"
        )
    return _of_run(run, arm, home)


def _of_run(name: str, arm: str, home: Path) -> str:
    from croco import pipeline
    from croco.runs import Run

    run = Run.load(home, name)
    run.store.check()
    stages = pipeline.build(run.recipe)
    stage = stages.get(f"{arm}.sample")
    if stage is None:
        known = [one.removesuffix(".sample") for one in stages if one.endswith(".sample")]
        raise RecipeError(f"run {name!r} has no answers of {arm!r}: known are {', '.join(known)}")
    for one in (stage, stage.inputs["prompts"]):
        if run.store.artifact(one).owed():
            raise RecipeError(f"run {name!r} still owes {one.name!r}: run it first")
    return str(run.store.artifact(stage).root.resolve())


def _figures(run: Run) -> dict[str, Any]:
    from croco import executors, pipeline
    from croco.progress import Reporter

    run.store.check()
    stages = pipeline.build(run.recipe)
    refuse(findings_of(run, stages))
    run.store.open()
    run.save()
    with Reporter() as reporter:
        run.link(stages, stages)
        executors.load(run.recipe.executor, reporter.notify).run(run, stages)
    found: dict[str, Any] = json.loads((run.folder / "report" / "summary.json").read_text())
    return found


def _print(figures: dict[str, Any], tuned: str, base: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False, width=None if Console().is_terminal else 200)
    table = Table(title=f"{escape(tuned)} against {escape(base)}", title_justify="left")
    table.add_column("language")
    for heading in COLUMNS:
        table.add_column(heading, justify="right")
    for lang, own in figures["languages"].items():
        over = (
            f" of {', '.join(own['languages'])}" if own.get("lacking") and own["languages"] else ""
        )
        table.add_row(escape(lang + over), *(escape(_cell(own, key)) for key in COLUMNS.values()))
    console.print(table)
    for note in figures["notes"]:
        console.print(escape(note))


def _cell(own: dict[str, Any], key: str) -> str:
    if key == "counts":
        return f"{own['wins']} / {own['ties']} / {own['losses']}"
    value = own["in_language"]["share"] if key == "share" else own[key]
    if isinstance(value, dict):
        return f"{value['rate']:.3f} {_bounds(value['ci'])}" if value["rate"] is not None else "n/a"
    if isinstance(value, float):
        return f"{value:.0%}"
    return "n/a" if value is None else str(value)


def _bounds(ci: list[float | None]) -> str:
    return "[" + ", ".join("n/a" if one is None else f"{one:.3f}" for one in ci) + "]"
