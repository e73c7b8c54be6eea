"""Training of a tiny random model: what is trained on, and that only what should matters."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from tuning import EOS, examples, policy, run, save_tiny, weights

from croco.errors import EngineError
from croco.records import Step
from croco.training import Example, Job, Place, preference
from croco.training_settings import TrainConfig

pytestmark = pytest.mark.model
METHODS = pytest.mark.parametrize("method", ["dpo", "sft"])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def trained_on(monkeypatch: pytest.MonkeyPatch, source: Path, out: Path, method: str) -> set[Any]:
    """(input ids, ids under the loss) of every sequence that reaches the model in an epoch."""
    seen: list[Any] = []

    def spy(project: Any) -> Any:
        def patched(model: Any) -> None:
            project(model)
            head = model.forward

            def forward(**kwargs: Any) -> Any:
                seen.append(
                    {k: kwargs[k].clone() for k in ("input_ids", "attention_mask", "labels")}
                )
                return head(**kwargs)

            model.forward = forward

        return patched

    head = preference.project_responses_only
    monkeypatch.setattr(preference, "project_responses_only", spy(head))
    run(source, out, method, micro=3, epochs=1)
    found = set()
    for batch in seen:
        for ids, mask, labels in zip(*batch.values(), strict=True):
            assert set(labels[mask == 0].tolist()) <= {-100}
            assert labels[labels != -100].tolist() == ids[labels != -100].tolist()
            real = ids[mask == 1].tolist()
            found.add((tuple(real), tuple((labels[mask == 1] != -100).tolist())))
    return found


@METHODS
def test_the_stored_ids_are_trained_on_and_the_loss_covers_the_responses(
    monkeypatch: pytest.MonkeyPatch, source: Path, tmp_path: Path, method: str
) -> None:
    wanted = set()
    for example in examples():
        sides = [example.chosen_ids, example.rejected_ids][: 2 if method == "dpo" else 1]
        for side in sides:
            mask = [False] * len(example.prompt_ids) + [True] * len(side)
            wanted.add((tuple(example.prompt_ids + side), tuple(mask)))
    found = trained_on(monkeypatch, source, tmp_path / "out", method)
    assert found == wanted
    cut = tuple(examples()[1].prompt_ids + examples()[1].chosen_ids)
    assert cut[-1] != EOS
    assert cut in {ids for ids, _ in found}
    assert (*cut, EOS) not in {ids for ids, _ in found}


@pytest.mark.parametrize("epochs", [1, 4])
def test_the_first_dpo_loss_is_ln_2(source: Path, tmp_path: Path, epochs: int) -> None:
    steps = run(source, tmp_path / "out", epochs=epochs)
    assert steps[0].loss == pytest.approx(math.log(2), abs=1e-5)
    assert steps[0].margin == pytest.approx(0, abs=1e-4)
    assert len(steps) == 2 * epochs  # 11 examples in steps of 8 and 3
    if epochs > 1:
        assert steps[-1].loss < math.log(2)
        assert steps[-1].margin > 0


@METHODS
def test_the_micro_batch_does_not_change_the_result(
    source: Path, tmp_path: Path, method: str
) -> None:
    """But for the accuracy before anything is learnt, where all margins are 0 and rounding decides."""
    runs = {}
    for micro in (8, 4, 2, 1):
        steps = run(source, tmp_path / str(micro), method, micro)
        runs[micro] = steps, weights(tmp_path / str(micro))
    for steps, adapter in runs.values():
        for step, other in zip(steps, runs[1][0], strict=True):
            for name in set(Step.__slots__) - ({"accuracy"} if step.step == 1 else set()):
                pair = getattr(step, name), getattr(other, name)
                assert pair[0] == pytest.approx(pair[1], abs=1e-4, nan_ok=True), name
        for name, tensor in adapter.items():
            torch.testing.assert_close(tensor, runs[1][1][name], atol=1e-4, rtol=0)


@METHODS
def test_the_first_figures_are_those_of_the_plain_model(
    source: Path, tmp_path: Path, method: str
) -> None:
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    total, tokens = 0.0, 0
    for example in examples():
        ids = torch.tensor([example.prompt_ids + example.chosen_ids])
        with torch.no_grad():
            logs = model(ids).logits.log_softmax(-1)[0, :-1]
        start = len(example.prompt_ids)
        total += float(logs.gather(1, ids[0, 1:, None])[start - 1 :].sum())
        tokens += len(example.chosen_ids)
    (step,) = run(source, tmp_path / "out", method, 4, epochs=1, batch_size=16)
    assert step.chosen_logp == pytest.approx(total / len(examples()), abs=1e-3)
    if method == "sft":
        assert step.loss == pytest.approx(-total / tokens, abs=1e-4)
        assert math.isnan(step.rejected_logp)


@METHODS
def test_equal_seeds_give_equal_bytes(source: Path, tmp_path: Path, method: str) -> None:
    digests = []
    for number, seed in enumerate((5, 5, 6)):
        out = tmp_path / str(number)
        run(source, out, method, seed=seed, lora={"dropout": 0.1})
        digests.append([hashlib.sha256(f.read_bytes()).digest() for f in sorted(out.iterdir())])
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_what_is_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import peft

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    out = tmp_path / "out"
    told: list[tuple[int, int, str]] = []
    steps = run(source, out, told=lambda *word: told.append(word))
    assert capfd.readouterr() == ("", "")
    assert [word[:2] for word in told] == [(n, 4) for n in range(1, 5)]
    assert told[0][2].startswith("loss 0.693, ")
    assert steps[0].learning_rate == pytest.approx(1e-2)
    tokenizer = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert {f.name for f in out.iterdir()} == tokenizer | {
        "adapter_config.json",
        "adapter_model.safetensors",
        "log.jsonl",
        "data.json",
    }
    for name in tokenizer:
        assert (out / name).read_bytes() == (source / name).read_bytes()
    assert list(elsewhere.iterdir()) == []
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(source)
    assert str(tmp_path) not in json.dumps(config)

    import transformers

    base = transformers.AutoModelForCausalLM.from_pretrained(source)
    tuned = peft.PeftModel.from_pretrained(base, str(out))
    saved = weights(out)
    assert set(peft.get_peft_model_state_dict(tuned, save_embedding_layers=False)) == set(saved)
    assert all(tensor.dtype == torch.float32 for tensor in saved.values())
    ids = torch.tensor([examples()[0].prompt_ids])
    with torch.no_grad(), tuned.disable_adapter():
        before = tuned(ids).logits
    assert not torch.allclose(before, tuned(ids).logits)


@METHODS
def test_examples_that_are_too_long_are_cut_or_left_out_and_told(
    source: Path, tmp_path: Path, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(source, tmp_path / "all", method, max_length=11, epochs=1)
    assert caplog.messages == []
    steps = run(source, tmp_path / "cut", method, max_length=8, epochs=1)
    (said,) = caplog.messages
    assert "examples were cut to max_length" in said
    assert steps


def test_nothing_to_train_on_is_refused(source: Path, tmp_path: Path) -> None:
    for found in ([], [Example([2], [], [3])], [Example([2] * 9, [4], [3])]):
        config = TrainConfig(max_length=9)
        with pytest.raises(EngineError, match="no examples to train on"):
            preference.train(Job(config, policy(source), found), Place(tmp_path, tmp_path / "work"))
