"""Training as a library."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from tuning import save_tiny

from croco.errors import DataError, RecipeError
from croco.settings import Resources
from croco.training import train_dpo

pytestmark = pytest.mark.model
ROWS = [{"prompt": f"w{n} w3", "chosen": f"w{n + 5} w7", "rejected": f"w{n + 9}"} for n in range(8)]
CPU = Resources(device="cpu", threads=1)
OWN = {"dtype": "float32", "batch_size": 4, "learning_rate": 1e-2, "epochs": 2}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def test_rows_or_a_file_give_an_adapter_that_loads(source: Path, tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM

    steps = train_dpo(source, ROWS, tmp_path / "rows", resources=CPU, **OWN)
    assert steps[0].loss == pytest.approx(math.log(2), abs=1e-5)
    assert steps[-1].loss < steps[0].loss
    file = tmp_path / "pairs.jsonl"
    rows = [{"id": str(k), "lang": "en"} | row for k, row in enumerate(ROWS)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert train_dpo(source, file, tmp_path / "file", resources=CPU, **OWN) == steps
    model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "rows")
    assert model(torch.tensor([[3, 4]])).logits.shape[-1] == 60
    assert not (tmp_path / "rows.work").exists()


def test_the_texts_are_read_with_the_policys_template(source: Path, tmp_path: Path) -> None:
    from croco.models import resolve
    from croco.training.standalone import _examples, _preferences

    ref = resolve(str(source), Path())
    first = _examples(ref, _preferences(ROWS[:1]), "dpo")[0]
    assert first.prompt_ids == [0, 3]  # w0 is no word of this model
    assert first.chosen_ids == [5, 7, 1]  # with the end of turn
    assert first.rejected_ids == [9, 1]


def test_two_forms_of_one_text_are_no_pair(source: Path) -> None:
    from croco.models import resolve
    from croco.training.lengths import fit
    from croco.training.standalone import _examples, _preferences

    forms = {"prompt": "w3", "chosen": "w5 caf\u00e9", "rejected": "w5\u200b cafe\u0301\n"}
    fitted = fit(_examples(resolve(str(source), Path()), _preferences([forms, *ROWS]), "dpo"), 64)
    assert len(fitted.examples) == len(ROWS)
    assert fitted.dropped == [("0", "und", "its responses are the same text")]
    for name in ("prompt", "chosen", "rejected"):
        with pytest.raises(DataError, match=name):
            _preferences([{**ROWS[0], name: "\u200b\ufeff"}])


def test_it_goes_on_after_a_stop_and_refuses_what_is_not_the_same(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    resources = CPU.model_copy(update={"checkpoint_every": 1})

    def stop(done: int, total: int, text: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_dpo(source, ROWS, out, resources=resources, progress=stop, **OWN)
    with pytest.raises(RecipeError, match="holds checkpoints of other pairs or settings"):
        train_dpo(source, ROWS[:6], out, resources=resources, **OWN)
    with pytest.raises(RecipeError, match="holds checkpoints of other pairs or settings"):
        train_dpo(source, ROWS, out, resources=resources, **(OWN | {"beta": 0.2}))
    told: list[int] = []
    elsewhere = resources.model_copy(update={"micro_batch": 3})  # where it runs may change
    train_dpo(
        source, ROWS, out, resources=elsewhere, progress=lambda done, *_: told.append(done), **OWN
    )
    assert told == [3, 4]
    with pytest.raises(RecipeError, match="exists already"):
        train_dpo(source, ROWS, out, resources=resources, **OWN)


def test_mistakes_are_told_before_anything_is_loaded(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RecipeError, match="train_dpo: betta: Extra inputs"):
        train_dpo(source, ROWS, out, betta=1)
    with pytest.raises(DataError, match=r"pairs\[1\] has no 'rejected'"):
        train_dpo(source, [ROWS[0], {"prompt": "a", "chosen": "b"}], out)
    with pytest.raises(RecipeError, match="no short name, directory or hub id"):
        train_dpo("smollm", ROWS, out)
    assert not out.exists()
