"""Training on several machines at once: one launcher on each under `srun`, or the workers of Ray Train.

`resources.train.workers` are the machines, `processes` those of each. A lone machine starts them all.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from croco.errors import EngineError
from croco.settings import Resources

#: Where several nodes' launchers meet, if the environment says no other port.
PORT = "29500"


def count(resources: Resources) -> int:
    """How many processes train together."""
    return resources.workers * resources.processes


def on_slurm(resources: Resources) -> bool:
    """Whether this is a job of SLURM that has as many nodes as machines are wanted."""
    nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
    return nodes > 1 and nodes == resources.workers


def on_ray() -> bool:
    """Whether this is a process of Ray's."""
    ray: Any = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def under_srun(launcher: str, worker: list[str], resources: Resources, cpu: bool) -> list[str]:
    """The command that starts a launcher on every node of this job, each with its own processes.

    On CPUs that is torchrun: accelerate would start one process alone.
    """
    nodes, each = resources.workers, resources.processes
    address = socket.gethostname()
    port = os.environ.get("MASTER_PORT", PORT)
    python = shlex.quote(sys.executable)
    if cpu:
        job = os.environ.get("SLURM_JOB_ID", "0")
        options = f"--nnodes {nodes} --nproc_per_node {each} --rdzv-id {job} --rdzv-backend c10d"
        options += f" --rdzv-endpoint {address}:{port}"
    else:
        options = f"--multi_gpu --num_machines {nodes} --num_processes {nodes * each}"
        options += " --machine_rank $SLURM_PROCID --mixed_precision no --dynamo_backend no"
        options += f" --main_process_ip {address} --main_process_port {port}"
    if resources.accelerate and not cpu:
        options = f"--config_file {shlex.quote(resources.accelerate)} {options}"
    line = f"exec {python} -m {launcher} {options} {shlex.join(worker)}"
    step = [f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    return ["srun", "--overlap", "--kill-on-bad-exit=1", *step, "bash", "-c", line]


def by_ray(folder: Path, resources: Resources, cpu: bool, told: Path) -> Iterator[str]:
    """Train a job's folder by Ray Train; lines of progress as they come, from the file `told`."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    each = {"CPU": float(resources.cpus or 1)} | resources.custom
    if resources.gpus:
        each["GPU"] = resources.gpus / resources.processes
    trainer = TorchTrainer(
        _train,
        train_loop_config={"folder": str(folder), "told": str(told), "cpu": cpu},
        scaling_config=ScalingConfig(
            num_workers=count(resources),
            use_gpu=bool(resources.gpus),
            resources_per_worker=each,
        ),
        run_config=RunConfig(name="croco", storage_path=str(folder / "ray")),
    )
    failed: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=fit, daemon=True)
    told.unlink(missing_ok=True)
    thread.start()
    yield from _followed(thread, told)
    if failed and not (folder / "error.json").exists():
        words = str(failed[0]).splitlines() or [type(failed[0]).__name__]
        raise EngineError(f"Ray Train stopped ({words[-1]}): see Ray's logs of its workers")


def _followed(thread: threading.Thread, told: Path) -> Iterator[str]:
    """The lines of a file as they are written, until a thread has ended."""
    read, running = 0, True
    while running:
        thread.join(1.0)
        running = thread.is_alive()
        with contextlib.suppress(FileNotFoundError), told.open("rb") as file:
            file.seek(read)
            whole, newline, _ = file.read().rpartition(b"\n")
            read += len(whole) + len(newline)
            yield from whole.decode(errors="replace").splitlines()


def _train(config: dict[str, Any]) -> None:
    """One of Ray Train's processes, which has brought them together already."""
    if config["cpu"]:
        os.environ["ACCELERATE_USE_CPU"] = "true"
    from croco.training.worker import main

    with Path(config["told"]).open("a", encoding="utf-8") as told, contextlib.redirect_stdout(told):
        code = main(Path(config["folder"]))
    if code:
        raise EngineError(f"a process that trains ended with exit code {code}")
