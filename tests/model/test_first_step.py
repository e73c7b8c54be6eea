"""Before its first step a policy is its own reference: a margin of 0 and a loss of ln 2, for every kind of
arm; and an adapter on a base in 4 bits is trained in full precision."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
pytest.importorskip("bitsandbytes")

from pipelines import Made
from tuning import examples, policy, run, save_tiny, settings, weights

from croco.settings import Resources
from croco.training import Job, Place, preference
from croco.training.reference import Reference

pytestmark = pytest.mark.model
OWN: dict[str, Any] = {"dtype": "bfloat16", "batch_size": 8, "warmup_share": 0}
TRAIN: dict[str, dict[str, Any]] = {
    "lora": OWN | {"lora": {"dropout": 0, "r": 4}},
    "qlora": OWN | {"lora": {"dropout": 0, "r": 4, "quantized": True}},
    "whole": OWN | {"lora": None},
}
KINDS = [*TRAIN, *(f"{name}-after" for name in TRAIN)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"), 64)


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run with two arms of every kind: from the base, and after SFT of the same kind."""
    arms: dict[str, Any] = {}
    pair = {"rejected": "min", "filters": {"cut_off": "off"}}
    for name, own in TRAIN.items():
        sft = own | {"method": "sft", "learning_rate": 1e-2, "batch_size": 2}
        arms[name] = {"pair": pair, "train": own}
        arms[f"{name}-sft"] = {"pair": pair, "train": sft}
        arms[f"{name}-after"] = {"pair": pair, "train": own, "after": f"{name}-sft"}
    return Made(tmp_path_factory.mktemp("run"), policy(source), arms)


@pytest.mark.parametrize("kind", KINDS)
def test_the_stages_reference_is_the_policy_before_its_first_step(made: Made, kind: str) -> None:
    made.until(f"{kind}.train")
    first = next(made.artifact(f"{kind}.train").rows())
    assert made.artifact(f"{kind}.reference").root.exists()
    assert first.margin == pytest.approx(0, abs=2e-4)
    assert first.loss == pytest.approx(math.log(2), abs=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_reference_on_a_base_in_4_bits_is_the_same_to_the_last_bit(
    source: Path, tmp_path: Path, dtype: str
) -> None:
    """Also after a pass without gradient, which lets some CPUs take another kernel."""
    lora = {"dropout": 0, "quantized": True}
    own = {"lora": lora, "dtype": dtype, "batch_size": 11}
    run(source, tmp_path / "sft", "sft", **own)
    for start in (None, tmp_path / "sft"):
        model = Reference(settings(**own), policy(source), start, Resources(device="cpu"))
        found = zip(examples(), model.log_probs(examples()), strict=True)
        known = [replace(one, reference=nats) for one, nats in found]
        name = start.name if start else "base"
        stored = run(source, tmp_path / f"{name}-stored", rows=known, start=start, **own)
        found_in_training = run(source, tmp_path / f"{name}-own", start=start, **own)
        assert (stored[0].margin, stored[0].loss) == pytest.approx((0, math.log(2)), abs=1e-6)
        assert [s.loss for s in stored] == pytest.approx([s.loss for s in found_in_training])
        assert stored[-1].margin > 0.01


def test_an_adapter_on_a_base_in_4_bits_is_trained_in_float32(source: Path, tmp_path: Path) -> None:
    """In bfloat16 most steps of 5e-6 would be lost, and an adapter to go on with would be rounded."""
    own = {"lora": {"dropout": 0, "quantized": True}, "dtype": "bfloat16", "learning_rate": 5e-6}

    def begun(start: Path | None) -> dict[str, Any]:
        job = Job(settings(**own), policy(source), examples(), (), start, 5)
        where = Place(tmp_path / "none", tmp_path / "nowhere", Resources(device="cpu", threads=1))
        model = preference.tuner(job, examples(), where).model
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        return {n.replace(".default", ""): p.detach().clone() for n, p in named}

    before = begun(None)
    assert {tensor.dtype for tensor in before.values()} == {torch.float32}
    run(source, tmp_path / "out", **own)
    after = weights(tmp_path / "out")
    assert before.keys() == after.keys()
    moved = [(after[name] != before[name]).float().mean() for name in after]
    assert min(moved) > 0.5
    again = begun(tmp_path / "out")
    assert all(torch.equal(again[name], after[name]) for name in after)
