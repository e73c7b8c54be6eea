"""A recipe in 6 shards whose sampling takes time, the shards that it gives, and real clusters."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from slurm_lab import SlurmLab, missing

ROOT = Path(__file__).parents[2]
FAKE = ROOT / "recipes" / "fake.yaml"
#: What all runs here have in common; one arm is enough.
SETTINGS = (
    "shards=6",
    "languages=[en, es]",
    "sample.n=4",
    "evaluate.sentences=[]",
    "resources.sample.batch_size=2",
)


@pytest.fixture(scope="session")
def recipe(tmp_path_factory):
    """The fake recipe with one arm."""
    values = yaml.safe_load(FAKE.read_text())
    values["arms"] = {"dpo": values["arms"]["dpo-monolingual"]}
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


@pytest.fixture
def start(recipe, tmp_path):
    """Starts `croco run` of the recipe in a process of its own, which is ended with the test."""
    processes = []

    def begin(*settings, verb="run", options=(), home=tmp_path, env=os.environ, **more):
        command = [sys.executable, "-m", "croco", verb, str(recipe), "--home", str(home), *options]
        for one in (*SETTINGS, *settings):
            command += ["--set", one]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=dict(env) | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def finished(process, seconds=150):
    """Wait for a process that must succeed; what it said."""
    out, said = process.communicate(timeout=seconds)
    assert process.returncode == 0, said
    return out, said


def shards(home):
    """Every sealed shard of the store, byte for byte."""
    return {str(p.relative_to(home)): p.read_bytes() for p in home.glob("store/*/shard-*")}


@pytest.fixture(scope="session")
def expected(recipe, tmp_path_factory):
    """The shards that one process makes, one stage after the other."""
    home = tmp_path_factory.mktemp("expected")
    command = [sys.executable, "-m", "croco", "run", str(recipe), "--home", str(home)]
    for one in SETTINGS:
        command += ["--set", one]
    subprocess.run(command, check=True, capture_output=True)
    made = shards(home)
    assert sum("/shard-" in name and name.startswith("store/sample-") for name in made) == 18
    return made


@pytest.fixture(scope="session")
def slurm():
    """A SLURM with two nodes; skipped, visibly, where its packages are not installed."""
    if missing():
        pytest.skip(f"SLURM is not installed here (no {', '.join(missing())})")
    if os.getuid() != 0:
        pytest.skip("a SLURM of one's own needs root")
    pytest.importorskip("submitit")
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with SlurmLab() as lab:
        lab.env["PYTHONPATH"] = str(ROOT / "src")
        yield lab
    signal.signal(signal.SIGTERM, before)
    assert shutil.which("squeue")
