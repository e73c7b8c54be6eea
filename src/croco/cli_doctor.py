"""`croco doctor`: what pairs would teach besides quality, in a table and in words, or as JSON."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from croco.pairing.doctor import Exam

Targets = Annotated[
    list[Path],
    typer.Argument(
        metavar="PAIRS_OR_RUN...",
        help="A run, a folder that `croco pair` wrote, files of pairs, or files of scored responses.",
    ),
]
Home = Annotated[
    Path, typer.Option(envvar="CROCO_HOME", help="The folder that holds `store/` and `runs/`.")
]
HERE = Path()
#: Columns of the table: heading, and the figure's key and form.
COLUMNS = (
    ("pools", "pools", "{:,}"),
    ("pairs", "pairs", "{:,}"),
    ("mean-2std\n< min", "target_below_minimum", "{:.0%}"),
    ("margin", "margin", "{:.2f}"),
    ("length\ngap", "length_gap", "{:+.0f}"),
    ("longer\nis chosen", "longer_is_chosen", "{:.0%}"),
    ("in language\nis chosen", "in_language_is_chosen", "{:.0%}"),
    ("cannot\ntell", "cannot_tell", "{:,}"),
    ("tied\nbest", "tied_best", "{:.0%}"),
    ("repeats", "repeats", "{:.0%}"),
    ("cut off", "cut_off", "{:.0%}"),
    ("chosen\ncut off", "chosen_cut_off", "{:.0%}"),
)


def doctor(
    targets: Targets,
    json_: Annotated[bool, typer.Option("--json", help="All figures as JSON.")] = False,
    lang: Annotated[
        str | None, typer.Option(metavar="TAG", help="The language of rows that name none.")
    ] = None,
    home: Home = HERE,
) -> None:
    """Say what is wrong with preference pairs, and what to do about it.

    Scored responses are paired first, with the defaults of `croco pair` and without prompts.
    """
    from croco.pairing.doctor import diagnose, identifier_for
    from croco.pairing.verdicts import verdicts

    found = []
    for exam in _exams(targets, lang, home):
        diagnosis = diagnose(exam, identifier_for(exam))
        found.append(diagnosis | {"verdicts": [dataclasses.asdict(v) for v in verdicts(diagnosis)]})
    if json_:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False))
        return
    for one in found:
        _print(one)


def _exams(targets: list[Path], lang: str | None, home: Path) -> Iterator[Exam]:
    from croco.pairing import exams

    first = targets[0]
    if first.is_dir() and (first / "pools.parquet").exists():
        yield from (exams.of_folder(folder) for folder in targets)
    elif first.is_file():
        yield _of_files(targets, lang)
    else:
        for target in targets:
            yield from _of_run(str(target), home)


def _of_files(files: list[Path], lang: str | None) -> Exam:
    from croco.pairing import exams
    from croco.pairing.files import Options, pair_files

    if exams.are_pairs(files[0]):
        exam, bad = exams.of_files(files, lang)
        if bad:
            typer.echo(f"{bad} rows have no chosen and rejected and are left out", err=True)
        return exam
    with tempfile.TemporaryDirectory() as folder:
        summary = pair_files(files, Path(folder), options=Options(lang=lang, prompted=False))
        for why, n in summary["responses"]["refused"].items():
            typer.echo(f"{n} rows are left out: {why}", err=True)
        exam = exams.of_folder(Path(folder))
    return dataclasses.replace(exam, name=", ".join(map(str, files)))


def _of_run(name: str, home: Path) -> Iterator[Exam]:
    from croco import kept, pipeline
    from croco.errors import RecipeError
    from croco.pairing import exams
    from croco.pairing.reasons import of_arm
    from croco.recipe import Recipe
    from croco.rounds import named
    from croco.runs import Run

    run = Run.load(home, name)
    if not isinstance(run.recipe, Recipe):
        raise RecipeError(f"run {name!r} is a comparison and makes no pairs: name another run")
    run.store.check()
    stages = pipeline.build(run.recipe)
    base, identifier = exams.writer_of(stages["base.sample"]), run.recipe.evaluate.identifier
    pairings: dict[str, list[tuple[str, str, str]]] = {}
    for arm, own in run.recipe.arms.items():  # arms of the same pairing have the same pairs
        for number, (label, suffix) in enumerate(named(arm, own), 1):
            stage = stages[f"{arm}.train" if own.online else f"{arm}.pair{suffix}"]
            writer = base + ("+online" if own.online else "+adapter" * (number > 1))
            pairings.setdefault(stage.identity, []).append((label, stage.name, writer))
    pending = [one for one in pairings.values() if run.store.artifact(stages[one[0][1]]).owed()]
    if len(pending) == len(pairings):
        raise RecipeError(
            f"run {name!r} has no pairs of {pending[0][0][0]!r} yet: run it until pair"
        )
    for same in pending:
        typer.echo(f"no pairs of {same[0][0]!r} yet: it is left out", err=True)
    for same in (one for one in pairings.values() if one not in pending):
        _, stage_name, writer = same[0]
        artifact, arm = run.store.artifact(stages[stage_name]), stage_name.partition(".")[0]
        rows = kept.pairs(artifact.files) if run.recipe.arms[arm].online else artifact.rows()
        labels = f"{name}: {', '.join(one for one, _, _ in same)}"
        exam = exams.of_rows(labels, run.recipe.arms[arm].pair, rows, writer)
        words = of_arm(run.recipe.model_dump(), arm)
        yield dataclasses.replace(exam, identifier=identifier, words=words)


def _print(diagnosis: dict[str, Any]) -> None:
    """The figures as tables and the verdicts in words, on stdout."""
    import shutil
    import sys

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    width = shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 120
    console = Console(width=width, highlight=False)
    # Of pairs alone nobody knows how they were taken.
    known = "pools" in diagnosis["languages"]["overall"]
    strategy = _strategy(diagnosis["settings"]) if known else ""
    console.print(f"[bold]{escape(diagnosis['name'])}[/bold]  {strategy}".rstrip())
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("")
    for heading, _, _ in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for lang, figures in diagnosis["languages"].items():
        table.add_row(lang, *(_cell(figures.get(key), form) for _, key, form in COLUMNS))
    console.print(table)
    _print_sizes(console, diagnosis)
    _print_matrices(console, diagnosis)
    for verdict in diagnosis["verdicts"]:
        console.print(
            f"{verdict['level'].upper():4} {verdict['lang']}: {verdict['finding']}; {verdict['remedy']}",
            soft_wrap=True,
            markup=False,
        )
    console.print()


def _strategy(settings: dict[str, Any]) -> str:
    return f"{settings['scope']}, chosen {settings['chosen']}, rejected {settings['rejected']}"


def _cell(value: Any, form: str) -> str:
    value = value["share"] if isinstance(value, dict) else value
    return "-" if value is None else form.format(value)


def _print_sizes(console: Any, diagnosis: dict[str, Any]) -> None:
    """What smaller pools would give."""
    rows = diagnosis["languages"]["overall"].get("by_n") or []
    if rows:
        said = "  ".join(
            f"n={row['n']}: {row['gap']:.2f} std, {row['target_below_minimum']:.0%}" for row in rows
        )
        console.print(f"gap, and mean-2std below the minimum, by n:  {said}", soft_wrap=True)
        if diagnosis["n_advice"]:
            console.print(f"advice on n: {diagnosis['n_advice']}", soft_wrap=True)


def _print_matrices(console: Any, diagnosis: dict[str, Any]) -> None:
    """Which language supplies chosen (rows) and rejected (columns), where pools span languages."""
    if diagnosis["settings"]["scope"] != "multilingual":
        return
    for title, key in (("", "matrix"), (" by raw rewards", "matrix_of_raw_rewards")):
        matrix = diagnosis[key]
        if not matrix:
            continue
        langs = sorted(set(matrix) | {lang for row in matrix.values() for lang in row})
        console.print(f"chosen's language (down) and rejected's (across){title}:")
        console.print("      " + "".join(f"{lang:>7}" for lang in langs))
        for lang in langs:
            counts = "".join(f"{matrix.get(lang, {}).get(other, 0):>7}" for other in langs)
            console.print(f"{lang:>6}{counts}")
