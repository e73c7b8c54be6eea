"""A training moves weights, in its only step too, or it is an error and never done."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from tuning import examples, run, save_tiny, weights

from croco.errors import EngineError
from croco.training import train_dpo

pytestmark = pytest.mark.model
PAIRS = [
    {"prompt": "w2 w3", "chosen": "w4 w5", "rejected": "w6"},
    {"prompt": "w7", "chosen": "w8", "rejected": "w9 w10"},
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("method", ["dpo", "sft"])
@pytest.mark.parametrize("share", [0.05, 1.0])
@pytest.mark.parametrize("steps", [1, 2])
def test_warm_up_leaves_steps_that_train(
    source: Path, tmp_path: Path, method: str, share: float, steps: int
) -> None:
    own = {"warmup_share": share, "batch_size": 4, "epochs": 1, "learning_rate": 1e-2}
    curve = run(source, tmp_path / "out", method, rows=examples(4 * steps, method), **own)
    rates = [step.learning_rate for step in curve]
    assert len(rates) == steps
    assert max(rates) == pytest.approx(1e-2)
    assert rates.count(0) == (share == 1.0 and steps > 1)
    moved = weights(tmp_path / "out")
    assert all(own.any() for name, own in moved.items() if "lora_B" in name)


@pytest.mark.parametrize(
    "changes",
    [
        {"lora": {"dropout": 0}, "learning_rate": 1e-46},
        {"lora": None, "learning_rate": 1e-30},
        {"lora": None, "learning_rate": 1e-30, "method": "sft"},
        # Weight decay alone moves LoRA's first factors, and the policy stays what it was.
        {"lora": {"dropout": 0}, "learning_rate": 1.0, "weight_decay": 0.5, "max_grad_norm": 1e-46},
    ],
)
def test_a_training_that_changes_no_weight_is_an_error(
    source: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    own = {"epochs": 2} | changes
    method = own.pop("method", "dpo")
    with pytest.raises(EngineError, match="changed no weight in 2 optimizer steps"):
        run(source, tmp_path / "out", method, rows=examples(8, method), **own)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_the_last_step_is_no_training_without_effect(
    source: Path, tmp_path: Path
) -> None:
    """What is compared is the policy before the first step, not where training went on from."""
    every = {"checkpoint_every": 1}
    run(source, tmp_path / "out", resources=every)
    before = weights(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    run(source, tmp_path / "out", resources=every)
    after = weights(tmp_path / "out")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_one_step_on_the_defaults_trains_and_is_remarked_on(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="croco"):
        curve = train_dpo(source, PAIRS, tmp_path / "out", dtype="float32")
    assert [step.learning_rate for step in curve] == [5e-6]
    assert sum("1 optimizer step," in said for said in caplog.messages) == 1
    assert any(own.any() for name, own in weights(tmp_path / "out").items() if "lora_B" in name)
