"""Losses, whole models and 4 bits, going on from a tuned policy, and what stops a training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from tuning import examples, policy, run, save_tiny, settings, weights

from croco.errors import EngineError
from croco.models import tuned
from croco.records import Step
from croco.settings import Resources
from croco.training.checkpoints import newest
from croco.training.log import NAME
from croco.training.reference import Reference

pytestmark = pytest.mark.model
LOSSES = {
    "sigmoid": math.log(2),
    "sigmoid_norm": math.log(2),
    "ipo": 25.0,  # (0 - 1 / (2 beta)) squared
    "hinge": 1.0,
    "robust": math.log(2),
    "apo_zero": 1.0,
    "apo_down": 1.0,
    "exo_pair": None,
    "nca_pair": 2 * math.log(2),
    "bco_pair": 2 * math.log(2),
    "sppo_hard": 50.0,
    "discopop": None,
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def alike(one: list[Step], other: list[Step], within: float) -> None:
    assert len(one) == len(other) > 1
    for own, its in zip(one, other, strict=True):
        assert own.loss == pytest.approx(its.loss, abs=within)
        assert own.chosen_logp == pytest.approx(its.chosen_logp, abs=10 * within)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_begins_where_nothing_is_learnt_and_the_margin_grows(
    source: Path, tmp_path: Path, loss: str
) -> None:
    more = {"label_smoothing": 0.1} if loss in ("robust", "exo_pair") else {}
    steps = run(source, tmp_path / "out", loss=loss, epochs=3, batch_size=11, **more)
    if LOSSES[loss] is not None:
        assert steps[0].loss == pytest.approx(LOSSES[loss], rel=1e-4)
    assert steps[0].margin == pytest.approx(0, abs=1e-4)
    assert abs(steps[-1].margin) > 0.05
    # DiscoPOP's loss is not convex around 0: the margin may go either way.
    assert steps[-1].margin > 0 or loss == "discopop"


def test_every_loss_is_tested() -> None:
    from typing import get_args

    from croco.training_settings import Loss

    assert set(get_args(Loss)) == set(LOSSES)


def test_the_sft_term_is_the_mean_over_the_steps_tokens(source: Path, tmp_path: Path) -> None:
    """In micro batches of any size: tokens count alike, whichever pairs share a forward pass."""
    one = {"epochs": 1, "batch_size": 11}
    (sft,) = run(source, tmp_path / "sft", "sft", **one)
    curves = {}
    for micro in (1, 3, 8):
        out = tmp_path / str(micro)
        curves[micro] = run(source, out, micro=micro, sft_weight=0.5, batch_size=11, epochs=2)
        first = curves[micro][0]
        assert first.loss == pytest.approx(math.log(2) + 0.5 * sft.loss, abs=1e-4)
    alike(curves[1], curves[3], 1e-4)
    alike(curves[1], curves[8], 1e-4)


def test_dpo_after_sft_has_the_sft_policy_as_its_reference(source: Path, tmp_path: Path) -> None:
    """The first steps equal those on merged weights; with the base as reference they would not."""
    import peft
    import transformers

    sft, merged = tmp_path / "sft", tmp_path / "merged"
    run(source, sft, "sft", epochs=4)
    base = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, sft).merge_and_unload()
    model.save_pretrained(merged)
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(merged)

    one = {"epochs": 1, "batch_size": 11}
    (after,) = run(source, tmp_path / "after", start=sft, **one)
    (plain,) = run(merged, tmp_path / "plain", **one)
    (base_only,) = run(source, tmp_path / "base", **one)
    assert after.loss == pytest.approx(math.log(2), abs=1e-4)
    assert after.chosen_logp == pytest.approx(plain.chosen_logp, abs=1e-3)
    assert after.rejected_logp == pytest.approx(plain.rejected_logp, abs=1e-3)
    assert abs(after.chosen_logp - base_only.chosen_logp) > 1

    # The reference's own stage says the same of each response.
    def found(where: Path, start: Path | None) -> Any:
        own = Reference(settings(), policy(where), start, Resources(device="cpu", threads=1))
        return torch.tensor(own.log_probs(examples()))

    torch.testing.assert_close(found(source, sft), found(merged, None), atol=1e-3, rtol=0)
    assert (found(source, sft) - found(source, None)).abs().max() > 1
    assert after.chosen_logp == pytest.approx(float(found(source, sft)[:, 0].mean()), abs=1e-3)

    # Training goes on with that one adapter, which is what is saved.
    before, now = weights(sft), weights(tmp_path / "after")
    assert before.keys() == now.keys()
    assert any(not torch.equal(before[name], now[name]) for name in now)


def test_an_adapter_that_does_not_fit_is_refused(source: Path, tmp_path: Path) -> None:
    sft = tmp_path / "sft"
    run(source, sft, "sft", epochs=1)
    other = save_tiny(tmp_path / "other")
    with pytest.raises(EngineError, match="the adapter to go on with is one of"):
        run(other, tmp_path / "a", start=sft)
    with pytest.raises(EngineError, match=r"'r': 16.*'r': 8.*make them the same"):
        run(source, tmp_path / "b", start=sft, lora={"r": 8})
    with pytest.raises(EngineError, match=r"goes on from an adapter: give both arms the same"):
        run(source, tmp_path / "c", start=sft, lora=None)


@pytest.mark.parametrize("method", ["dpo", "sft"])
def test_all_weights_are_tuned_and_the_model_stands_by_itself(
    source: Path, tmp_path: Path, method: str
) -> None:
    import transformers

    out = tmp_path / "out"
    steps = run(source, out, method, lora=None, learning_rate=1e-3, micro=3)
    alike(
        steps, run(source, tmp_path / "one", method, lora=None, learning_rate=1e-3, micro=1), 1e-4
    )
    if method == "dpo":
        assert steps[0].loss == pytest.approx(math.log(2), abs=1e-5)
    assert steps[-1].loss < steps[0].loss
    ref, adapter = tuned(policy(source), out)
    assert (ref.location, adapter) == (str(out), None)
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    base = transformers.AutoModelForCausalLM.from_pretrained(source)
    ids = torch.tensor([[3, 4, 5]])
    assert not torch.allclose(model(ids).logits, base(ids).logits)
    assert (out / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    # And goes on as a whole.
    (more,) = run(source, tmp_path / "on", start=out, lora=None, epochs=1, batch_size=11)
    assert more.loss == pytest.approx(math.log(2), abs=1e-4)


def test_whole_models_in_bfloat16_keep_their_weights_in_float32(
    source: Path, tmp_path: Path
) -> None:
    """At 1e-5 a bfloat16 weight would stay where it is."""
    out = tmp_path / "out"
    run(source, out, lora=None, dtype="bfloat16", learning_rate=1e-5, epochs=1)
    now, before = weights(out, "model.safetensors"), weights(source, "model.safetensors")
    moved = [(now[name] != before[name]).float().mean() for name in now]
    assert all(tensor.dtype == torch.float32 for tensor in now.values())
    assert min(moved) > 0.3


def test_a_base_in_four_bits(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    source = save_tiny(tmp_path / "tiny", 64)
    steps = run(source, tmp_path / "out", lora={"dropout": 0, "quantized": True}, epochs=4)
    assert steps[0].loss == pytest.approx(math.log(2), abs=0.05)
    assert steps[-1].margin > 0
    saved = weights(tmp_path / "out")
    assert all("lora_" in name for name in saved)


@pytest.mark.parametrize("method", ["dpo", "sft"])
def test_gradient_checkpointing_changes_nothing(source: Path, tmp_path: Path, method: str) -> None:
    own = {"gradient_checkpointing": True}
    alike(
        run(source, tmp_path / "a", method, learning_rate=1e-3, resources=own),
        run(source, tmp_path / "b", method, learning_rate=1e-3),
        1e-5,
    )


def test_without_padding_sft_is_the_same_and_dpo_refuses(source: Path, tmp_path: Path) -> None:
    own = {"padding_free": True}
    alike(
        run(source, tmp_path / "a", "sft", learning_rate=1e-3, resources=own, micro=4),
        run(source, tmp_path / "b", "sft", learning_rate=1e-3, micro=4),
        1e-4,
    )
    with pytest.raises(EngineError, match="padding_free is for SFT"):
        run(source, tmp_path / "c", resources=own)


def test_a_loss_that_is_no_number_stops_and_names_its_rows(source: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "out", tmp_path / "out-work"
    rows = examples(8)
    with pytest.raises(EngineError) as stopped:
        run(
            source,
            out,
            learning_rate=1e30,
            batch_size=4,
            epochs=4,
            schedule="constant",
            rows=rows,
            max_grad_norm=1e30,
            resources={"checkpoint_every": 1},
        )
    said = str(stopped.value)
    assert "not a finite number" in said or "is not finite" in said
    assert "the last good checkpoint is kept" in said
    if "(on " in said:
        named = said.split("(on ")[1].split(")")[0]
        assert {key.split()[0] for key in named.split(", ")} <= {row.id for row in rows}
    checkpoint = newest(work, work / NAME)
    assert checkpoint is not None
    assert not out.exists()
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    assert state["global_step"] >= 1


def test_a_tracker_that_is_not_here_is_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="pip install trackio"):
        run(source, tmp_path / "out", resources={"trackers": ["trackio"]})
