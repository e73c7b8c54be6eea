"""The precision of a reward model is that of its files, or the recipe's; the device decides nothing."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from croco import rewards
from croco.reward_settings import RewardConfig
from croco.settings import Resources

pytestmark = pytest.mark.model


@pytest.fixture(scope="module", params=["bfloat16", "float32"])
def stored(request, tiny_policy, tmp_path_factory):
    """A random reward model stored in a precision, and that precision."""
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_policy.location)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=1,
        pad_token_id=2,
    )
    model = transformers.LlamaForSequenceClassification(config)
    model.to(getattr(torch, request.param)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, request.param


@pytest.mark.parametrize("asked", [None, "float32", "bfloat16"])
def test_weights_are_read_as_stored_or_as_the_recipe_says_on_a_cpu_too(stored, asked):
    folder, precision = stored
    config = RewardConfig(kind="classifier", model=str(folder), dtype=asked)
    scorer = rewards.load(config, Resources(device="cpu"))
    assert scorer.model.dtype == getattr(torch, asked or precision)
    assert scorer.model.score.weight.dtype == scorer.model.dtype


def test_the_recipes_precision_is_in_the_identity(stored):
    folder, _ = stored
    bound = [
        RewardConfig(kind="classifier", model=str(folder), dtype=asked).bound(folder)
        for asked in (None, "float32")
    ]
    assert bound[0].model_dump() != bound[1].model_dump()
