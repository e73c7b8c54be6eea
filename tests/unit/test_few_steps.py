"""Trainings of few optimizer steps are told of before they begin, and warm-up never takes all steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from croco import pipeline, recipe_file
from croco.checks import check
from croco.checks.steps import most_steps
from croco.training.schedule import FEW, few, schedule, steps_of, warmup_of

RECIPES = Path(__file__).parents[2] / "recipes"


@given(st.integers(1, 3000), st.floats(0, 1))
def test_warm_up_never_takes_all_steps(steps, share):
    found = warmup_of(steps, share)
    assert 0 <= found < steps
    assert found <= share * steps + 1e-6


def test_warm_up_is_the_share_of_the_steps_rounded_down():
    assert [warmup_of(steps, 0.05) for steps in (1, 2, 19, 20, 39, 40, 300)] == [
        0,
        0,
        0,
        1,
        1,
        2,
        15,
    ]
    assert warmup_of(100, 0.29) == 29
    assert [warmup_of(steps, 1.0) for steps in (1, 2, 10)] == [0, 1, 9]


@given(st.integers(1, 500), st.integers(1, 90), st.floats(0.1, 3.5))
def test_the_steps_are_those_of_the_schedule(count, batch_size, epochs):
    assert steps_of(count, batch_size, epochs) == len(schedule(count, batch_size, epochs, 1))


def test_fewer_than_ten_steps_are_few():
    assert FEW == 10
    assert [bool(few(steps)) for steps in (1, 9, 10, 11)] == [True, True, False, False]


def planned(*overrides):
    return recipe_file.load(RECIPES / "fake.yaml", overrides)


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        ((), [48, 12, 48]),  # 48 prompts in 4 languages, 4 pairs a step
        (("arms.dpo-monolingual.train.batch_size=64",), [3, 12, 48]),
        (("arms.dpo-monolingual.train.epochs=0.25",), [12, 12, 48]),
        (("arms.dpo-monolingual.pair.pairs_per_pool=2",), [96, 12, 48]),
        (("arms.sft-monolingual.pair.pairs_per_pool=2",), [48, 12, 48]),
        (("prompts.train_limit=6",), [6, 2, 6]),
        (("languages=[en, xh]",), [12, 12, 12]),  # one of them has no prompts: an error by itself
        (("languages=[en, es]", "arms.dpo-monolingual.train.heldout_share=0.5"), [12, 12, 24]),
        (("arms.dpo-monolingual.rounds={count: 2}",), [48, 48, 12, 48]),
    ],
)
def test_the_most_steps_are_known_before_anything_runs(overrides, steps):
    recipe = planned(*overrides)
    stages = pipeline.build(recipe).values()
    assert [most_steps(one) for one in stages if one.kind == "train"] == steps
    found = [one for one in check(recipe) if "optimizer step" in one.message]
    assert len(found) == sum(one < FEW for one in steps)
    assert {one.level for one in found} <= {"warning"}


def test_prompts_that_are_translated_count_in_every_language():
    own = "translate={translator: apertium, source: en}"
    stages = pipeline.build(planned("languages=[en, es, xh]", own))
    assert [most_steps(one) for one in stages.values() if one.kind == "train"] == [36, 12, 36]


def test_online_steps_take_pools():
    live = "{online: {every: 2}, train: {batch_size: 8}, pair: {pairs_per_pool: 4}}"
    stages = pipeline.build(planned(f"arms.live={live}", "policy=smollm2-135m-instruct"))
    assert most_steps(stages["live.train"]) == 96


def test_plan_run_and_report_tell_of_few_steps(croco, recipes, tmp_path):
    own = ("--set", "prompts.train_limit=6", "--set", "arms.sft-monolingual.train.batch_size=1")
    for done in (
        croco("plan", recipes / "fake.yaml", *own, check=0),
        croco("run", recipes / "fake.yaml", *own, check=0),
    ):
        said = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
        assert [line.split()[2] for line in said if "optimizer steps" in line] == [
            "'dpo-monolingual.train':",
            "'dpo-multilingual.train':",
        ]
    figures = json.loads((tmp_path / "runs/fake/report/summary.json").read_text())["training"]
    assert {arm: own["steps"] for arm, own in figures.items()} == dict.fromkeys(figures, 8)
    assert all(own["few"] for own in figures.values())
    page = (tmp_path / "runs/fake/report/index.html").read_text()
    assert page.count("8 optimizer steps") >= 3
