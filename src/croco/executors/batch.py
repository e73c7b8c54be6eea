"""What is asked of SLURM for a stage: the parameters of its jobs, and what they wait for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from croco.executor_settings import ExecutorSettings
from croco.executors.standing import Standing
from croco.settings import Slurm
from croco.stage import Stage

#: The time limit where none is given. A job that meets it is requeued and goes on.
DAY = "24h"
#: Seconds before its limit that a job is told of it.
WARNING = 90
#: A worker that was killed (137: by -9, as where memory is full) starts again where it was; one that was
#: cancelled does not.
RESTART = """code=$?
if [ $code -eq 137 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {attempts} ] &&
   scontrol show job "$SLURM_JOB_ID" | grep -q JobState=RUNNING; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $code"""


@dataclass(frozen=True)
class Order:
    """A stage's jobs: how many, the parameters of sbatch, and what each other stage of them waits for."""

    stage: str
    workers: int
    shards: int
    parameters: dict[str, Any]
    #: By stage, `after` (it has begun) or `afterany` (it has ended, however).
    waits: dict[str, str]


def orders(
    standing: Standing, settings: ExecutorSettings, running: Collection[str] = ()
) -> list[Order]:
    """What there is to submit: stages with owed shards, but for those that have jobs already."""
    found = []
    for name in standing.names:
        stage, owed = standing.stages[name], len(standing.owed[name])
        if owed and name not in running:
            shards = 1 if stage.unit == "whole" else owed
            waits = waits_of(stage, standing, settings)
            workers = min(stage.resources.workers, shards)
            found.append(Order(name, workers, shards, parameters(stage, settings), waits))
    return found


def waits_of(stage: Stage, standing: Standing, settings: ExecutorSettings) -> dict[str, str]:
    """Which owed inputs a stage's jobs wait for, and how.

    Where a shard needs the same shard of its input alone and the two run in different places, the jobs of
    both run side by side; in one place the later would take what the earlier needs.
    """
    found = {}
    for key, one in stage.inputs.items():
        if standing.owed[one.name]:
            flows = key in stage.aligned and _apart(stage, one, settings)
            found[standing.first[one.name]] = "after" if flows else "afterany"
    return found


def _apart(one: Stage, other: Stage, settings: ExecutorSettings) -> bool:
    places = [(asked(s, settings).partition, bool(s.resources.gpus)) for s in (one, other)]
    return places[0] != places[1]


def asked(stage: Stage, settings: ExecutorSettings) -> Slurm:
    """SLURM's settings for a stage: its kind's own before those of the executor."""
    own = stage.resources.slurm.model_dump(exclude_none=True)
    common = settings.slurm.model_dump(exclude_none=True)
    extra = {"extra": common.get("extra", {}) | own.get("extra", {})}
    return Slurm(**common | own | extra)


def parameters(stage: Stage, settings: ExecutorSettings) -> dict[str, Any]:
    """Parameters as submitit names them."""
    slurm, resources = asked(stage, settings), stage.resources
    wanted = {
        "partition": slurm.partition,
        "account": slurm.account,
        "time": minutes(slurm.time or DAY),
        "cpus_per_task": resources.cpus,
        "gpus_per_node": resources.gpus or None,
        "mem": resources.memory,
        "setup": slurm.setup or None,
        # A step does not inherit the batch job's number of CPUs.
        "srun_args": [f"--cpus-per-task={resources.cpus}"] if resources.cpus else None,
        "teardown": RESTART.format(attempts=settings.attempts).splitlines(),
        "signal_delay_s": WARNING,
        "additional_parameters": {"requeue": True} | (slurm.extra or {}),
    }
    return {key: value for key, value in wanted.items() if value is not None}


def minutes(time: str) -> int:
    """A time limit such as `90m`, `24h` or `2d` in minutes."""
    return int(time[:-1]) * {"m": 1, "h": 60, "d": 1440}[time[-1]]


def command(order: Order) -> str:
    """An order in words that one who knows sbatch reads at once."""
    options = {"job-name": order.stage}
    if order.workers > 1:
        options["array"] = f"0-{order.workers - 1}"
    names = ("partition", "account", "time", "cpus_per_task", "gpus_per_node", "mem")
    given: Mapping[str, Any] = order.parameters
    options |= {name.replace("_", "-"): str(given[name]) for name in names if name in given}
    options |= {key: str(value) for key, value in given["additional_parameters"].items()}
    by: dict[str, list[str]] = {}
    for stage, how in order.waits.items():
        by.setdefault(how, []).append(stage)
    waits = ",".join(f"{how}:{':'.join(stages)}" for how, stages in by.items())
    options |= {"dependency": waits} if waits else {}
    flags = [
        f"--{key}" if value == "True" else f"--{key}={value}" for key, value in options.items()
    ]
    return f"sbatch {' '.join(flags)}  # {order.shards} shard{'s' if order.shards > 1 else ''}"
