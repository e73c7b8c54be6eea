"""A worker loads what a stage needs once, for all the shards that it is given one by one."""

import os
import sys
from pathlib import Path

import pytest

from croco import keeping, pipeline, recipe_file
from croco.errors import RecipeError
from croco.runner import Task, Worker, work
from croco.runs import Run

FAKE = Path(__file__).parents[2] / "recipes" / "fake.yaml"
COUNTING = """
from pathlib import Path
from croco.engines.fake import FakeEngine
from croco.errors import EngineError

class Counting(FakeEngine):
    def __init__(self, *args):
        super().__init__(*args)
        with Path(__file__).with_name("loads.txt").open("a") as file:
            file.write("load\\n")

    def generate(self, batches):
        if Path(__file__).with_name("broken").exists():
            raise EngineError("broken")
        yield from super().generate(batches)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    (tmp_path / "counting.py").write_text(COUNTING)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "counting", raising=False)
    settings = ["shards=4", "sample.engine=counting:Counting", "evaluate.engine=fake"]
    run = Run(tmp_path, recipe_file.load(FAKE, settings))
    run.store.open()
    run.save()
    work([Task(run.folder, "prompts-train", 0)], lambda *_: None)
    return run


def loads(run):
    path = run.home / "loads.txt"
    return len(path.read_text().split()) if path.exists() else 0


def test_many_shards_given_one_by_one_take_one_load(run):
    worker = Worker(lambda *_: None)
    for shard in range(3):
        worker.work([Task(run.folder, "sample", shard)])
    assert loads(run) == 1
    worker.work([Task(run.folder, "score", 0)])
    assert not any("sample" in name for name in keeping._last)  # its model gave way
    worker.work([Task(run.folder, "sample", 3)])
    assert loads(run) == 2
    worker.leave()
    assert not keeping._last


def test_what_failed_is_not_kept(run):
    worker = Worker(lambda *_: None)
    (run.home / "broken").touch()
    for _ in range(2):
        with pytest.raises(Exception, match="broken"):
            worker.work([Task(run.folder, "sample", 0)])
    assert loads(run) == 2
    assert not keeping._last


def test_nothing_is_kept_outside_of_workers(run):
    from croco import rewards
    from croco.settings import Resources

    made = [rewards.load(run.recipe.reward, Resources()) for _ in range(2)]
    assert made[0] is not made[1]
    assert not keeping._last


def test_the_environment_lowers_no_precision(run, monkeypatch):
    """Containers set this; torch reads it when it is loaded."""
    monkeypatch.setenv("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1")
    worker = Worker(lambda *_: None)
    worker.work([Task(run.folder, "sample", 0)])
    worker.leave()
    assert "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE" not in os.environ


def test_a_stage_that_is_not_the_one_the_run_began_with_is_refused(run):
    stages = pipeline.build(run.recipe)
    run.link(stages, stages)
    edited = run.home / "counting.py"
    edited.write_text(edited.read_text() + "\n# edited\n")
    worker = Worker(lambda *_: None)
    with pytest.raises(RecipeError, match="edited"):
        worker.work([Task(run.folder, "sample", 0)])
    worker.work([Task(run.folder, "prompts-heldout", 0)])  # nothing of it was edited
    worker.leave()
