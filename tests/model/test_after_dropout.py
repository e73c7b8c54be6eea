"""An arm with `after` is trained with its own dropout, not with that of the arm it goes on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from tuning import policy, run, save_tiny, settings, weights

from croco.training import policy as policies

pytestmark = pytest.mark.model


def dropouts(model: Any) -> set[float]:
    layers = (m for n, m in model.named_modules() if n.endswith("lora_dropout.default"))
    return {getattr(layer, "p", 0.0) for layer in layers}


def test_the_second_arms_dropout_is_its_own(tmp_path: Path) -> None:
    source, sft = save_tiny(tmp_path / "tiny"), tmp_path / "sft"
    run(source, sft, "sft", lora={"dropout": 0.1})
    made = {}
    for share in (0.0, 0.1, 0.5):
        lora = {"dropout": share}
        assert dropouts(policies.load(settings(lora=lora), policy(source), sft, "cpu")) == {share}
        out = tmp_path / str(share)
        run(source, out, start=sft, lora=lora)
        assert json.loads((out / "adapter_config.json").read_text())["lora_dropout"] == share
        made[share] = weights(out)
    for one, other in ((0.0, 0.1), (0.1, 0.5)):
        assert any(not torch.equal(made[one][name], made[other][name]) for name in made[one])
