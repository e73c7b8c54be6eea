"""Training in rounds on a tiny model: where each round starts, and what its reference is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
pytest.importorskip("trl")

from pipelines import TRAIN, Made

from croco.models import ModelRef
from croco.training import Example

pytestmark = pytest.mark.model
PAIR = {"rejected": "min", "filters": {"cut_off": "off"}}
HOT = {"n": 6, "max_tokens": 24, "temperature": 3.0, "dtype": "float32"}


def arm(reference: str, **changes: Any) -> dict[str, Any]:
    rounds = {"count": 2, "reference": reference}
    return {"pair": PAIR, "rounds": rounds, "train": TRAIN | changes}


@pytest.fixture(scope="module")
def made(tiny_policy: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Both references; in the second pair of arms, most responses are cut to max_length."""
    arms = {
        name + cut: arm(name, **more)
        for cut, more in (("", {}), ("-cut", {"max_length": 16}))
        for name in ("fixed", "moved")
    }
    home = tmp_path_factory.mktemp("rounds")
    last = [f"{name}.train-2" for name in arms]
    return Made(home, tiny_policy, arms, sample=HOT).until(*last)


def log_probs(policy: ModelRef, adapter: Path | None, example: Example, most: int) -> list[float]:
    """By transformers and PEFT alone, of both sides within `most` tokens."""
    model = transformers.AutoModelForCausalLM.from_pretrained(policy.location, dtype=torch.float32)
    if adapter:
        model = peft.PeftModel.from_pretrained(model, adapter)
    found = []
    for side in example.sides:
        ids = torch.tensor([(example.prompt_ids + side)[:most]])
        start = len(example.prompt_ids)
        with torch.no_grad():
            known = model(ids).logits[0, start - 1 : -1].log_softmax(-1)
        found.append(float(known.gather(1, ids[0, start:, None]).sum()))
    return found


@pytest.mark.parametrize("cut", ["", "-cut"])
def test_the_reference_is_the_first_policy_or_the_last_rounds(
    made: Made, tiny_policy: ModelRef, cut: str
) -> None:
    from croco.examples import examples_of

    for name in ("fixed", "moved"):
        own = f"{name}{cut}"
        inputs = (f"{own}.pair-2", f"{own}.sample-2", f"{own}.reference-2")
        examples = examples_of(*map(made.artifact, inputs), "dpo")
        first = made.artifact(f"{own}.train-1").files
        for example in [one for one in examples if one.reference][:4]:
            given = log_probs(
                tiny_policy, None if name == "fixed" else first, example, 16 if cut else 999
            )
            assert list(example.reference) == pytest.approx(given, abs=2e-3)
    if cut:
        assert any(one.tokens > 2 * 16 for one in examples)


@pytest.mark.parametrize("cut", ["", "-cut"])
def test_the_second_round_goes_on_from_the_first(made: Made, cut: str) -> None:
    """A moved reference begins at ln 2; under a fixed one the first round's margin is there."""
    moved = next(made.artifact(f"moved{cut}.train-2").rows())
    assert moved.loss == pytest.approx(math.log(2), abs=1e-4)
    assert moved.margin == pytest.approx(0, abs=1e-3)
    fixed = next(made.artifact(f"fixed{cut}.train-2").rows())
    assert abs(fixed.margin) > 0.02
    assert fixed.chosen_logp == pytest.approx(
        moved.chosen_logp, abs=1e-3
    )  # the same policy and pairs


def test_the_second_round_samples_from_the_first_rounds_policy(
    made: Made, tiny_policy: ModelRef
) -> None:
    from croco import engines
    from croco.engines import Request
    from croco.settings import Resources, Sampling
    from croco.stage import seed_of

    adapter = made.artifact("fixed.train-1").files
    sampling = Sampling(**HOT)
    for row in list(made.rows("fixed.sample-2").values())[:2]:
        chat = made.rows("prompts-train")[row.key].chat
        seed = seed_of(42, "round", 2)
        seeds = [seed_of(seed, *row.key, k) for k in range(6)]
        engine = engines.load("transformers", tiny_policy, sampling, Resources(), adapter)
        (reply,) = next(engine.generate([[Request(row.key, chat, seeds, 3.0)]]))
        assert [one.token_ids for one in reply.completions] == row.token_ids
