"""What a run will cost, told before and after something was measured."""

import json
from pathlib import Path

import pytest

from croco import pipeline, recipe_file
from croco.cost import Costs, rates_of, short
from croco.datafiles import refer_prompts
from croco.errors import RecipeError
from croco.executors import load
from croco.plan import plan
from croco.promptcount import prompts_in
from croco.runs import Run

FAKE = Path(__file__).parents[2] / "recipes" / "fake.yaml"


def costs(run, given=()):
    stages = pipeline.build(run.recipe)
    lines = {line.stage: line for line in plan(run, stages)}
    found = Costs(run, lines, rates_of(given))
    return {name: found.of(stage) for name, stage in stages.items()}


def test_before_anything_runs_the_recipe_gives_bounds(tmp_path):
    run = Run(tmp_path, recipe_file.load(FAKE))
    found = costs(run, ["1000", "score=500"])
    assert found["prompts-train"].rows == found["sample"].rows == 192
    most = 192 * 16 * 20
    assert (found["sample"].tokens, found["sample"].bound) == (most, True)
    assert found["sample"].seconds == most / 1000
    assert found["score"].seconds == most / 500
    assert found["dpo-multilingual.pair"].rows == 48
    assert found["dpo-monolingual.train"].tokens == 192 * 2 * 20
    assert found["sft-monolingual.train"].tokens == 192 * 20
    assert found["dpo-monolingual.judge"].tokens == 2 * 64 * 8 * 20
    assert not list(tmp_path.iterdir())


def test_what_was_measured_is_believed_and_what_is_done_costs_nothing(tmp_path):
    run = Run(tmp_path, recipe_file.load(FAKE, ["shards=4"]))
    run.store.open()
    run.save()
    stages = pipeline.build(run.recipe)
    wanted = ("prompts-train", "sample", "score")
    load(run.recipe.executor, lambda *_: None).run(run, {name: stages[name] for name in wanted})
    made = sum(
        len(ids) for row in run.store.artifact(stages["sample"]).rows() for ids in row.token_ids
    )
    found = costs(run)
    assert round(found["sample"].tokens) == made
    assert not found["sample"].bound
    assert found["sample"].seconds == found["score"].seconds == 0
    other = Run(tmp_path, recipe_file.load(FAKE, ["shards=4", "seed=7"]))
    again = costs(other)
    assert round(again["sample"].tokens) == made
    assert again["sample"].seconds > 0
    assert again["sample"].bytes > 0
    run.store.artifact(stages["sample"]).path(0).unlink()
    assert 0 < costs(run)["sample"].seconds < again["sample"].seconds


@pytest.mark.parametrize("given", ["fast", "sample=", "sampling=3", "0"])
def test_a_speed_that_is_none_is_refused(given):
    with pytest.raises(RecipeError, match="--tokens-per-second"):
        rates_of([given])


def test_prompts_are_counted_without_reading_them_all(tmp_path):
    path = tmp_path / "prompts.jsonl"
    with path.open("w") as file:
        for lang in ("en", "es", "fr", "de"):  # one language after the other
            for k in range(10_000):
                file.write(json.dumps({"id": f"p{k}", "lang": lang, "prompt": "x" * 20}) + "\n")
    files = [refer_prompts(path.name, tmp_path)]
    assert prompts_in(files, ["en", "es", "fr", "de"], None, None) == pytest.approx(40_000)
    assert prompts_in(files, ["en", "es"], None, None) == pytest.approx(20_000, rel=0.02)
    assert prompts_in(files, ["en", "es"], 50, None) == 100
    assert prompts_in(files, ["en", "ga", "cy"], 50, "en") == 150


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "-"), (0, "0"), (12, "12"), (1234, "1.2k"), (256e6, "256M"), (1.1e12, "1.1T")],
)
def test_numbers_are_short(value, said):
    assert short(value) == said
