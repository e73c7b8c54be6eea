"""`croco contamination`, and what a run says of its training prompts that give held-out ones away."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from croco.cli_audit import checked
from croco.errors import DataError

if TYPE_CHECKING:
    from croco.records import Overlap, Prompt
    from croco.stage import Stage

#: What the two sides' prompts are called.
SIDES = ("training", "evaluation")


def contamination(
    train: Annotated[
        list[str],
        typer.Argument(metavar="TRAIN...", help="Training prompts, as a recipe names them."),
    ],
    against: Annotated[
        list[str],
        typer.Option(metavar="EVAL", help="Evaluation prompts; may be given several times."),
    ],
    lang: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG", help="Only this language; may be given several times."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 2 where there is any.")] = False,
) -> None:
    """Tell which training prompts give evaluation prompts away, in any language: one JSON line a pair."""
    from croco.contamination import overlaps
    from croco.schemas import encode

    wanted = [tag for one in lang or () if (tag := checked(one))]
    sides = [_read(names, wanted) for names in (train, against)]
    nowhere = sorted(set(wanted) - {row.lang for side in sides for row in side})
    if nowhere:
        raise DataError(f"--lang {nowhere[0]}: no file has prompts in it: name another language")
    found = overlaps(sides[0], sides[1])
    for row in found:
        typer.echo(json.dumps(encode(row), ensure_ascii=False))
    if not found:
        counts = " and ".join(
            f"{len(side):,} {what}" for side, what in zip(sides, SIDES, strict=True)
        )
        typer.echo(
            f"no evaluation prompt can be known from a training prompt ({counts} prompts compared)",
            err=True,
        )
    check(found, strict)


def _read(names: list[str], languages: list[str]) -> list[Prompt]:
    """The prompts of some files in some languages, or in all; DataError where there are none."""
    from croco.datafiles import read_prompts, refer_prompts

    rows = read_prompts([refer_prompts(name, Path()) for name in names], languages or None)
    kept = [row for row in rows if not languages or row.lang in languages]
    if not kept:
        where = f" in {', '.join(languages)}" if languages else ""
        raise DataError(
            f"{', '.join(names)}: no prompts{where}, so nothing can be compared: name other files or"
            " languages"
        )
    return kept


def checks(stages: Mapping[str, Stage]) -> list[str]:
    """The stages that look for contamination: among prompts as they were written, then translated."""
    return [name for name, stage in stages.items() if stage.kind == "contamination"]


def check(rows: Iterable[Overlap], strict: bool) -> None:
    """Say what is contaminated, if anything is; where that is refused, DataError that says what to do."""
    from croco.report.contamination import in_words

    found = list(rows)
    if not found:
        return
    if strict:
        raise DataError(f"{in_words(found)}: take one of each pair out, or run without --strict")
    typer.echo(f"warning: {in_words(found)}", err=True)
