"""A training that is killed goes on from its last whole checkpoint, and ends as if it had not been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from tuning import run, save_tiny, weights

from croco.training.checkpoints import MARK, newest, step_of
from croco.training.log import NAME

pytestmark = pytest.mark.model
#: Trains, and is killed from within by kill -9 after a step is logged; 0: never.
KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from tuning import run
def told(done, total, text):
    if done == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
run(Path({source!r}), Path({out!r}), {method!r}, told=told,
    resources={{"checkpoint_every": 2}}, **{own!r})
"""
SAME = {"epochs": 3, "batch_size": 4, "micro": 2, "learning_rate": 1e-3, "lora": {"dropout": 0.1}}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def killed(source: Path, out: Path, at: int, method: str = "dpo", **more: object) -> int:
    """Train in another process until it is killed at a step; the step it can go on from."""
    script = KILLED.format(
        tests=str(Path(__file__).parent),
        at=at,
        source=str(source),
        out=str(out),
        method=method,
        own=SAME | more,
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not out.exists()
    work = out.with_name(f"{out.name}-work")
    checkpoint = newest(work, work / NAME)
    return step_of(checkpoint) if checkpoint else 0


@pytest.mark.parametrize(("method", "at", "kept"), [("dpo", 1, 0), ("dpo", 6, 4), ("sft", 9, 8)])
def test_a_killed_training_ends_as_an_undisturbed_one(
    source: Path, tmp_path: Path, method: str, at: int, kept: int
) -> None:
    out, resources = tmp_path / "out", {"checkpoint_every": 2}
    assert killed(source, out, at, method) == kept
    told: list[int] = []
    steps = run(
        source,
        out,
        method,
        told=lambda done, *_: told.append(done),
        resources=resources,
        **SAME,
    )
    assert told == list(range(kept + 1, 10))  # no step is done again but those after the checkpoint
    whole = run(source, tmp_path / "whole", method, **SAME)
    assert [step.step for step in steps] == list(range(1, 10))
    for one, other in zip(steps, whole, strict=True):
        assert one.loss == pytest.approx(other.loss, abs=1e-5)
        assert one.learning_rate == pytest.approx(other.learning_rate, abs=1e-12)
    for name, tensor in weights(out).items():
        torch.testing.assert_close(tensor, weights(tmp_path / "whole")[name], atol=1e-5, rtol=0)


def test_whole_models_go_on_as_well(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    own = SAME | {"lora": None}
    assert killed(source, out, 6, **{"lora": None}) == 4
    run(source, out, resources={"checkpoint_every": 2}, **own)
    run(source, tmp_path / "whole", **own)
    now, whole = (weights(tmp_path / name, "model.safetensors") for name in ("out", "whole"))
    for name, tensor in now.items():
        torch.testing.assert_close(tensor, whole[name], atol=1e-5, rtol=0)


def test_a_checkpoint_that_is_not_whole_is_never_taken(source: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "out", tmp_path / "out-work"
    assert killed(source, out, 7) == 6
    (work / "checkpoints" / "checkpoint-6" / MARK).unlink()  # killed while it was written
    assert step_of(newest(work, work / NAME)) == 4
    lines = (work / NAME).read_text().splitlines(keepends=True)
    (work / NAME).write_text("".join(lines[:3]))  # a log that lost lines
    assert newest(work, work / NAME) is None
    run(source, out, resources={"checkpoint_every": 2}, **SAME)
    logged = [json.loads(line)["step"] for line in (out / NAME).read_text().splitlines()]
    assert logged == list(range(1, 10))


def test_another_number_of_processes_goes_on_with_the_same_examples(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    plain = {"lora": {"dropout": 0}}
    assert killed(source, out, 6, **plain) == 4
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    steps = run(source, out, resources={"processes": 2, "checkpoint_every": 2}, **(SAME | plain))
    whole = run(source, tmp_path / "whole", **(SAME | plain))
    for one, other in zip(steps, whole, strict=True):
        assert one.loss == pytest.approx(other.loss, abs=1e-4)
