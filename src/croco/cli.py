"""The command line: one verb is one function; results go to stdout, all else to stderr."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from croco import cli_reward
from croco.cli_audit import audit
from croco.cli_checks import findings_of, refuse
from croco.cli_cluster import (
    bring,
    cancel,
    detached,
    jobs_of,
    print_logs,
    refuse_detached,
    say_orders,
)
from croco.cli_compare import compare
from croco.cli_contamination import checks, contamination
from croco.cli_doctor import doctor
from croco.cli_export import export
from croco.cli_pair import pair, several
from croco.errors import CrocoError, RecipeError

if TYPE_CHECKING:
    from croco.plan import Line
    from croco.runs import Run
    from croco.stage import Stage

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Tune a multilingual model on its own answers, in languages that have no preference data.",
)

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe: a YAML file.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run: the `name` of its recipe.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key.")
]
Until = Annotated[
    str | None,
    typer.Option(metavar="STAGE", help="Stop after the stage of that name, or all of that kind."),
]
Home = Annotated[
    Path, typer.Option(envvar="CROCO_HOME", help="The folder that holds `store/` and `runs/`.")
]
On = Annotated[
    str | None,
    typer.Option(metavar="WHERE", help="Where it runs: local, slurm or ray (`executor.kind`)."),
]
HERE = Path()
#: The exit code of Ctrl-C: 128 and the signal's number.
STOPPED = 130


@app.command()
def run(
    recipe: RecipePath,
    set_: Overrides = None,
    until: Until = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop where training prompts give held-out ones away.")
    ] = False,
    on: On = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Submit all to SLURM and leave; `croco status` tells.")
    ] = False,
    home: Home = HERE,
) -> None:
    """Bring a recipe's run to its end; what is done already is not done again."""
    from croco.plan import until as cut

    current, every = _open(recipe, _with(set_, on), None, home)
    stages = cut(every, until)
    if detach:
        refuse_detached(current)
    if strict:
        wanted = stages.keys() | {name for name in checks(every) for name in cut(every, name)}
        stages = {name: stage for name, stage in every.items() if name in wanted}
    refuse(findings_of(current, stages))
    current.store.open()
    current.save()
    current.link(stages, every)
    # Where starting takes long, contamination that is only warned of may be told of later.
    first = checks(stages) if strict or current.recipe.executor.kind == "local" else []
    worked = sum(bring(current, cut(stages, name), [name], strict) for name in first)
    if detach:
        detached(current, stages)
        return
    worked += bring(current, stages, [n for n in checks(stages) if n not in first], strict)
    _say(f"run {current.name!r} is done" if worked else f"run {current.name!r}: nothing to do")
    if "report" in stages:
        typer.echo(current.folder / "report" / "index.html")


@app.command()
def plan(
    recipe: RecipePath,
    set_: Overrides = None,
    until: Until = None,
    on: On = None,
    speeds: Annotated[
        list[str] | None,
        typer.Option(
            "--tokens-per-second",
            metavar="[KIND=]NUMBER",
            help="The speed of a device, for stages of a kind or all: what was not measured yet.",
        ),
    ] = None,
    home: Home = HERE,
) -> None:
    """Say what a run would do and cost: what is done, owed or new, and which field made it new.

    What is wrong and can be known now is said after that, on stderr. Exits 2 where a run would not start on
    any machine.
    """
    from croco.cost import HEAD, Costs, rates_of, table
    from croco.plan import plan as lines

    current, stages = _open(recipe, _with(set_, on), until, home)
    planned = lines(current, stages)
    costs = Costs(current, {line.stage: line for line in planned}, rates_of(speeds or []))
    *each, whole = table(stages, costs)
    _say(f"{'':5} {'stage':28} {'identity':18} {'shards':>9} {HEAD}")
    for line, cost in zip(planned, each, strict=True):
        shards = f"{line.shards_done}/{line.shards}"
        words = f"{line.state:5} {line.stage:28} {_short(line.identity):18} {shards:>9} {cost}  {line.why}"
        typer.echo(words.rstrip())
        _note(line)
    if any(line.state != "done" for line in planned):
        typer.echo(f"{'':5} {'all, and what is owed':57} {whole}".rstrip())
    if current.recipe.executor.kind == "slurm":
        say_orders(current, stages)
    refuse(findings_of(current, stages, quick=True), elsewhere=True)


@app.command()
def status(
    name: RunName,
    logs: Annotated[
        tuple[str, int] | None,
        typer.Option(metavar="STAGE SHARD", help="Print the logs of who did that shard, instead."),
    ] = None,
    home: Home = HERE,
) -> None:
    """Say how far a run is, from disk, and from SLURM's queue where it has jobs there."""
    from croco.plan import plan as lines

    current, stages = _saved(name, home)
    if logs:
        print_logs(current, stages, *logs)
        return
    waiting = jobs_of(current)
    for line in lines(current, stages):
        shards = f"{line.shards_done}/{line.shards} shards"
        failed = f"  {len(line.failed)} failed" if line.failed else ""
        jobs = f"  {waiting[line.stage]}" if line.stage in waiting else ""
        typer.echo(f"{line.state:5} {line.stage:28} {shards:14} {line.rows} rows{failed}{jobs}")
        _note(line)
        for failure in line.failed[:3]:
            _say(f"      {failure.id} {failure.lang}: {failure.error}")


