"""The real EuroEval: installed as the stage installs it, its command run as far as no network allows.

Installing takes minutes and gigabytes, so it is asked for: CROCO_TEST_EUROEVAL names a folder for the
environment, which is made there if it is missing (`make test-euroeval`).
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from croco import models
from croco.benchmark_settings import EUROEVAL
from croco.errors import EngineError
from croco.euroeval import PAPER, command, prepared, read_results, stand_in, surroundings
from croco.settings import Environment

FOLDER = os.environ.get("CROCO_TEST_EUROEVAL")
pytestmark = pytest.mark.skipif(not FOLDER, reason="CROCO_TEST_EUROEVAL names no folder")
#: EuroEval's dependency asks its home for prices otherwise.
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
NAMES = """
import json
from euroeval import dataset_configs
from euroeval.data_models import DatasetConfig
print(json.dumps([c.name for c in vars(dataset_configs).values() if isinstance(c, DatasetConfig)]))
"""
WRITE = """
from pathlib import Path
from euroeval.data_models import BenchmarkResult
BenchmarkResult(
    dataset="wic", model="/model", task="word-in-context", languages=["en"], generative=True,
    generative_type="instruction_tuned", few_shot=True, validation_split=False, merge=False,
    num_model_parameters=1, max_sequence_length=1, vocabulary_size=1,
    results={
        "raw": [
            {"mcc": 0.1, "failed_instances": []},
            {"mcc": -0.2, "failed_instances": [{"sample_index": 1, "error": "no label"}]},
        ],
        "total": {"test_mcc": -5.0, "test_mcc_se": 29.4, "num_failed_instances": 1.0},
    },
).append_to_results(Path("results.jsonl"))
"""


@pytest.fixture(scope="module")
def python():
    # Without vLLM, whose CUDA has no use here.
    return prepared([f"euroeval=={EUROEVAL}"], Environment(folder=FOLDER), print)


def run(line, cwd):
    done = subprocess.run(
        [str(part) for part in line],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=500,
        env=os.environ | surroundings("cpu") | QUIET,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_it_knows_every_data_set_of_the_paper(python, tmp_path):
    known = set(json.loads(run([python, "-c", NAMES], tmp_path).splitlines()[-1]))
    assert {name for own in PAPER.values() for name in own} <= known
    assert "tidyqa-fi" not in known


def test_its_own_lines_are_read(python, tmp_path):
    run([python, "-c", WRITE], tmp_path)
    (result,), dropped = read_results(tmp_path / "results.jsonl")
    assert dropped == []
    assert (result.dataset, result.metric, result.version) == ("wic", "mcc", EUROEVAL)
    assert (result.scores, result.radius, result.failed) == ([10.0, -20.0], pytest.approx(29.4), 1)


@pytest.mark.parametrize("tuned", [False, True])
def test_it_takes_a_model_and_an_adapter_on_a_base_in_a_folder(python, tmp_path, tuned):
    try:
        base = models.fetch(models.resolve("smollm2-135m-instruct", Path()))
    except EngineError as error:
        pytest.skip(str(error))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "org/none"}'
    )
    model = stand_in(base, adapter if tuned else None, tmp_path / "model")
    line = command(python, model, ["wic"], 3, "test", tmp_path / "cache", "cpu", 0.5, ["--verbose"])
    said = run(line, tmp_path)
    assert "was identified by the VLLMModel" in said
    assert ("identified as an adapter model" in said) == tuned
    assert "Offline benchmarking" not in said
    assert "Loading the model" in said
