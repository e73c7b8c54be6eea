"""On a real SLURM: the same shards as by one process, whatever befalls the jobs."""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from conftest import finished, shards

pytestmark = pytest.mark.slurm

#: Sampling by an array of six, each of which takes about 3 seconds a shard.
ARRAY = ("resources.sample.workers=6", "executor.slurm.time=10m", "resources.sample.batch_size=1")


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


def job_of(home, stage):
    """The number of the job that a stage was submitted as."""
    found = list(home.glob(f"runs/fake/jobs/{stage}/*.json"))
    return json.loads(found[0].read_text())["job"] if found else None


def claimed(home, job):
    """The jobs of an array that are at work on shards of sampling, by what they claimed."""
    owners = {path.read_text() for path in home.glob("store/sample-*/claims/[0-9]*")}
    return sorted(owner for owner in owners if owner.startswith(f"{job}_"))


def worker_of(job):
    """The process that does the shards of a job: srun's child, by what SLURM put into its environment."""
    array, _, task = job.partition("_")
    wanted = {f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={task}", "SLURM_PROCID=0"}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_text().split("\0")
            environment = set((process / "environ").read_text().split("\0"))
            ours = words[0] == sys.executable and "submitit.core._submit" in words
            if ours and wanted <= environment:
                return int(process.name)
    return None


def test_killed_requeued_and_timed_out_the_shards_are_the_same(start, slurm, expected, tmp_path):
    """An array of six: one is killed by -9, one requeued, and who is not done in 15 s meets its limit."""
    limits = ("executor.slurm.time=1m", "executor.slurm.extra={signal: USR2@45}")
    run = start(
        *ARRAY,
        *limits,
        options=["--on", "slurm", "--until", "score"],
        env=slurm.env,
        CROCO_FAKE_LATENCY="0.8",
    )
    job = until(lambda: job_of(tmp_path, "sample"))
    until(lambda: len(claimed(tmp_path, job)) == 6)
    killed, requeued, *_ = claimed(tmp_path, job)
    os.kill(until(lambda: worker_of(killed)), signal.SIGKILL)
    slurm.say("scontrol", "requeue", requeued)
    finished(run)
    made = shards(tmp_path)
    assert {name.split("-")[0] for name in made} == {"store/prompts", "store/sample", "store/score"}
    assert made == {name: expected[name] for name in made}
    logs = [p.read_text() for p in tmp_path.glob("runs/fake/jobs/sample/*log.out")]
    assert sum("Requeued job" in log for log in logs) >= 1  # by its time limit
    assert sum(log.count("Starting with") > 1 for log in logs) >= 2


def test_preempted_jobs_go_on_when_they_are_let(start, slurm, expected, tmp_path):
    run = start(
        *ARRAY,
        options=["--on", "slurm", "--until", "sample"],
        env=slurm.env,
        CROCO_FAKE_LATENCY="0.4",
    )
    until(lambda: list(tmp_path.glob("store/sample-*/journals/*.jsonl")))
    command = ["--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null"]
    slurm.say("sbatch", *command, "--wrap=sleep 1")
    finished(run)
    made = shards(tmp_path)
    assert made == {name: expected[name] for name in made}
    logs = [p.read_text() for p in tmp_path.glob("runs/fake/jobs/sample/*log.out")]
    assert any(log.count("Starting with") > 1 for log in logs)


def test_a_detached_run_needs_nobody_to_watch(start, slurm, expected, croco, recipe, tmp_path):
    """Submitted with its dependencies and left; status tells from disk and queue, and logs are found."""
    planned, _ = finished(start(*ARRAY, verb="plan", options=["--on", "slurm"], env=slurm.env))
    assert "--job-name=sample --array=0-5 --time=10" in planned
    assert "--dependency=afterany:prompts-train" in planned
    submitted, _ = finished(start(*ARRAY, options=["--on", "slurm", "--detach"], env=slurm.env))
    assert submitted.count(" job ") == planned.count("sbatch")
    told = croco("status", "fake", env=slurm.env, check=0).stdout
    assert "pending" in told
    again, _ = finished(start(*ARRAY, options=["--on", "slurm", "--detach"], env=slurm.env))
    assert again == ""  # nothing twice
    until(lambda: not slurm.jobs(), 120)
    assert shards(tmp_path) == expected
    assert all(
        line.startswith("done") for line in croco("status", "fake", check=0).stdout.splitlines()
    )
    logs = croco("status", "fake", "--logs", "sample", "3", check=0)
    assert "sample: shard 3" in logs.stdout
    assert "_log.err:" in logs.stderr
    script = next(tmp_path.glob("runs/fake/jobs/sample/*.sh")).read_text()
    assert "#SBATCH --array=0-5" in script


def test_cancel_takes_a_run_out_of_the_queue_and_it_goes_on_later(
    start, slurm, expected, croco, tmp_path
):
    until_sample = ["--on", "slurm", "--until", "sample"]
    slow = slurm.env | {"CROCO_FAKE_LATENCY": "2"}
    finished(start(*ARRAY, options=[*until_sample, "--detach"], env=slow))
    until(lambda: list(tmp_path.glob("store/sample-*/journals/*.jsonl")))
    croco("cancel", "fake", env=slurm.env, check=0)
    until(lambda: not slurm.jobs(), 30)
    assert not list(tmp_path.glob("store/sample-*/shard-*"))
    finished(start(*ARRAY, options=until_sample, env=slurm.env))
    made = shards(tmp_path)
    assert made == {name: expected[name] for name in made}


def test_what_stops_a_worker_is_told_by_the_run(start, slurm, tmp_path):
    (tmp_path / "broken.py").write_text(
        "from croco.engines.fake import FakeEngine\n"
        "from croco.errors import EngineError\n"
        "class Broken(FakeEngine):\n"
        "    def generate(self, batches):\n"
        "        raise EngineError('the device is on fire: put it out')\n"
    )
    run = start(
        *ARRAY,
        "sample.engine=broken:Broken",
        options=["--on", "slurm", "--until", "sample"],
        env=slurm.env,
    )
    _, said = run.communicate(timeout=60)
    assert run.returncode == 1
    assert said.splitlines()[-1] == "croco: the device is on fire: put it out"


def test_what_sbatch_refuses_is_the_recipes_mistake(start, slurm, tmp_path):
    nowhere = "executor.slurm.partition=nowhere"
    run = start(nowhere, options=["--on", "slurm", "--until", "sample"], env=slurm.env)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 2
    assert "invalid partition specified: nowhere): mend resources.prompts" in said
    assert len(said.splitlines()) == 1
