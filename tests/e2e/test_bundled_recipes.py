"""Every bundled recipe can be planned: in an empty home, and in one in which half is done."""

import pytest

from croco import pipeline, recipe_file
from croco.cost import Costs, table
from croco.plan import plan
from croco.records import Responses
from croco.runner import tasks, work
from croco.runs import Run

#: What a user puts in the place of a commit.
PINNED = "prompts.heldout=['hub:CohereLabs/m-ArenaHard-v2.1@" + "0" * 40 + "']"
NAMES = ["eurollm-9b", "fake", "iterative", "m-arenahard", "off-policy", "online", "quickstart"]
NAMES += ["ray", "slurm", "tiny-aya"]
#: Recipes whose held-out prompts lie on the hub.
HUB = ("eurollm-9b", "m-arenahard", "tiny-aya")


def overrides(name):
    return [PINNED] if name in HUB else []


def planned(run):
    """The lines of a plan, with their costs."""
    stages = pipeline.build(run.recipe)
    lines = plan(run, stages)
    costs = list(table(stages, Costs(run, {line.stage: line for line in lines}, {})))
    assert len(costs) == len(lines) + 1
    return lines, costs


def test_all_bundled_recipes_are_named(recipes):
    assert sorted(path.stem for path in recipes.glob("*.yaml")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_recipe_is_planned_in_an_empty_home(recipes, tmp_path, name):
    run = Run(tmp_path, recipe_file.load(recipes / f"{name}.yaml", overrides(name)))
    lines, _ = planned(run)
    assert {line.state for line in lines} == {"new"}
    assert not list(tmp_path.iterdir())


def half_done(run, stages):
    """Do the first stages: prompts are read, and one answer of each is made up, in half of the shards."""
    store = run.store.open()
    run.save()
    for stage in stages.values():
        if stage.kind in ("prompts", "contamination", "sentences"):
            work(tasks(run, stage), lambda *_: None)
        if stage.kind == "sample" and stage.inputs["prompts"].kind == "prompts":
            store.begin(stage, {})
            asked = list(store.artifact(stage.inputs["prompts"]).rows())
            made = [Responses(p.id, p.lang, [1], ["a"], [[2, 3]], ["stop"], "") for p in asked]
            for shard in range(0, stage.shards, 2):
                store.artifact(stage).seal(shard, made[shard :: stage.shards])
            store.artifact(stage).journal(1).append(made[:1])


@pytest.mark.parametrize("name", [one for one in NAMES if one not in HUB])
def test_a_bundled_recipe_is_planned_in_a_home_half_done(recipes, tmp_path, name):
    run = Run(tmp_path, recipe_file.load(recipes / f"{name}.yaml", overrides(name)))
    half_done(run, pipeline.build(run.recipe))
    lines, _ = planned(run)
    states = {line.stage: line.state for line in lines}
    assert states["prompts-train"] == states["contamination"] == "done"
    assert states["report"] == "new"
    assert any(
        state == "owed" or line.rows for line, state in zip(lines, states.values(), strict=True)
    )


def test_what_online_training_samples_is_told(recipes, tmp_path):
    run = Run(tmp_path, recipe_file.load(recipes / "online.yaml"))
    stages = pipeline.build(run.recipe)
    costs = Costs(run, {line.stage: line for line in plan(run, stages)}, {})
    made = costs.of(stages["online.train"])
    assert (made.tokens, made.bound) == (2 * 24 * 8 * 40, True)


def test_what_off_policy_training_reads_is_told(recipes, tmp_path):
    run = Run(tmp_path, recipe_file.load(recipes / "off-policy.yaml", ["policy=a/b"]))
    stages = pipeline.build(run.recipe)
    costs = Costs(run, {line.stage: line for line in plan(run, stages)}, {})
    assert "off-policy.encode" in stages
    assert costs.of(stages["off-policy.train"]).tokens == 2 * 24 * 2 * 40
