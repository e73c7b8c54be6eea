"""`croco contamination`, and what a run says of its training prompts that give held-out ones away."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from croco.errors import DataError

if TYPE_CHECKING:
    from croco.records import Overlap
    from croco.stage import Stage


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
    from croco.datafiles import read_prompts, refer_prompts
    from croco.schemas import encode

    sides = [
        read_prompts([refer_prompts(name, Path()) for name in names], lang)
        for names in (train, against)
    ]
    wanted, heldout = ([row for row in side if not lang or row.lang in lang] for side in sides)
    found = overlaps(wanted, heldout)
    for row in found:
        typer.echo(json.dumps(encode(row), ensure_ascii=False))
    if not found:
        typer.echo("no evaluation prompt can be known from a training prompt", err=True)
    check(found, strict)


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
