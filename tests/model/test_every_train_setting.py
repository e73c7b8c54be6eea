"""Every setting of training changes what is trained, or what is logged, on a tiny model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from tuning import examples, run, save_tiny, weights

from croco.training.log import NAME
from croco.training_settings import Lora, TrainConfig, Watch

pytestmark = pytest.mark.model
BASE: dict[str, Any] = {"warmup_share": 0.5, "batch_size": 4, "max_grad_norm": 0.1}
WATCHED = {"watch": {"every": 2, "max_tokens": 4}, "heldout_share": 0.2}
#: A setting -> other values, and what else is set in both trainings.
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "method": ({"method": "sft"}, {}),
    "learning_rate": ({"learning_rate": 2e-2}, {}),
    "epochs": ({"epochs": 1}, {}),
    "batch_size": ({"batch_size": 3}, {}),
    "loss": ({"loss": "ipo"}, {}),
    "beta": ({"beta": 0.5}, {}),
    "sft_weight": ({"sft_weight": 0.5}, {}),
    "label_smoothing": ({"label_smoothing": 0.2}, {"loss": "robust"}),
    "lora.r": ({"lora": {"dropout": 0, "r": 4}}, {}),
    "lora.alpha": ({"lora": {"dropout": 0, "alpha": 4}}, {}),
    "lora.dropout": ({"lora": {"dropout": 0.3}}, {}),
    "lora.targets": ({"lora": {"dropout": 0, "targets": ["q_proj"]}}, {}),
    "warmup_share": ({"warmup_share": 0.2}, {}),
    "schedule": ({"schedule": "linear"}, {}),
    "weight_decay": ({"weight_decay": 0.9}, {}),
    "max_grad_norm": ({"max_grad_norm": 1e-3}, {"weight_decay": 0.0}),
    "max_length": ({"max_length": 8}, {}),
    "dtype": ({"dtype": "bfloat16"}, {}),
    "watch.every": ({"watch": {"every": 3, "max_tokens": 4}}, WATCHED),
    "watch.pairs": ({"watch": {"every": 2, "max_tokens": 4, "pairs": 1}}, WATCHED),
    "watch.prompts": ({"watch": {"every": 2, "max_tokens": 4, "prompts": 1}}, WATCHED),
    "watch.max_tokens": ({"watch": {"every": 2, "max_tokens": 7}}, WATCHED),
}
#: What has tests of its own: tests/model/test_watching.py, test_first_step.py, test_training_run.py.
ELSEWHERE = {"trainer", "lora.quantized", "heldout_share", "watch.identifier", "watch.stop"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def test_every_setting_of_training_is_looked_at() -> None:
    wanted = TrainConfig.model_fields.keys() - {"lora", "watch"}
    wanted |= {f"lora.{name}" for name in Lora.model_fields}
    wanted |= {f"watch.{name}" for name in Watch.model_fields}
    assert wanted == CHANGES.keys() | ELSEWHERE


def trained(source: Path, out: Path, own: dict[str, Any]) -> tuple[dict[str, Any], str, str]:
    """The weights, the curve and the log of a training."""
    own = BASE | own
    method = own.pop("method", "dpo")
    held = examples(4, method) if "watch" in own else ()
    steps = run(source, out, method, rows=examples(11, method), heldout=held, **own)
    return weights(out), str([asdict(step) for step in steps]), (out / NAME).read_text()


@pytest.fixture(scope="module")
def before(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The trainings that others are compared with, each made once."""
    folder = tmp_path_factory.mktemp("before")
    wanted = {repr(both): both for _, both in CHANGES.values()}
    return {
        key: trained(source, folder / str(k), both) for k, (key, both) in enumerate(wanted.items())
    }


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_changes_the_training(
    source: Path, tmp_path: Path, before: dict[str, Any], name: str
) -> None:
    changes, both = CHANGES[name]
    one = before[repr(both)]
    other = trained(source, tmp_path / "other", both | changes)
    if name.startswith("watch"):
        assert one[2] != other[2]
        return
    same = one[0].keys() == other[0].keys() and all(
        torch.equal(one[0][key], other[0][key]) for key in one[0]
    )
    assert not same
