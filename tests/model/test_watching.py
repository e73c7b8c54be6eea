"""Looks during training: at held-out pairs and prompts, in files, trackers and alerts."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("trl")

from tuning import examples, run, save_tiny, weights

from croco.training.log import NAME, alerts, looks
from croco.training.watching import repetition

pytestmark = pytest.mark.model
WATCH = {"heldout_share": 0.2, "watch": {"every": 3, "max_tokens": 6, "identifier": "fake"}}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def test_looks_are_taken_before_during_and_after(source: Path, tmp_path: Path) -> None:
    out, held = tmp_path / "out", examples(14)[11:]
    steps = run(source, out, epochs=4, heldout=held, **WATCH)
    found = looks(out / NAME)
    assert [look.step for look in found] == [0, 3, 6, 8]
    assert found[0].margin == pytest.approx(0, abs=1e-5)
    assert all(0 < look.length <= 6 for look in found)
    assert all(0 <= look.fidelity <= 1 for look in found)
    # Held-out pairs are read as training pairs are.
    (first,) = run(source, tmp_path / "held", rows=held, epochs=1, batch_size=16)
    assert found[0].chosen_logp == pytest.approx(first.chosen_logp, abs=1e-3)
    assert found[0].rejected_logp == pytest.approx(first.rejected_logp, abs=1e-3)
    # To look changes nothing.
    assert steps == run(source, tmp_path / "unseen", epochs=4)
    for name, tensor in weights(out).items():
        assert torch.equal(tensor, weights(tmp_path / "unseen")[name])


def test_sft_is_watched_too(source: Path, tmp_path: Path) -> None:
    held = examples(14, "sft")[11:]
    run(source, tmp_path / "out", "sft", rows=examples(11, "sft"), heldout=held, **WATCH)
    last = looks(tmp_path / "out" / NAME)[-1]
    assert last.chosen_logp < 0
    assert math.isnan(last.rejected_logp)
    assert last.length > 0


def test_damage_is_told_and_training_ends_where_that_is_asked_for(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A learning rate that is far too high takes the chosen responses' likelihood away."""
    own = {"learning_rate": 0.1, "epochs": 30, "batch_size": 11, "schedule": "constant"}
    held = examples(11)
    steps = run(source, tmp_path / "on", heldout=held, **own, **WATCH)
    assert len(steps) == 30
    assert any("training, step" in said for said in caplog.messages)
    alerted = [step for step, _ in alerts(tmp_path / "on" / NAME)]
    stop = {"heldout_share": 0.2, "watch": WATCH["watch"] | {"stop": True}}
    stopped = run(source, tmp_path / "off", heldout=held, **own, **stop)
    assert len(stopped) == min(alerted)
    assert (tmp_path / "off" / "adapter_model.safetensors").exists()


def test_a_loss_that_does_not_move_is_told(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(source, tmp_path / "out", learning_rate=1e-9, epochs=25, batch_size=11)
    said = [one for one in caplog.messages if "stands at 0.693" in one]
    assert len(said) == 1


def test_tensorboard_gets_the_curve_if_asked(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "out"
    steps = run(source, out, resources={"trackers": ["tensorboard"]})
    (file,) = (out / "tensorboard").rglob("events*")
    read = EventAccumulator(str(file.parent))
    read.Reload()
    values = [event.value for event in read.Scalars("train/loss")]
    assert values == pytest.approx([step.loss for step in steps], abs=1e-5)


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 0), ("a b", 0), ("a b c d", 0), ("a b c a b c", 0.25), ("a a a a a", 2 / 3)],
)
def test_repetition_is_the_share_of_runs_seen_before(text: str, share: float) -> None:
    assert repetition(text) == pytest.approx(share)


def test_the_templates_end_of_turn_ends_an_answer_here_too(source: Path, tmp_path: Path) -> None:
    """No longer answers where the files name another end token than the template writes."""
    other = tmp_path / "other"
    shutil.copytree(source, other)
    for name in ("config.json", "generation_config.json"):
        values = json.loads((other / name).read_text()) | {"eos_token_id": 0}
        (other / name).write_text(json.dumps(values))
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    tokenizer.eos_token = "<pad>"
    tokenizer.save_pretrained(other)
    own = {"epochs": 1, "heldout": examples(40)[11:]} | WATCH
    own["watch"] = WATCH["watch"] | {"max_tokens": 60}
    lengths = []
    for name, folder in (("as-it-is", source), ("changed", other)):
        run(folder, tmp_path / name, **own)
        lengths.append([look.length for look in looks(tmp_path / name / NAME)])
    # The other token ends one, too, which makes some shorter.
    assert all(changed <= as_it_is for as_it_is, changed in zip(*lengths, strict=True))
