"""With `allow_failed`, a pair is left out and counted where encoding or the reference failed on it."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("trl")

from pipelines import TRAIN, Made
from tuning import WORDS, examples, policy, run, save_tiny

from croco.errors import StageError
from croco.examples import NO_IDS, NO_REFERENCE, taken_of

pytestmark = pytest.mark.model
#: A word on which the policy gives no number, and a prompt that its chat template refuses.
BROKEN, REFUSED = 9, "yes"
PAIR = {"rejected": "min", "filters": {"cut_off": "off", "empty": "off"}}
ARMS = {"dpo": {"pair": PAIR, "train": TRAIN, "responses": {"policy": "other"}}}


def home(folder: Path) -> Path:
    """A home with a model `other` and the policy, which fails on some rows."""
    save_tiny(folder / "other")
    save_tiny(folder / "policy")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "policy")
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.content == '" + REFUSED + "' %}{{ raise_exception('no') }}"
        "{% endif %}{{ m.content }}{{ '</s>' if m.role == 'assistant' }}{% endfor %}"
    )
    tokenizer.save_pretrained(folder / "policy")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "policy")
    with torch.no_grad():
        model.get_input_embeddings().weight[BROKEN] = math.nan
    model.save_pretrained(folder / "policy")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = home(tmp_path_factory.mktemp("failed"))
    sample = {"n": 4, "max_tokens": 4, "dtype": "float32"}
    few = Made(folder, policy(folder / "policy"), ARMS, sample=sample, allow_failed=0.9)
    return few.until("dpo.train")


def test_a_pair_whose_encoding_failed_is_left_out_and_counted(made: Made) -> None:
    pairs, encoded = made.artifact("dpo.pair"), made.artifact("dpo.encode")
    assert [one.id for one in encoded.failed(0)] == ["train-4"]
    for method in ("dpo", "sft"):
        taken = taken_of(pairs, encoded, None, method)
        assert len(taken) == 8
        assert [one.left_out for one in taken if not one.example] == [("train-4", "en", NO_IDS)]


def test_a_pair_whose_reference_failed_is_left_out_and_counted(made: Made) -> None:
    pairs, encoded = made.artifact("dpo.pair"), made.artifact("dpo.encode")
    taken = [one for one in taken_of(pairs, encoded, None, "dpo") if one.example]
    broken = {
        one.key
        for one in taken
        if any(BROKEN in one.example.prompt_ids + side[:-1] for side in one.example.sides)
    }
    assert {one.key for one in made.artifact("dpo.reference").failed(0)} == broken != set()
    data = json.loads((made.artifact("dpo.train").files / "data.json").read_text())
    assert Counter(reason for *_, reason in data["dropped"]) == {
        NO_IDS: 1,
        NO_REFERENCE: len(broken),
    }
    assert data["examples"] == len(taken) - len(broken) > 0
    first = next(made.artifact("dpo.train").rows())
    assert first.loss == pytest.approx(math.log(2), abs=1e-5)


def test_the_report_counts_them() -> None:
    from croco.stages.report import COUNTED

    assert {"encode", "reference"} <= COUNTED


def test_without_any_reference_nothing_is_trained(made: Made) -> None:
    """The policy in training would be its own, whatever the reference was to be."""
    stage = made.stages["dpo.train"]
    inputs = {name: made.run.store.artifact(one) for name, one in stage.inputs.items()}

    class Empty:
        def read(self, shard: int) -> list[object]:
            return []

    from croco.stage import Context

    inputs["reference"] = Empty()  # type: ignore[assignment]
    context = Context(inputs, made.run.home, stage.resources, lambda *_: None)
    with pytest.raises(StageError, match="all examples are left out"):
        stage.function(stage.config, context)


def test_among_known_references_an_unknown_one_is_left_out(tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "tiny")
    rows = [replace(one, reference=(-5.0, -6.0)) for one in examples(8)]
    rows[3] = replace(rows[3], reference=None)
    steps = run(source, tmp_path / "out", rows=rows, heldout=rows[:4])
    data = json.loads((tmp_path / "out" / "data.json").read_text())
    assert (data["examples"], data["heldout"]) == (7, 3)
    assert [key for key, *_ in data["dropped"]] == [rows[3].id]
    assert len(steps) == 2
    assert WORDS == 60
