"""`croco audit`: how far a reward can be trusted per language, in tables and in words, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from croco.errors import DataError, EngineError, RecipeError

if TYPE_CHECKING:
    from croco.records import Failure, Preference
    from croco.reward_settings import RewardConfig
    from croco.runs import Run
    from croco.settings import Resources

Home = Annotated[
    Path, typer.Option(envvar="CROCO_HOME", help="The folder that holds `store/` and `runs/`.")
]
HERE = Path()
#: Pairs that are named where they cannot be scored; the others are counted.
NAMED = 5


@dataclass(frozen=True)
class Subject:
    """A reward to audit: its name, what it is, where its trained model lies, and a run's own settings."""

    name: str
    reward: RewardConfig
    resources: Resources
    trained: Path | None = None
    identifier: str = "heliport"
    seed: int = 42


def audit(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES...",
            help="Preference pairs: lines of id, lang, prompt (or messages), chosen, rejected.",
        ),
    ],
    reward: Annotated[
        str,
        typer.Option(
            metavar="REWARD",
            help="A YAML file with a section `reward`, such as a recipe; a run; or a sequence classifier's"
            " folder or hub id.",
        ),
    ],
    identifier: Annotated[
        str | None, typer.Option(help="What tells the language: py3langid, heliport, module:Class.")
    ] = None,
    lang: Annotated[
        str | None, typer.Option(metavar="TAG", help="The language of rows that name none.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="All figures as JSON.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a page with plots and summary.json here."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key of the YAML file."),
    ] = None,
    home: Home = HERE,
) -> None:
    """Say how far a reward can be trusted, per language, on preference pairs of known order.

    Pairs that cannot be scored are left out, named and counted.
    """
    from croco.datafiles import read_preferences, refer

    if out:
        _make(out)
    subject = _subject(reward, set_ or [], home)
    pairs = read_preferences([refer(name, Path()) for name in files], checked(lang))
    if not pairs:
        raise DataError(f"{', '.join(files)}: no pairs: there is nothing to audit")
    present(examine(subject, pairs, files, identifier or subject.identifier), out, json_)


def examine(
    subject: Subject, pairs: Sequence[Preference], files: Sequence[str], identifier: str
) -> dict[str, Any]:
    """All figures of a reward on pairs of some files.

    Pairs that it was trained on are left out and counted, those that it cannot score named and left out.
    DataError where none is left.
    """
    from croco.auditing import audit as figures_of
    from croco.seen import unseen_by

    given = unseen_by(subject.reward, subject.trained, pairs)
    if given.count:
        typer.echo(given.sentence, err=True)
    if not given.kept:
        raise DataError(f"{', '.join(files)}: {given.sentence}: give pairs that it has not seen")
    judged, failed = _judged(subject, given.kept, identifier)
    return {
        "reward": subject.name,
        "identifier": identifier,
        "seed": subject.seed,
        "files": list(files),
        "left_out": given.figures,
        "failed": [{"id": one.id, "lang": one.lang, "error": one.error} for one in failed],
        "languages": figures_of(judged, subject.seed),
    }


def present(found: dict[str, Any], out: Path | None, json_: bool) -> None:
    """Write the page to a folder, if there is one, and the tables or JSON to stdout."""
    if out:
        _write(found, out)
    if json_:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        _print(found)


def _judged(
    subject: Subject, pairs: Sequence[Preference], identifier: str
) -> tuple[list[Any], list[Failure]]:
    """The pairs as the reward sees them, and those that it cannot score."""
    from croco import rewards
    from croco.languages import load_identifier
    from croco.progress import Reporter
    from croco.stages.audit import judge_pairs

    identify = load_identifier(identifier)
    scorer = rewards.load(subject.reward, subject.resources, subject.trained)
    with Reporter() as reporter:
        judged, failed = judge_pairs(
            pairs, scorer, identify, lambda *told: reporter.notify("audit", *told)
        )
    for one in failed[:NAMED]:
        typer.echo(f"pair {one.id!r} ({one.lang}) is left out: {one.error}", err=True)
    if failed:
        typer.echo(f"{len(failed)} of {len(pairs)} pairs could not be scored", err=True)
    if not judged:
        raise EngineError(f"no pair could be scored (first: {failed[0].error})")
    return judged, failed


def checked(lang: str | None) -> str | None:
    """The language that `--lang` gives; RecipeError where it is none."""
    from croco.languages import checked_tag

    try:
        return checked_tag(lang) if lang else None
    except ValueError as error:
        raise RecipeError(f"--lang: {error}") from error


