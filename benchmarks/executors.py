"""Throughput of two workers against one on every executor, on an engine that only waits.

    python benchmarks/executors.py [local] [slurm] [ray] [--latency 0.4] [--out FILE]

The fake engine waits so many seconds per prompt, as if a device were at work. Measured is the stage
`sample` of 192 prompts in 24 shards, from its beginning to the last sealed shard; SLURM is the one of
`tests/cluster`, on this machine, and Ray a local one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from croco.provenance import provenance

ROOT = Path(__file__).parents[1]
FAKE = ROOT / "recipes" / "fake.yaml"


def sampled(executor: str, workers: int, env: dict[str, str]) -> float:
    """Seconds that sampling took."""
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
        subprocess.run(command, check=True, env=env, cwd=home)
        (root,) = home.glob("store/sample-*")
        begun = (root / "stage.json").stat().st_mtime
        return round(max(path.stat().st_mtime for path in root.glob("shard-*")) - begun, 2)


def compared(executor: str, env: dict[str, str]) -> dict[str, float]:
    one, two = (sampled(executor, workers, env) for workers in (1, 2))
    return {"one_worker_s": one, "two_workers_s": two, "times": round(one / two, 3)}


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
