"""What can be known before work starts, as `croco plan` and `croco run` say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from croco.errors import RecipeError

if TYPE_CHECKING:
    from croco.checks import Finding
    from croco.runs import Run
    from croco.stage import Stage


def findings_of(run: Run, stages: Mapping[str, Stage], quick: bool = False) -> list[Finding]:
    """All findings; the warnings are printed on stderr."""
    from croco.checks import check

    findings = check(run.recipe, stages, run.store, quick)
    for one in findings:
        if one.level == "warning":
            typer.echo(f"warning: {one}", err=True)
    return findings


def refuse(findings: Sequence[Finding], elsewhere: bool = False) -> None:
    """RecipeError for the last error, where there is one; those before it are printed on stderr.

    `elsewhere`: what is wrong on this machine alone is printed and not refused.
    """
    errors = [one for one in findings if one.level == "error"]
    for one in errors if elsewhere else ():
        if one.here:
            typer.echo(f"not on this machine: {one}", err=True)
    refused = [one for one in errors if not (elsewhere and one.here)]
    for one in refused[:-1]:
        typer.echo(f"croco: {one}", err=True)
    if refused:
        problem = RecipeError(str(refused[-1]))
        problem.exit_code = refused[-1].exit_code
        raise problem
