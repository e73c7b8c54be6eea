"""Several workers of one machine: shards flow, and it does not matter what becomes of a worker."""

import os
import signal
import time
from pathlib import Path

import pytest

from conftest import SETTINGS, shards
from croco import executors, pipeline, recipe_file
from croco.executor_settings import ExecutorSettings
from croco.executors import dispatch, local
from croco.plan import until
from croco.runner import Task
from croco.runs import Run

#: Two workers sample while another place scores.
SIDE_BY_SIDE = ("resources.sample.workers=2", "resources.score.memory=1G")


@pytest.fixture
def bring(recipe, tmp_path, monkeypatch):
    """Brings the recipe to its end by two sampling workers; what happens meanwhile is a test's own."""
    monkeypatch.setenv("CROCO_FAKE_LATENCY", "0.1")
    monkeypatch.setattr(dispatch, "TICK", 0.2)

    def call(meanwhile, *settings):
        run = Run(tmp_path, recipe_file.load(recipe, [*SETTINGS, *SIDE_BY_SIDE, *settings]))
        run.store.open()
        run.save()
        crews = []
        of = local.Processes.of

        def seen(stage, devices):
            crew = of(stage, devices)
            crews.append(crew)
            return crew

        monkeypatch.setattr(local.Processes, "of", seen)
        executor = executors.load(
            ExecutorSettings(), lambda *told: meanwhile(told, [c for c in crews if c])
        )
        executor.run(run, until(pipeline.build(run.recipe), "pair"))

    return call


def sampler(crews):
    """The process of the first worker that samples."""
    crew = next(one for one in crews if len(one._pools) == 2)
    return crew._pids[0].result()


def test_scoring_starts_while_sampling_goes_on(bring, expected, tmp_path):
    bring(lambda *_: None)
    made = shards(tmp_path)
    assert made == {name: expected[name] for name in made}
    assert any(name.startswith("store/pair-") for name in made)
    stages = pipeline.build(Run.load(tmp_path, "fake").recipe)
    sampled, scored = (
        sorted(
            path.stat().st_mtime
            for path in (tmp_path / "store" / stages[name].identity).glob("shard-*")
        )
        for name in ("sample", "score")
    )
    assert scored[0] < sampled[-1]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_hangs_costs_nothing_but_time(
    bring, expected, tmp_path, monkeypatch, how
):
    monkeypatch.setattr(dispatch, "SLOWER", 0.5)
    ended = []

    def end_one(told, crews):
        if told[0] == "sample" and told[1] >= 1 and not ended:
            ended.append(sampler(crews))
            os.kill(ended[0], how)

    bring(end_one)
    assert ended
    made = shards(tmp_path)
    assert made == {name: expected[name] for name in made}
    assert any(name.startswith("store/pair-") for name in made)
    end = time.monotonic() + 5
    while Path(f"/proc/{ended[0]}").exists():  # not even a hanging one is left behind
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_worker_that_is_killed_while_idle_is_replaced(tmp_path, recipe):
    run = Run(tmp_path, recipe_file.load(recipe, [*SETTINGS]))
    run.store.open()
    run.save()
    stage = pipeline.build(run.recipe)["prompts-train"]
    crew = local.Processes([[], []], local.Devices())
    try:
        killed = [pid.result() for pid in crew._pids]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 30
        while not all(pool._broken for pool in crew._pools):
            assert time.monotonic() < end
            time.sleep(0.05)
        for _ in range(2):
            crew.hand(Task(run.folder, stage.name, 0)).result(60)
        assert crew.free() == 2
        assert crew._pids[0].result() not in killed
    finally:
        crew.close()
    assert not run.store.artifact(stage).owed()


def test_a_run_goes_on_when_workers_are_killed_while_idle(bring, expected, tmp_path):
    """Both sampling workers are idle while the second place still scores, and are killed then."""
    ended = []

    def end_idle(told, crews):
        crew = next((one for one in crews if len(one._pools) == 2), None)
        if crew is None or ended or crew.free() == 0:
            return
        place = next(k for k in range(2) if k not in crew._busy)
        if crew._pids[place].done():
            ended.append(crew._pids[place].result())
            os.kill(ended[0], signal.SIGKILL)
            time.sleep(0.5)

    bring(end_idle, "resources.score.workers=2", "resources.score.memory=null")
    made = shards(tmp_path)
    assert ended
    assert made == {name: expected[name] for name in made}
