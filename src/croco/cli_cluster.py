"""The command line's part that executors do: bring a run to its end; SLURM's queue, and its logs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from croco.cli_contamination import check
from croco.errors import RecipeError

if TYPE_CHECKING:
    from croco.runs import Run
    from croco.stage import Stage


def bring(run: Run, stages: Mapping[str, Stage], checked: list[str], strict: bool) -> int:
    """Bring stages to their end, and say what those to check found; the number that had work to do."""
    from croco import executors
    from croco.progress import Reporter

    with Reporter() as reporter:
        worked = executors.load(run.recipe.executor, reporter.notify).run(run, stages)
        for name in checked:
            check(run.store.artifact(stages[name]).rows(), strict)
    return worked


def say_orders(run: Run, stages: Mapping[str, Stage]) -> None:
    """Print what would be submitted, as commands of sbatch with stages in the place of job numbers."""
    from croco.executors.batch import command, orders
    from croco.executors.standing import Standing

    for order in orders(Standing(run, stages), run.recipe.executor):
        typer.echo(command(order))


def refuse_detached(run: Run) -> None:
    """RecipeError where the executor watches over its work."""
    if run.recipe.executor.kind != "slurm":
        raise RecipeError(
            f"--detach is for SLURM and the executor is {run.recipe.executor.kind!r}: add --on slurm"
        )


def detached(run: Run, stages: Mapping[str, Stage]) -> None:
    """Submit all that is owed, and leave."""
    from croco import executors

    executor: Any = executors.load(run.recipe.executor, lambda *_: None)
    made = executor.submit(run, stages)
    for one in made:
        typer.echo(f"{one.stage:28} job {one.job}, {one.tasks} workers")
    done = "its jobs are in the queue" if made else "nothing to submit"
    typer.echo(f"run {run.name!r}: {done}; 'croco status {run.name}' tells", err=True)


def jobs_of(run: Run) -> dict[str, str]:
    """By stage, the run's jobs in SLURM's queue in words; nothing where it has none or nobody can tell."""
    from croco.executors import queue

    if not queue.recorded(run):
        return {}
    now = queue.queue()
    if now is None:
        typer.echo("squeue does not answer here: what is in the queue is not shown", err=True)
        return {}
    return {
        stage: ", ".join(f"{count} {state}" for state, count in sorted(counted.items()))
        for stage, counted in queue.states(run, now).items()
    }


def print_logs(run: Run, stages: Mapping[str, Stage], stage: str, shard: int) -> None:
    """Print the logs of the job that did a shard, its paths on stderr; RecipeError where there are none."""
    from croco.executors import queue
    from croco.executors.claims import TRIED, Claims

    if stage not in stages:
        raise RecipeError(f"there is no stage {stage!r}: stages are {', '.join(stages)}")
    root = run.store.artifact(stages[stage]).root
    owner = Claims(root, "", lambda names: set()).owner(shard).removesuffix(TRIED)
    found = [
        path for ending in ("out", "err") for path in _logs(queue.folder(run, stage), owner, ending)
    ]
    if not owner or not found:
        raise RecipeError(
            f"no job of run {run.name!r} has begun shard {shard} of {stage!r} on SLURM: its logs are"
            f" those of {queue.folder(run, stage)}, if any"
        )
    for path in found:
        typer.echo(f"{path}:", err=True)
        typer.echo(path.read_text(errors="replace"), nl=False)


def _logs(folder: Path, job: str, ending: str) -> list[Path]:
    return sorted(folder.glob(f"{job}_*log.{ending}"))


def cancel(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A run: the `name` of its recipe.")],
    home: Annotated[
        Path, typer.Option(envvar="CROCO_HOME", help="The folder that holds `store/` and `runs/`.")
    ] = Path(),
) -> None:
    """Take a run's jobs out of SLURM's queue; what was done is kept."""
    from croco.executors import queue
    from croco.runs import Run

    count = queue.cancel(Run.load(home, name))
    typer.echo(f"run {name!r}: {count} jobs cancelled", err=True)
