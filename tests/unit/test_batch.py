"""What is asked of SLURM, told without one."""

from pathlib import Path

import pytest

from croco import pipeline, recipe_file
from croco.executors.batch import command, minutes, orders
from croco.executors.standing import Standing
from croco.runs import Run

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def ordered(tmp_path):
    def make(name, *settings, running=()):
        run = Run(tmp_path, recipe_file.load(RECIPES / name, settings))
        standing = Standing(run, pipeline.build(run.recipe))
        return {one.stage: one for one in orders(standing, run.recipe.executor, running)}

    return make


def test_a_stage_asks_for_its_own_before_what_all_ask_for(ordered):
    found = ordered(
        "fake.yaml",
        *("shards=6", "resources.sample.workers=4", "resources.sample.cpus=8"),
        *("executor.slurm={account: us, partition: gpu, time: 2d, extra: {qos: long}}",),
        *("resources.sample.gpus=1", "resources.sample.memory=64G"),
        "resources.score.slurm={partition: cpu, time: 90m, extra: {nice: 1}}",
    )
    sample, score = found["sample"], found["score"]
    assert (sample.workers, sample.shards) == (4, 6)
    assert sample.parameters["time"] == 2 * 1440
    assert sample.parameters["srun_args"] == ["--cpus-per-task=8"]
    assert score.parameters["partition"] == "cpu"
    assert score.parameters["additional_parameters"] == {"requeue": True, "qos": "long", "nice": 1}
    said = command(sample)
    assert said.startswith("sbatch --job-name=sample --array=0-3 --partition=gpu --account=us")
    assert said.endswith("--qos=long --dependency=afterany:prompts-train  # 6 shards")


def test_a_stage_flows_beside_its_input_where_it_has_a_place_of_its_own(ordered):
    same = ordered("fake.yaml")
    assert same["score"].waits == {"sample": "afterany", "prompts-train": "afterany"}
    apart = ordered("fake.yaml", "resources.score.slurm={partition: side}")
    assert apart["score"].waits["sample"] == "after"
    assert apart["dpo-monolingual.train"].waits["dpo-monolingual.pair"] == "afterany"


def test_work_of_several_names_is_ordered_once_and_waited_for_by_all(ordered):
    found = ordered("fake.yaml")
    assert "sft-monolingual.pair" not in found
    assert found["sft-monolingual.train"].waits["dpo-monolingual.pair"] == "afterany"
    assert "sample" not in ordered("fake.yaml", running={"sample"})


def test_training_over_several_nodes_is_one_job_of_them(ordered):
    train = ordered("slurm.yaml", "resources.train.workers=2")["dpo-monolingual.train"]
    assert (train.workers, train.parameters["nodes"]) == (1, 2)
    assert train.parameters["srun_args"] == ["--cpus-per-task=32", "--nodes=1", "--ntasks=1"]
    assert "--nodes=2" in command(train)


@pytest.mark.parametrize(("time", "said"), [("90m", 90), ("24h", 1440), ("2d", 2880)])
def test_limits_are_minutes(time, said):
    assert minutes(time) == said


@pytest.mark.parametrize("name", ["slurm.yaml", "ray.yaml"])
def test_the_recipes_for_clusters_can_be_planned(ordered, name):
    assert ordered(name)["sample"].shards > 1