@app.command()
def show(
    name: RunName,
    id: Annotated[str, typer.Argument(metavar="ID", help="A prompt's id.")],
    lang: Annotated[str | None, typer.Option(help="Only this language.")] = None,
    home: Home = HERE,
) -> None:
    """Show the whole life of a prompt: every stage's row of it, as JSON lines."""
    from croco.plan import life
    from croco.records import MULTIPLE
    from croco.schemas import encode

    current, stages = _saved(name, home)
    found = False
    for stage, row in life(current.store, stages, id):
        if lang in (None, row.lang) or row.lang == MULTIPLE:
            typer.echo(json.dumps({"stage": stage} | encode(row), ensure_ascii=False))
            found = True
    if not found:
        raise RecipeError(f"run {name!r} has no row of id {id!r}{f' in {lang}' if lang else ''}")


@app.command()
def report(name: RunName, home: Home = HERE) -> None:
    """Print where a run's report is, made anew where it is missing, and its figures."""
    current, stages = _saved(name, home)
    current.link(stages, stages)
    missing = [s.name for s in stages.values() if current.store.artifact(s).owed()]
    if missing == ["report"]:
        from croco.executor_settings import ExecutorSettings
        from croco.executors import load

        load(ExecutorSettings(), lambda *_: None).run(current, stages)
    elif missing:
        raise RecipeError(
            f"run {name!r} has no report yet: stage {missing[0]!r} is owed; run it first"
        )
    _say(str(current.folder / "report" / "index.html"))
    typer.echo((current.folder / "report" / "summary.json").read_text(), nl=False)


app.command()(pair)
app.command()(doctor)
app.command()(compare)
app.command()(contamination)
app.command()(cancel)
app.command()(audit)
app.command()(export)
app.add_typer(cli_reward.app, name="reward")


@app.command()
def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")]) -> None:
    """Start a project: a recipe to edit, and prompt and preference files to replace."""
    from croco.scaffold import scaffold

    for path in scaffold(folder):
        typer.echo(path)


def _with(overrides: list[str] | None, on: str | None) -> list[str]:
    return [*(overrides or []), *([f"executor.kind={on}"] if on else [])]


def _open(
    recipe: Path, overrides: list[str] | None, until: str | None, home: Path
) -> tuple[Run, dict[str, Stage]]:
    """The run of a recipe file and its stages, without touching the disk."""
    from croco import pipeline, recipe_file
    from croco.plan import until as cut
    from croco.runs import Run

    loaded = recipe_file.load(recipe, overrides or [])
    current = Run(home, loaded)
    current.store.check()
    return current, cut(pipeline.build(loaded), until)


def _saved(name: str, home: Path) -> tuple[Run, dict[str, Stage]]:
    """A run that was started before, from disk."""
    from croco import pipeline
    from croco.runs import Run

    current = Run.load(home, name)
    current.store.check()
    return current, pipeline.build(current.recipe)


def _short(identity: str) -> str:
    """The beginning of an identity, as people tell artifacts apart."""
    kind, _, digits = identity.rpartition("-")
    return f"{kind}-{digits[:8]}"


def _note(line: Line) -> None:
    """Say how many pools of a stage give no pair, and why."""
    if line.note:
        _say(f"      no pair: {line.note}")


def _say(text: str) -> None:
    typer.echo(text, err=True)


def main() -> None:
    """Run a verb; a user's mistake is one sentence and exit code 2, never a traceback."""
    arguments = [one for one in sys.argv[1:] if one != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        code = app(several(arguments), standalone_mode=False) or 0
    except Exception as error:
        code = _explain(error, debug)
    except KeyboardInterrupt:
        code = STOPPED
    if code == STOPPED:
        _say(
            "stopped; nothing was written"
            if arguments[:1] == ["pair"]
            else "stopped; what was done is kept: run the same command again to go on"
        )
    sys.exit(code)


def _explain(error: Exception, debug: bool) -> int:
    """Say what went wrong in one sentence; the exit code."""
    if debug:
        import traceback

        traceback.print_exc()
    if hasattr(error, "show"):  # a usage error of typer's, whose own classes are private
        error.show()
        return 2
    if isinstance(error, CrocoError):
        _say(f"croco: {error}")
        return error.exit_code
    if isinstance(error, ModuleNotFoundError) and error.name:
        from croco.packages import lack

        _say(f"croco: this needs {lack([error.name.partition('.')[0]])}")
        return 2
    if _is_full_disk(error):
        where = getattr(error, "filename", None) or Path.cwd()
        _say(
            f"croco: the disk is full ({where}): free some space and run again; what was done is kept"
        )
        return 2
    _say(f"croco: {type(error).__name__}: {error} (--debug shows where)")
    return 1


def _is_full_disk(error: Exception) -> bool:
    """Whether the disk is full; safetensors says so in words alone."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or os.strerror(errno.ENOSPC) in str(error)
