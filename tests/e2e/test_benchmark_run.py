"""The stage `benchmark` as a user runs it, with a stand-in for EuroEval, which is a program of others."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FAKE = Path(__file__).parents[1] / "data" / "fake_euroeval"
ENGLISH = ["scala-en", "wic", "squad", "life-in-the-uk", "mmlu-pro", "ifeval", "multiloko-en"]


@pytest.fixture
def recipe(tmp_path, recipes):
    """Overrides of the fake recipe: a policy in a folder, two languages, EuroEval's stand-in."""
    policy = tmp_path / "policy"
    policy.mkdir()
    (policy / "config.json").write_text('{"architectures": ["FakeForCausalLM"]}')
    python = tmp_path / "euroeval" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{FAKE}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    values = [
        f"policy={policy}",
        "languages=[en, es, ga]",
        "evaluate.benchmark={}",
        f"resources.benchmark.environment.folder={tmp_path / 'euroeval'}",
        f"resources.benchmark.environment.cache={tmp_path / 'data-sets'}",
    ]
    return [recipes / "fake.yaml", *(part for value in values for part in ("--set", value))]


def work(home):
    """Where EuroEval works until the stage is sealed."""
    return next(home.glob("store/benchmark-*/journals/euroeval"))


def test_base_and_arms_are_in_the_summary_and_on_the_page(croco, recipe, tmp_path):
    croco("run", *recipe, check=0)
    report = tmp_path / "runs/fake/report"
    found = json.loads((report / "summary.json").read_text())["benchmark"]
    assert found["models"] == ["base", "dpo-monolingual", "dpo-multilingual", "sft-monolingual"]
    assert set(found["languages"]) == {"en", "es", "average"}
    assert list(found["languages"]["en"]["datasets"]) == ENGLISH
    assert (found["without_sets"], found["missing"]) == (["ga"], [])
    assert found["versions"] == ["17.2.0"]
    delta = found["languages"]["average"]["delta"]["dpo-monolingual"]
    assert delta["ci"][0] > 0
    assert found["languages"]["average"]["mean_rank"]["base"]["rank"] == 4.0
    page = (report / "index.html").read_text()
    assert 'id="benchmark"' in page
    assert '<th scope="row">life-in-the-uk</th>' in page
    assert list(tmp_path.glob("runs/fake/base.benchmark/files/euroeval.log")) or list(
        tmp_path.glob("store/benchmark-*/files/euroeval.log")
    )


def test_nothing_is_written_into_adapters_or_the_policy(croco, recipe, tmp_path):
    croco("run", *recipe, "--until", "dpo-monolingual.benchmark", check=0)
    adapter = next(tmp_path.glob("store/train-*/files"))
    assert [file.name for file in adapter.iterdir()] == ["adapter_config.json"]
    assert [file.name for file in (tmp_path / "policy").iterdir()] == ["config.json"]
    assert not list(tmp_path.glob("store/benchmark-*/journals"))


def test_where_it_runs_is_no_part_of_what_it_is(croco, recipe, tmp_path):
    until = ("--until", "base.benchmark")
    croco("run", *recipe, *until, check=0)
    again = ("--set", "resources.benchmark.device=cuda:3", "--set", "allow_failed=0.5")
    assert "nothing to do" in croco("run", *recipe, *until, *again, check=0).stderr
    done = croco("plan", *recipe, *until, "--set", "evaluate.benchmark.iterations=10", check=0)
    assert "iterations: 3 -> 10" in done.stdout


def test_killed_at_any_moment_it_goes_on_with_what_is_missing(croco, recipe, tmp_path):
    command = [sys.executable, "-m", "croco", "run", *recipe, "--until", "base.benchmark"]
    slow = {"CROCO_HOME": str(tmp_path), "FAKE_EUROEVAL": '{"sleep": 0.3}'}
    process = subprocess.Popen(command, env=os.environ | slow, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while not list(tmp_path.glob("store/benchmark-*/journals/euroeval/calls")):
        time.sleep(0.05)
        assert time.monotonic() < limit
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # the stand-in must be gone with its parent
    calls = (work(tmp_path) / "calls").read_text().split()
    time.sleep(0.7)
    assert (work(tmp_path) / "calls").read_text().split() == calls
    with (work(tmp_path) / "euroeval_benchmark_results.jsonl").open("a") as file:
        file.write('\n{"schema_version": "0.2')
    croco("run", *recipe, "--until", "base.benchmark", check=0)
    results = next(tmp_path.glob("store/benchmark-*/files/euroeval_benchmark_results.jsonl"))
    lines = [json.loads(line) for line in results.read_text().splitlines() if line]
    names = [line["eval_library"]["additional_details"]["dataset"] for line in lines]
    assert len(names) == len(set(names)) == 13
    assert names[: len(calls)] == calls


def test_a_failure_is_one_sentence_and_keeps_what_is_done(croco, recipe, tmp_path):
    fault = {"FAKE_EUROEVAL": '{"after": 2, "exit": 3}'}
    done = croco("run", *recipe, "--until", "base.benchmark", check=1, **fault)
    assert "exit code 3 (CUDA out of memory) after 2 of 13 data sets" in done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    assert (work(tmp_path) / "calls").read_text().split() == ENGLISH[:2]


def test_a_data_set_without_result_is_owed_or_counted_with_its_reason(croco, recipe, tmp_path):
    until, fault = ("--until", "base.benchmark"), {"FAKE_EUROEVAL": '{"skip": ["wic", "squad"]}'}
    done = croco("run", *recipe, *until, check=75, **fault)
    assert "no result on 2 of 13 data sets: wic, squad" in done.stderr
    croco("run", *recipe, "--set", "allow_failed=0.2", check=0, **fault)
    summary = json.loads((tmp_path / "runs/fake/report/summary.json").read_text())
    missing = summary["benchmark"]["missing"]
    assert {(one["dataset"], one["model"]) for one in missing} == {
        (name, model) for name in ("wic", "squad") for model in summary["benchmark"]["models"]
    }
    assert all(one["reason"] for one in missing)
    assert summary["benchmark"]["languages"]["en"]["sets"] == 5


def test_no_result_at_all_is_never_allowed(croco, recipe):
    fault = {"FAKE_EUROEVAL": json.dumps({"skip": [*ENGLISH]})}
    only = ("--set", "evaluate.benchmark.datasets={en: [scala-en, wic]}")
    done = croco(
        "run", *recipe, *only, "--set", "allow_failed=1", "--until", "base.benchmark", **fault
    )
    assert done.returncode == 75
    assert "no result on 2 of 2 data sets" in done.stderr


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["policy=fake"], "EuroEval needs a real model"),
        (["languages=[ga]"], "in none of the recipe's languages"),
        (["evaluate.benchmark={packages: [euroeval]}"], "euroeval==VERSION"),
        (["evaluate.benchmark={extra: [--dataset=wic]}"], "--dataset=wic"),
        (["evaluate.benchmark={datasets: {en: [wic], de: [wic]}}"], "'wic' is named twice"),
    ],
)
def test_a_wrong_recipe_is_told_before_anything_is_done(croco, recipe, tmp_path, values, said):
    more = [part for value in values for part in ("--set", value)]
    done = croco("run", *recipe, *more, check=2)
    assert said in done.stderr
    assert not (tmp_path / "store").exists()


def test_another_version_than_the_pinned_one_is_refused(croco, recipe):
    other = ("--set", "evaluate.benchmark.packages=[euroeval==16.5.0]")
    done = croco("run", *recipe, *other, "--until", "base.benchmark", check=1)
    assert "has EuroEval 17.2.0 and the recipe pins 16.5.0" in done.stderr
