"""On a real Ray: the same shards as by one process, even where a node is lost."""

import logging
import re
import threading

import pytest

from conftest import SETTINGS, finished, shards
from croco import executors, pipeline, recipe_file
from croco.executor_settings import ExecutorSettings
from croco.runs import Run

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of this machine, each with 2 pretended CPUs, a pretended GPU and one `slot`."""
    pytest.importorskip("ray", reason="the `ray` extra is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # it then listens on 127.0.0.1 alone
        for name in ("initial_delay", "period", "timeout"):
            patch.setenv(f"RAY_health_check_{name}_ms", "1000")
        patch.setenv("RAY_health_check_failure_threshold", "3")
        patch.setenv("CROCO_FAKE_LATENCY", "0.1")
        import ray
        from ray.cluster_utils import Cluster

        node = {
            "num_cpus": 2,
            "num_gpus": 1,
            "resources": {"slot": 1},
            "object_store_memory": 80 * 2**20,
        }
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        cluster.more = cluster.add_node(**node)
        ray.init(cluster.address, log_to_driver=False, logging_level=logging.CRITICAL)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


def run_of(recipe, home, *settings):
    run = Run(home, recipe_file.load(recipe, [*SETTINGS, *settings]))
    run.store.open()
    run.save()
    return run, pipeline.build(run.recipe)


def test_a_node_that_is_lost_costs_nothing_but_time(cluster, recipe, expected, tmp_path):
    run, stages = run_of(
        recipe,
        tmp_path,
        *(
            "resources.sample.workers=2",
            "resources.sample.custom={slot: 1}",
            "resources.sample.gpus=1",
        ),
    )
    told = []

    ended = threading.Event()

    def lose():
        while not list(tmp_path.glob("store/sample-*/shard-*")) and not ended.wait(0.05):
            pass
        cluster.remove_node(cluster.more, allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    settings = ExecutorSettings(kind="ray")
    try:
        executors.load(settings, lambda *one: told.append(one)).run(run, stages)
    finally:
        ended.set()
        thread.join()
    assert shards(tmp_path) == expected
    assert ("sample", 6, 6) in {one[:3] for one in told}


def test_the_command_line_is_quiet_on_a_cluster_of_its_own(start, expected, tmp_path):
    run = start(
        *("executor.ray.address=local", "resources.sample.workers=2"),
        options=["--on", "ray", "--until", "score"],
    )
    out, said = finished(run)
    made = shards(tmp_path)
    assert made == {name: expected[name] for name in made}
    assert out == ""
    *stages, last = said.splitlines()
    assert last == "run 'fake' is done"
    assert {re.split("[-.:]", line)[0] for line in stages} == {"prompts", "sample", "score"}
