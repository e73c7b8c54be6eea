"""Training in several processes: `accelerate launch` around `croco.training.worker`.

A folder of plain files passes between them and the stage: `job.json` and `examples.parquet` in, the trained
files, the log and, where it failed, `error.json` out. Progress comes as JSON lines on standard output.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from croco import errors, plugins
from croco.errors import EngineError
from croco.models import ModelRef
from croco.records import Step
from croco.settings import Resources
from croco.training import Example, Job, Place, accelerating, nodes
from croco.training.log import NAME, Log
from croco.training_settings import TrainConfig

JOB, EXAMPLES, COUNT, ERROR = "job.json", "examples.parquet", "processes", "error.json"
WORKER = "croco.training.worker"
TORCHRUN, ACCELERATE = "torch.distributed.run", "accelerate.commands.launch"
#: What starts a line of progress: libraries write to standard output as well.
TOLD = "croco-progress "
#: Examples that are written and read at a time.
CHUNK = 1000


def launch(job: Job, place: Place) -> list[Step]:
    """Train in as many processes as the resources ask for; EngineError where one of them fails."""
    folder = place.work / "job"
    if place.resources.accelerate:
        accelerating.meant(Path(place.resources.accelerate), job.config)
    write_job(job, place, folder)
    own = processes(place.resources)
    (folder / COUNT).write_text(str(own.count), encoding="utf-8")
    for line in _lines(own, place, folder):
        if line.startswith(TOLD):
            place.progress(*json.loads(line.removeprefix(TOLD)))
    failed = folder / ERROR
    if failed.exists():
        error = json.loads(failed.read_text(encoding="utf-8"))
        raise getattr(errors, error["kind"], EngineError)(error["message"])
    if not (folder / "done").exists():
        raise EngineError(f"training stopped without a word: see {place.work / 'processes.log'}")
    return Log(place.work / NAME, upto=2**62, write=False).steps


def _lines(own: Processes, place: Place, folder: Path) -> Iterator[str]:
    """What the processes say, wherever they are started."""
    resources, log = place.resources, place.work / "processes.log"
    worker, cpu = ["-m", WORKER, str(folder)], own.launcher == TORCHRUN
    if resources.workers > 1 and nodes.on_ray():
        return nodes.by_ray(folder, resources, cpu, log)
    line = [sys.executable, "-m", own.launcher, *own.options, *worker]
    if nodes.on_slurm(resources):
        line = nodes.under_srun(own.launcher, worker, resources, cpu)
    return _run(line, cpu, log)


@dataclass(frozen=True)
class Processes:
    """How many processes are started, by which module, with which options."""

    count: int
    launcher: str
    options: list[str]


def processes(resources: Resources) -> Processes:
    """The processes of one machine, or those that the config file for accelerate asks for.

    On CPUs torchrun starts them: accelerate would start one alone, and say nothing.
    """
    file = resources.accelerate
    config = accelerating.read(Path(file)) if file else {}
    many = nodes.count(resources) > 1
    count = nodes.count(resources) if many else int(config.get("num_processes", 1))
    if config.get("use_cpu") if file else _on_cpu(resources):
        machines = int(config.get("num_machines", 1))
        options = ["--nnodes", str(machines), "--nproc_per_node", str(count // machines)]
        if machines == 1:
            return Processes(count, TORCHRUN, ["--standalone", *options])
        options += ["--node_rank", str(config.get("machine_rank", 0))]
        options += ["--master_addr", str(config.get("main_process_ip", "127.0.0.1"))]
        options += ["--master_port", str(config.get("main_process_port", 29500))]
        return Processes(count, TORCHRUN, options)
    options = ["--num_processes", str(count)] if many or not file else []
    if file:
        return Processes(count, ACCELERATE, ["--config_file", file, *options])
    plain = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    return Processes(count, ACCELERATE, ["--multi_gpu", *options, *plain])


def _on_cpu(resources: Resources) -> bool:
    import torch

    return resources.device == "cpu" or not torch.cuda.is_available()


def _run(line: list[str], cpu: bool, log: Path) -> Iterator[str]:
    """Run the command; give its lines, and keep what it says besides progress in a log."""
    environment = os.environ | ({"ACCELERATE_USE_CPU": "true"} if cpu else {})
    with log.open("w", encoding="utf-8") as kept:
        process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=kept, text=True, env=environment
        )
        try:
            for said in process.stdout or ():
                yield said
                if not said.startswith(TOLD):
                    kept.write(said)
            process.wait()
        finally:
            process.terminate()  # where this process is stopped, so are its workers
            process.wait()


def write_job(job: Job, place: Place, folder: Path) -> None:
    """What a worker needs, as plain files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    values = {
        "config": job.config.model_dump(mode="json"),
        "policy": job.policy.model_dump() | {"location": job.policy.location},
        "start": str(job.start.absolute()) if job.start else None,
        "seed": job.seed,
        "code": plugins.expected(),
        "dropped": list(job.dropped),
        "out": str(place.out.absolute()),
        "work": str(place.work.absolute()),
        "resources": place.resources.model_dump(mode="json"),
    }
    (folder / JOB).write_text(json.dumps(values), encoding="utf-8")
    _write_examples(job, folder / EXAMPLES)


def _write_examples(job: Job, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = pa.list_(pa.int32())
    names = {"prompt_ids": ids, "chosen_ids": ids, "rejected_ids": ids, "id": pa.string()}
    names |= {"lang": pa.string(), "reference": pa.list_(pa.float64()), "heldout": pa.bool_()}
    form = pa.schema(names)
    with pq.ParquetWriter(path, form) as writer:
        for held, examples in ((False, job.examples), (True, job.heldout)):
            for start in range(0, len(examples), CHUNK):
                rows = [asdict(one) | {"heldout": held} for one in examples[start : start + CHUNK]]
                writer.write_table(pa.Table.from_pylist(rows, schema=form))


def _read_examples(path: Path) -> dict[bool, list[Example]]:
    """The examples by whether they are held out."""
    import pyarrow.parquet as pq

    found: dict[bool, list[Example]] = {False: [], True: []}
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(CHUNK):
            for row in batch.to_pylist():
                held, reference = row.pop("heldout"), row.pop("reference")
                known = tuple(reference) if reference else None
                found[held].append(Example(**row, reference=known))
    return found


def read_job(folder: Path) -> tuple[Job, Place]:
    """What `write_job` wrote; progress is told on standard output."""
    values = json.loads((folder / JOB).read_text(encoding="utf-8"))
    plugins.expect(values["code"])
    examples = _read_examples(folder / EXAMPLES)
    job = Job(
        TrainConfig.model_validate(values["config"]),
        ModelRef(**values["policy"]),
        examples[False],
        examples[True],
        Path(values["start"]) if values["start"] else None,
        values["seed"],
        [tuple(one) for one in values["dropped"]],
    )
    resources = Resources.model_validate(values["resources"])
    return job, Place(Path(values["out"]), Path(values["work"]), resources, _tell)


def _tell(*progress: Any) -> None:
    sys.stdout.write(TOLD + json.dumps(progress) + "\n")
    sys.stdout.flush()