def _subject(name: str, overrides: Sequence[str], home: Path) -> Subject:
    """What `--reward` means: a YAML file, else a run, else a model."""
    from croco.runs import Run

    if Path(name).is_file():
        return _of_file(Path(name), overrides, home)
    if overrides:
        raise RecipeError(
            f"--set changes a YAML file, and {name!r} is none: give the recipe's file"
        )
    if (home / "runs" / name / "recipe.yaml").is_file():
        return _of_run(Run.load(home, name))
    return _of_model(name, home)


def _of_file(path: Path, overrides: Sequence[str], home: Path) -> Subject:
    """A recipe's reward, or that of a file with `reward` and perhaps `resources` alone."""
    from croco import recipe_file
    from croco.plugins import see
    from croco.recipe import RewardFile
    from croco.runs import Run
    from croco.settings import Resources

    values = recipe_file.read(path, overrides)
    if "reward" not in values:
        raise RecipeError(f"{path}: key 'reward' is missing: add it")
    if not values.keys() <= RewardFile.model_fields.keys():
        return _of_run(Run(home, recipe_file.parse(values, path)))
    file = recipe_file.parse_as(RewardFile, values, path)
    if file.reward.training:
        raise RecipeError(
            f"{path}: the reward is trained in a run: give that run's name, or its recipe, or the folder"
            " that 'croco reward train' wrote"
        )
    see(path.parent)
    resources = file.resources.get("audit", Resources())
    return Subject(str(path), file.reward.bound(path.parent), resources)


def _of_run(run: Run) -> Subject:
    """A run's reward, with the model that was trained in it."""
    from croco.plugins import see
    from croco.recipe import Recipe
    from croco.settings import Resources

    recipe = run.recipe
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"run {run.name!r} is a comparison and has no reward: name another run")
    see(recipe.folder)
    return Subject(
        name=f"run {run.name}",
        reward=recipe.reward.bound(recipe.folder),
        resources=recipe.resources.get("audit", Resources()),
        trained=_trained(run) if recipe.reward.training else None,
        identifier=recipe.evaluate.identifier,
        seed=recipe.seed,
    )


def _trained(run: Run) -> Path:
    from croco import pipeline

    run.store.check()
    artifact = run.store.artifact(pipeline.build(run.recipe)["reward"])
    if artifact.owed():
        raise RecipeError(
            f"the reward of run {run.name!r} is not trained yet in {run.home}: run it with"
            " --until reward first"
        )
    return artifact.files


def _of_model(name: str, home: Path) -> Subject:
    from croco.reward_settings import RewardConfig
    from croco.settings import Resources

    try:
        reward = RewardConfig(kind="classifier", model=name).bound(Path())
    except RecipeError as error:
        raise RecipeError(
            f"--reward {name!r} is no YAML file, no run in {home / 'runs'}, and no sequence classifier"
            f" ({error})"
        ) from error
    return Subject(name, reward, Resources())


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(
            f"--out {out} cannot be made ({error.strerror}): name a folder"
        ) from error


def _write(found: dict[str, Any], out: Path) -> None:
    """The page with plots, and the figures."""
    from croco.provenance import provenance
    from croco.report.audit import section
    from croco.report.page import Report, page

    notes = [
        f"Pairs of {', '.join(found['files'])}; languages identified by {found['identifier']}."
    ]
    if found["failed"]:
        notes.append(f"{len(found['failed'])} pairs could not be scored and are left out.")
    if found["left_out"]["pairs"]:
        left_out = "{pairs} of {of} pairs".format(**found["left_out"])
        notes.append(f"{left_out} are left out: the reward was trained on their prompts.")
    report = Report(
        name=found["reward"],
        seed=found["seed"],
        result="",
        metrics=[],
        notes=notes,
        provenance=provenance(),
        sections=[section(found["languages"])],
    )
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    (out / "index.html").write_text(page(report, "audit_page.html.jinja"), encoding="utf-8")
    (out / "summary.json").write_text(text + "\n", encoding="utf-8")
    typer.echo(out / "index.html", err=True)


def _print(found: dict[str, Any]) -> None:
    """The tables, then what they mean, on stdout."""
    import shutil
    import sys

    from rich.console import Console
    from rich.table import Table

    from croco.report.audit import shown, table, unknown

    width = shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 120
    console = Console(width=width, highlight=False, markup=False)
    languages = found["languages"]
    for title in shown(languages):
        headings, *rows = table(languages, title)
        console.print(title)
        cells = Table(box=None, pad_edge=False, header_style="")
        for k, heading in enumerate(headings):
            cells.add_column(heading, justify="right" if k else "left")
        for row in rows:
            cells.add_row(*row)
        console.print(cells)
        console.print()
    for lang, figures in languages.items():
        console.print(f"{lang}: {figures['trust']}: {figures['reason']}.", soft_wrap=True)
        for remark in figures["remarks"]:
            console.print(f"  {remark}", soft_wrap=True)
    for sentence in unknown(languages):
        console.print(sentence, soft_wrap=True)
