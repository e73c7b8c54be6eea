"""The quickstart's recipe, made small, on the real models: SmolLM2 and multilingual-e5-small.

It skips only where neither the model hub nor PyPI can be reached and nothing is cached.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("trl")

from croco import models
from croco.errors import EngineError

pytestmark = pytest.mark.model

RECIPE = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"
SMALL = [
    "languages=[en, es]",
    "prompts.train_limit=3",
    "prompts.heldout_limit=2",
    "sample.n=4",
    "sample.max_tokens=12",
    "evaluate.n=2",
    "reward.parts.quality.train.epochs=1",
    "arms.dpo-monolingual.train.epochs=1",
    "arms.sft-monolingual.train.epochs=1",
    "resources.sample.batch_size=2",
]


def command(home):
    overrides = [part for value in SMALL for part in ("--set", value)]
    return [sys.executable, "-m", "croco", "run", str(RECIPE), "--home", str(home), *overrides]


def sealed(home):
    """Every sealed shard and adapter, byte for byte."""
    found = [*home.glob("store/*/shard-*"), *home.glob("store/*/files/*.safetensors")]
    return {str(path.relative_to(home)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An undisturbed run, with the models fetched before."""
    try:
        for name in ("smollm2-135m-instruct", "multilingual-e5-small"):
            models.fetch(models.resolve(name, Path()))
    except EngineError as error:
        pytest.skip(str(error))
    home = tmp_path_factory.mktemp("real")
    done = subprocess.run(command(home), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return home


def rows(home, stage):
    from croco import pipeline
    from croco.runs import Run

    run = Run.load(home, "quickstart")
    return list(run.store.artifact(pipeline.build(run.recipe)[stage]).rows())


def test_answers_are_stored_as_they_were_sampled(finished):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        models.fetch(models.resolve("smollm2-135m-instruct", Path()))
    )
    for row in rows(finished, "sample"):
        assert row.prompt_ids[0] == tokenizer.bos_token_id
        assert row.prompt_ids[1] != tokenizer.bos_token_id
        for text, ids, reason in zip(row.texts, row.token_ids, row.finish_reasons, strict=True):
            assert tokenizer.decode(ids, skip_special_tokens=True) == text
            assert (ids[-1] == tokenizer.eos_token_id) == (reason == "stop")
            assert len(ids) <= 12


def test_both_arms_trained_and_were_compared_in_every_language(finished):
    summary = json.loads((finished / "runs/quickstart/report/summary.json").read_text())
    assert set(summary["arms"]) == {"dpo-monolingual", "sft-monolingual"}
    for languages in summary["arms"].values():
        assert set(languages) == {"en", "es", "average"}
    assert rows(finished, "dpo-monolingual.train")[0].loss == pytest.approx(0.693, abs=0.01)
    assert all(summary["audit"][lang]["n"] >= 40 for lang in ("en", "es", "fr", "de"))


def test_the_adapter_loads_in_plain_peft(finished):
    from peft import AutoPeftModelForCausalLM

    adapter = finished / "runs" / "quickstart" / "dpo-monolingual.train" / "files"
    model = AutoPeftModelForCausalLM.from_pretrained(adapter)
    assert any("lora" in name for name, _ in model.named_parameters())


def test_a_second_run_does_nothing_in_under_3_seconds(finished):
    start = time.monotonic()
    done = subprocess.run(command(finished), capture_output=True, text=True, check=True)
    assert time.monotonic() - start < 3
    assert "nothing to do" in done.stderr


def test_killed_at_any_moment_the_run_gives_the_same_bytes(finished, tmp_path):
    for seconds in (7, 11, 16):
        process = subprocess.Popen(
            command(tmp_path), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command(tmp_path), capture_output=True, check=True)
    assert sealed(tmp_path) == sealed(finished)
