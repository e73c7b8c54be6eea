"""Runs far larger than this machine, on the fake engine: what planning, coordinating and looking cost.

    python benchmarks/scale.py [plan] [slice] [status] [--out FILE]

`plan` plans 1,000,000 prompts x 4 languages x 64 samples. `slice` samples, scores and pairs a hundredth of
that by two workers of this machine: the coordinating process's memory while it goes on, and its overhead
per shard, both as its own CPU time and as the time that its workers were not at work, their start
included. `status` looks at a run of 2,000 shards, of which a quarter is still owed in the last stage.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from croco.pace import paces
from croco.provenance import provenance

LANGUAGES = ("en", "es", "fr", "de")
FAKE = Path(__file__).parents[1] / "recipes" / "fake.yaml"


def project(folder: Path, prompts: int, shards: int, n: int) -> Path:
    """A recipe with one arm and prompts of a dozen words, in all languages."""
    with (folder / "prompts.jsonl").open("w") as file:
        for k in range(prompts):
            for lang in LANGUAGES:
                text = f"{lang} question {k}: what is the best way to do it and why"
                file.write(json.dumps({"id": f"p{k}", "lang": lang, "prompt": text}) + "\n")
    values = yaml.safe_load(FAKE.read_text())
    values |= {"shards": shards, "sample": {"engine": "fake", "n": n, "max_tokens": 20}}
    values["prompts"]["train"] = ["prompts.jsonl"]
    values["arms"] = {"dpo": values["arms"]["dpo-monolingual"]}
    values["resources"] = {kind: {"workers": 2} for kind in ("sample", "score", "pair")}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def croco(folder: Path, *words: str) -> tuple[float, str]:
    """Seconds and standard output of a command."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "croco", *words],
        cwd=folder,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return round(time.perf_counter() - start, 2), done.stdout


def planned(prompts: int = 1_000_000) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = project(folder, prompts, 2000, 64)
        size = (folder / "prompts.jsonl").stat().st_size
        seconds, said = croco(folder, "plan", str(recipe), "--tokens-per-second", "5000")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        lines = [line for line in said.splitlines() if " sample " in line or "all, and" in line]
        return {
            "prompts": prompts,
            "languages": len(LANGUAGES),
            "samples": 64,
            "file_mb": size // 2**20,
            "seconds": seconds,
            "peak_mb": peak,
            "said": [" ".join(line.split()) for line in lines],
        }


def sliced(prompts: int = 10_000, shards: int = 400) -> dict[str, object]:
    """Sample, score and pair, watched from outside."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = project(folder, prompts, shards, 64)
        croco(folder, "run", str(recipe), "--until", "prompts-train")
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "croco", "run", str(recipe), "--until", "pair"], cwd=folder
        )
        memory, spent = [], 0.0
        while process.poll() is None:
            time.sleep(1)
            memory.append(_resident(process.pid))
            spent = _spent(process.pid) or spent
        wall = time.perf_counter() - start
        assert process.returncode == 0
        store = folder / "store"
        busy = sum(
            one.seconds
            for kind in ("sample", "score", "pair")
            for root in store.glob(f"{kind}-*")
            for one in paces(root)
        )
        tasks = 3 * shards
        memory = [one for one in memory if one]
        tenth = max(1, len(memory) // 10)
        return {
            "prompts": prompts,
            "languages": len(LANGUAGES),
            "samples": 64,
            "shards": shards,
            "workers": 2,
            "seconds": round(wall, 1),
            "store_mb": sum(p.stat().st_size for p in store.rglob("*.parquet")) // 2**20,
            "coordinator_mb": {
                "after a tenth": memory[tenth],
                "at the end": memory[-2],
                "most": max(memory),
            },
            "coordinator_cpu_ms_per_shard": round(1000 * spent / tasks, 1),
            "workers_idle_ms_per_shard": round(1000 * (2 * wall - busy) / tasks, 1),
        }


def _resident(pid: int) -> int:
    """Megabytes of memory; 0 where the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS")), 0)


def _spent(pid: int) -> float:
    """Seconds of CPU time of the process alone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def looked(shards: int = 2000) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = project(folder, 2 * shards, shards, 4)
        croco(folder, "run", str(recipe), "--until", "score")
        for path in sorted(folder.glob("store/score-*/shard-*"))[: shards // 4]:
            path.unlink()
        seconds = [croco(folder, "status", "fake")[0] for _ in range(5)]
        said = croco(folder, "status", "fake")[1]
        return {
            "shards": shards,
            "seconds": seconds,
            "said": [" ".join(line.split()) for line in said.splitlines() if " score " in line],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["plan", "slice", "status"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    every = {"plan": planned, "slice": sliced, "status": looked}
    found: dict[str, object] = {what: every[what]() for what in args.what}
    found["provenance"] = provenance()
    text = json.dumps(found, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
