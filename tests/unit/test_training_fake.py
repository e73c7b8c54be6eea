from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from croco.errors import EngineError
from croco.models import ModelRef
from croco.records import Step
from croco.training import Example, Job, Place, load
from croco.training_settings import TrainConfig

POLICY = ModelRef(name="fake", revision="1")


def examples(count: int) -> list[Example]:
    return [Example([1, n], [2, n], [3, n]) for n in range(count)]


def run(out: Path, count: int = 8, seed: int = 1, method: str = "dpo") -> list[Step]:
    config = TrainConfig.model_validate({"method": method})
    told: list[tuple[int, int, str]] = []
    job = Job(config, POLICY, examples(count), seed=seed)
    steps = load("fake")(job, Place(out, out / "work", progress=lambda *word: told.append(word)))
    assert [done for done, _, _ in told] == [step.step for step in steps]
    assert {total for _, total, _ in told} == {len(steps)}
    return steps


def strength(out: Path) -> float:
    adapter = json.loads((out / "adapter_config.json").read_text())
    assert adapter["croco_fake"] is True
    return float(adapter["strength"])


def test_strength_grows_with_the_examples_and_stays_in_range(tmp_path: Path) -> None:
    found = []
    for count in (1, 8, 1000):
        run(tmp_path / str(count), count)
        found.append(strength(tmp_path / str(count)))
    assert found == sorted(found)
    assert 0 < found[0] < found[1] < found[2] <= 1


def test_equal_inputs_give_equal_curves_and_others_others(tmp_path: Path) -> None:
    assert run(tmp_path / "a") == run(tmp_path / "b")
    assert run(tmp_path / "a") != run(tmp_path / "b", seed=2)
    assert run(tmp_path / "a") != run(tmp_path / "b", count=9)


def test_a_dpo_curve_starts_at_ln_2_and_is_possible(tmp_path: Path) -> None:
    steps = run(tmp_path, 1000)
    assert steps[0].loss == pytest.approx(math.log(2))
    assert steps[-1].loss < steps[0].loss
    assert all(0 <= step.accuracy <= 1 and step.chosen_logp < 0 for step in steps)


def test_an_sft_curve_has_no_rejected(tmp_path: Path) -> None:
    steps = run(tmp_path, method="sft")
    assert all(math.isnan(s.rejected_logp) and math.isnan(s.margin) for s in steps)
    assert steps[-1].loss < steps[0].loss


def test_no_examples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no examples"):
        run(tmp_path, 0)


def test_torch_is_not_loaded() -> None:
    code = "import sys, croco.training.fake, croco.training.preference as p; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
