"""Runs of a tiny random model: arms that go on from each other, shared references, kill and resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch")
pytest.importorskip("trl")

from croco import pipeline
from croco.runs import Run

pytestmark = pytest.mark.model
TRAIN = {
    "learning_rate": 5e-3,
    "batch_size": 3,
    "max_length": 64,
    "dtype": "float32",
    "lora": {"r": 4, "dropout": 0},
}


@pytest.fixture(scope="module")
def recipe(tiny_policy, tmp_path_factory):
    """A recipe file with four arms, for the tiny model."""
    folder = tmp_path_factory.mktemp("recipe")
    pair = {"rejected": "min", "filters": {"cut_off": "off"}}
    dpo = TRAIN | {"method": "dpo", "heldout_share": 0.3}
    watch = {"every": 2, "prompts": 2, "max_tokens": 4, "identifier": "fake"}
    own = {
        "name": "tiny",
        "languages": ["en", "es"],
        "policy": tiny_policy.location,
        "shards": 2,
        "prompts": {
            "train": ["bundled:prompts-train.jsonl"],
            "heldout": ["bundled:prompts-heldout.jsonl"],
            "train_limit": 6,
            "heldout_limit": 2,
        },
        "sample": {"n": 4, "max_tokens": 6, "dtype": "float32"},
        "reward": {"kind": "fake"},
        "arms": {
            "sft": {"pair": pair, "train": TRAIN | {"method": "sft"}},
            "dpo": {"pair": pair, "train": dpo | {"watch": watch}},
            "beta": {"pair": pair, "train": dpo | {"beta": 0.5, "loss": "ipo"}},
            "sft-dpo": {"pair": pair, "after": "sft", "train": dpo},
            "full": {"pair": pair, "train": dpo | {"lora": None}},
        },
        "evaluate": {
            "n": 2,
            "judge": {"kind": "language", "identifier": "fake"},
            "identifier": "fake",
        },
        "resources": {"train": {"checkpoint_every": 1}},
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(own, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    home = tmp_path_factory.mktemp("finished")
    done = subprocess.run(command(recipe, home), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return home


def command(recipe, home, *more):
    return [sys.executable, "-m", "croco", "run", str(recipe), "--home", str(home), *more]


def opened(home):
    run = Run.load(home, "tiny")
    return run, pipeline.build(run.recipe)


def test_arms_share_the_reference_and_one_that_goes_on_has_its_own(finished):
    run, stages = opened(finished)
    references = {
        arm: stages[f"{arm}.reference"].identity for arm in ("dpo", "beta", "sft-dpo", "full")
    }
    assert references["dpo"] == references["beta"]
    assert len(set(references.values())) == 3
    assert "sft.reference" not in stages
    for arm in references:
        pairs = list(run.store.artifact(stages[f"{arm}.pair"]).rows())
        rows = list(run.store.artifact(stages[f"{arm}.reference"]).rows())
        assert [row.key for row in rows] == [row.key for row in pairs]
        for own, its in zip(rows, pairs, strict=True):
            assert len(own.chosen) == len(own.rejected) == len(its.pairs)
            assert all(value < 0 for value in own.chosen + own.rejected)


@pytest.mark.parametrize("arm", ["dpo", "sft-dpo", "full"])
def test_training_begins_at_its_reference(finished, arm):
    run, stages = opened(finished)
    curve = list(run.store.artifact(stages[f"{arm}.train"]).rows())
    assert curve[0].loss == pytest.approx(0.6931, abs=1e-4)
    assert curve[0].margin == pytest.approx(0, abs=1e-3)
    files = run.store.artifact(stages[f"{arm}.train"]).files
    assert (files / ("config.json" if arm == "full" else "adapter_config.json")).exists()


def test_held_out_prompts_are_not_trained_on_in_any_language(finished):
    from croco.examples import examples_of, is_held_out

    run, stages = opened(finished)
    sealed = [run.store.artifact(stages[name]) for name in ("dpo.pair", "sample")]
    every = examples_of(*sealed, None, "dpo")
    held = [one for one in every if is_held_out(one.id, 0.3, 42)]
    assert {one.id for one in held}.isdisjoint(one.id for one in every if one not in held)
    data = json.loads((run.store.artifact(stages["dpo.train"]).files / "data.json").read_text())
    assert 0 < data["heldout"] == len(held)
    assert data["examples"] == len(every) - len(held)


def test_the_report_shows_training_and_its_looks(finished):
    figures = json.loads((finished / "runs" / "tiny" / "report" / "summary.json").read_text())
    training = figures["training"]
    assert set(training) == {"sft", "dpo", "beta", "sft-dpo", "full"}
    assert training["dpo"]["looks"][0]["step"] == 0
    assert training["sft"]["looks"] == []
    page = (finished / "runs" / "tiny" / "report" / "index.html").read_text()
    assert "Trained on" in page
    assert "held out and only" in page


def test_a_run_that_is_killed_while_it_trains_goes_on(recipe, finished, tmp_path):
    # The same store up to training, so that only this is waited for.
    home = tmp_path / "home"
    fast = ["--set", "arms.dpo.train.epochs=8"]
    done = subprocess.run(
        command(recipe, home, "--until", "dpo.reference"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    process = subprocess.Popen(
        command(recipe, home, "--until", "dpo.train", *fast), stderr=subprocess.DEVNULL
    )
    log = None
    for _ in range(600):
        log = next(iter(home.glob("store/train-*/journals/unfinished/log.jsonl")), None)
        if (log and log.read_text().count('"step"') > 5) or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert log is not None
    assert not list(home.glob("store/train-*/shard-*"))
    again = subprocess.run(
        command(recipe, home, "--until", "dpo.train", *fast), capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    other = tmp_path / "other"
    whole = subprocess.run(
        command(recipe, other, "--until", "dpo.train", *fast), capture_output=True, text=True
    )
    assert whole.returncode == 0, whole.stderr
    curves = []
    for place in (home, other):
        run, stages = opened(place)
        artifact = run.store.artifact(stages["dpo.train"])
        assert not artifact.work.exists()
        curves.append(list(artifact.rows()))
    assert len(curves[0]) == len(curves[1]) > 8
    for one, same in zip(*curves, strict=True):
        assert one.loss == pytest.approx(same.loss, abs=1e-5)


def test_an_arm_goes_on_only_from_one_above_it(recipe, tmp_path):
    done = subprocess.run(
        [*command(recipe, tmp_path), "--set", "arms.sft.after=dpo"],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert done.returncode == 2
    assert "'dpo' is no arm above 'sft'" in done.stderr
    assert not list(Path(tmp_path).glob("store/*"))
