"""Tasks handed to crews that are threads of the test: what becomes of them, and in which order."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from croco import pipeline, recipe_file
from croco.errors import StageError
from croco.executors import dispatch
from croco.executors.dispatch import Dispatch, WorkerDiedError
from croco.plan import until
from croco.runner import Worker
from croco.runs import Run

FAKE = Path(__file__).parents[2] / "recipes" / "fake.yaml"


class Threads:
    """A crew of one worker that is a thread; `late` seconds pass before it says that it is done."""

    def __init__(self, late=0.0, deaths=0):
        self.pool, self.worker = ThreadPoolExecutor(1), Worker(lambda *_: None)
        self.late, self.deaths = late, deaths
        self.busy, self.did, self.lock = False, [], threading.Lock()

    def free(self):
        return 0 if self.busy else 1

    def hand(self, task):
        self.busy = True
        landed = Future()
        self.pool.submit(self._do, task, landed)
        return landed

    def _do(self, task, landed):
        error = None
        if self.deaths:
            self.deaths -= 1
            error = WorkerDiedError("it was killed")
        else:
            try:
                self.worker.work([task])
                self.did.append((task.stage, task.shard))
            except Exception as raised:
                error = raised
        time.sleep(self.late)
        self.busy = False
        landed.set_exception(error) if error else landed.set_result(None)

    def close(self):
        self.pool.shutdown(wait=False)


@pytest.fixture
def bring(tmp_path, monkeypatch):
    monkeypatch.setattr(dispatch, "TICK", 0.05)

    def call(crew, *settings, last="score", attempts=3):
        run = Run(tmp_path, recipe_file.load(FAKE, ["shards=4", "sample.n=2", *settings]))
        run.store.open()
        run.save()
        stages = until(pipeline.build(run.recipe), last)
        Dispatch(run, stages, lambda stage: crew, lambda *_: None, attempts).finish()
        return run, stages

    return call


def test_a_worker_that_says_late_that_it_is_done_ends_nothing(bring):
    """The disk may tell of a shard before its worker does."""
    crew = Threads(late=0.3)
    bring(crew)
    assert len(crew.did) == 1 + 4 + 4


def test_the_earliest_stage_comes_first_so_that_models_change_seldom(bring):
    crew = Threads()
    bring(crew)
    assert [stage for stage, _ in crew.did] == ["prompts-train", *["sample"] * 4, *["score"] * 4]


class Flickering(Threads):
    """One whose worker becomes free between two questions."""

    asked = 0

    def free(self):
        self.asked += 1
        return 0 if self.asked % 2 else super().free()


def test_who_becomes_free_meanwhile_takes_no_later_stages_task(bring):
    crew = Flickering()
    bring(crew)
    assert [stage for stage, _ in crew.did] == ["prompts-train", *["sample"] * 4, *["score"] * 4]


def test_what_was_done_is_not_handed_out_again(bring):
    bring(Threads())
    crew = Threads()
    bring(crew)
    assert crew.did == []


def test_a_task_whose_worker_died_is_handed_out_again_but_not_for_ever(bring):
    crew = Threads(deaths=2)
    bring(crew)
    assert len(crew.did) == 9
    with pytest.raises(StageError, match=r"2 workers died on shard . \(it was killed\)"):
        bring(Threads(deaths=9), "seed=7", attempts=2)


def test_an_error_ends_the_run_with_its_own_words(bring, tmp_path, monkeypatch):
    (tmp_path / "afire.py").write_text(
        "from croco.engines.fake import FakeEngine\n"
        "from croco.errors import EngineError\n"
        "class Afire(FakeEngine):\n"
        "    def generate(self, batches):\n"
        "        raise EngineError('the device is on fire')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Exception, match="the device is on fire"):
        bring(Threads(), "sample.engine=afire:Afire")
