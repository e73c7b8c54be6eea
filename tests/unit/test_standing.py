"""Which shards may start, as inputs are sealed one by one."""

from pathlib import Path

import pytest

from croco import pipeline, recipe_file
from croco.executors.standing import Standing
from croco.records import Prompt
from croco.runs import Run

FAKE = Path(__file__).parents[2] / "recipes" / "fake.yaml"


@pytest.fixture
def standing(tmp_path):
    run = Run(
        tmp_path,
        recipe_file.load(
            FAKE,
            [
                "shards=3",
                "arms.z={pair: {scope: multilingual, normalise: zscore}, train: {trainer: fake}}",
            ],
        ),
    )
    return Standing(run, pipeline.build(run.recipe))


def begun(standing, name):
    """The artifact of a stage, described: shards without a description are refused."""
    standing.run.store.begin(standing.stages[name], provenance={})
    return standing.run.store.artifact(standing.stages[name])


def seal(standing, name, *shards):
    artifact = begun(standing, name)
    for shard in shards:
        artifact.seal(shard, [])
    standing.look()


def test_a_whole_stage_is_one_task_until_its_last_shard_is_sealed(standing):
    assert list(standing.shards("prompts-train")) == [0]
    seal(standing, "prompts-train", 0)
    assert standing.wanted("prompts-train", 0)
    assert list(standing.shards("prompts-train")) == [0]
    assert list(standing.shards("sample")) == []
    seal(standing, "prompts-train", 1, 2)
    assert not standing.wanted("prompts-train", 0)
    assert list(standing.shards("prompts-train")) == []
    assert list(standing.shards("sample")) == [0, 1, 2]


def test_a_shard_follows_its_inputs_and_waits_for_what_reads_them_all(standing):
    seal(standing, "prompts-train", 0, 1, 2)
    seal(standing, "sample", 1)
    assert list(standing.shards("score")) == [1]
    assert standing.flowing("score")
    assert not standing.flowing("dpo-monolingual.pair")
    seal(standing, "score", 1)
    assert list(standing.shards("dpo-monolingual.pair")) == [1]
    assert list(standing.shards("z.pair")) == []  # calibrated by the rewards of all
    seal(standing, "sample", 0, 2)
    seal(standing, "score", 0, 2)
    assert list(standing.shards("z.pair")) == [0, 1, 2]
    assert list(standing.shards("dpo-monolingual.train")) == []


def test_the_same_work_under_several_names_is_done_once(standing):
    assert standing.first["sft-monolingual.pair"] == "dpo-monolingual.pair"
    assert "sft-monolingual.pair" not in standing.names
    seal(standing, "dpo-monolingual.pair", 0)
    assert standing.owed["sft-monolingual.pair"] == {1, 2}


def test_large_shards_come_first(standing):
    artifact = begun(standing, "prompts-train")
    for shard, count in enumerate((1, 300, 20)):
        artifact.seal(shard, [Prompt(f"p{k}", "en", f"text {k}") for k in range(count)])
    standing.look()
    assert list(standing.shards("sample")) == [1, 2, 0]


def test_what_is_sealed_by_others_is_seen(standing):
    seal(standing, "prompts-train", 0, 1, 2)
    artifact = begun(standing, "sample")
    artifact.seal(2, [])
    assert list(standing.shards("sample")) == [0, 1, 2]
    assert standing.look_at("sample", 2)
    assert not standing.look_at("sample", 1)
    assert list(standing.shards("sample")) == [0, 1]
