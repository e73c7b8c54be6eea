"""Throughput of two workers against one on every executor, on an engine that only waits.

    python benchmarks/executors.py [local] [slurm] [ray] [--latency 0.4] [--out FILE]

The fake engine waits so many seconds per prompt, as if a device were at work. Measured are the prompts per
second of the stage `sample` (192 prompts in 24 shards), from when all its workers are at work to the last
sealed shard. SLURM is the one of `tests/cluster`, on this machine, and Ray a local one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from croco.provenance import provenance

ROOT = Path(__file__).parents[1]
FAKE = ROOT / "recipes" / "fake.yaml"


def sampled(executor: str, workers: int, env: dict[str, str]) -> float:
    """Prompts per second."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        settings = [
            *("shards=24", "sample.n=1", f"resources.sample.workers={workers}"),
            *("resources.sample.batch_size=1", "executor.ray.address=local"),
            "executor.slurm.time=10m",
        ]
        command = [sys.executable, "-m", "croco", "run", str(FAKE), "--on", executor]
        command += ["--home", str(home), "--until", "sample"]
        for one in settings:
            command += ["--set", one]
        process = subprocess.Popen(command, env=env, cwd=home)
        writers: set[str] = set()
        while len(writers) < workers:
            assert process.poll() is None
            time.sleep(0.02)
            writers |= {path.name.split(".")[1] for path in home.glob("store/sample-*/journals/0*")}
        begun, made = time.time(), rows(home)
        assert process.wait() == 0
        ended = max(path.stat().st_mtime for path in home.glob("store/sample-*/shard-*"))
        return round((192 - made) / (ended - begun), 3)


def rows(home: Path) -> int:
    """Prompts that are answered by now: a line of a journal each, or a row of a shard."""
    journals = home.glob("store/sample-*/journals/0*.jsonl")
    sealed = home.glob("store/sample-*/shard-*")
    found = sum(path.read_bytes().count(b"\n") for path in journals)
    return found + sum(pq.read_metadata(path).num_rows for path in sealed)


def compared(executor: str, env: dict[str, str]) -> dict[str, float]:
    one, two = (sampled(executor, workers, env) for workers in (1, 2))
    return {"one_worker": one, "two_workers": two, "times": round(two / one, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("executors", nargs="*", default=["local", "slurm", "ray"])
    parser.add_argument("--latency", type=float, default=0.4)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    env = os.environ | {"CROCO_FAKE_LATENCY": str(args.latency)}
    found: dict[str, object] = {"latency_s": args.latency, "prompts": 192, "shards": 24}
    for executor in args.executors:
        if executor == "slurm":
            sys.path.insert(0, str(ROOT / "tests" / "cluster"))
            from slurm_lab import SlurmLab

            with SlurmLab() as lab:
                found[executor] = compared(executor, env | lab.env)
        else:
            found[executor] = compared(executor, env)
    found["provenance"] = provenance()
    text = json.dumps(found, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
