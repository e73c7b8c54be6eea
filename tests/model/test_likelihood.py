"""The loss of sentences by transformers: as a plain computation has it, in whatever batch."""

import json
import math
import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from croco import models
from croco.errors import EngineError
from croco.likelihood import load
from croco.settings import Resources

pytestmark = pytest.mark.model

CPU = Resources(device="cpu")
SHARED = Path(os.environ.get("CROCO_DATA", Path(__file__).parents[3] / "shared" / "data"))
SIB = SHARED / "parallel_sentences" / "sib200"
TEXTS = [
    "hello there",
    "a much longer question about bread and rain and the cat that sat on a mat",
    "hi",
    "yes no",
]
SENTENCES = [
    "Water boils at one hundred degrees at sea level.",
    "L'eau bout à cent degrés au niveau de la mer.",
    "Ice floats.",
    "Eine Woche hat sieben Tage, und die meisten Jahre haben dreihundertfünfundsechzig.",
]


@pytest.fixture(scope="module")
def smollm():
    ref = models.resolve("smollm2-135m-instruct", Path())
    try:
        models.fetch(ref)
    except EngineError as error:
        pytest.skip(str(error))
    return ref


def plain(folder, ids, adapter=None):
    """Negative log-likelihood of ids after the first, as transformers' own loss has it."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter) if adapter else model
    batch = torch.tensor([ids])
    with torch.no_grad():
        return float(model.eval()(input_ids=batch, labels=batch).loss) * (len(ids) - 1)


@pytest.fixture(scope="module")
def adapter(smollm, tmp_path_factory):
    """A LoRA adapter of random numbers, both factors."""
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(models.fetch(smollm), dtype=torch.float32)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    tuned = get_peft_model(model, config)
    for name, own in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(own, std=0.02)
    folder = tmp_path_factory.mktemp("adapter")
    tuned.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(smollm):
    return load("transformers", smollm, "float32", CPU)


def test_a_loss_is_what_transformers_computes(smollm, base):
    folder = models.fetch(smollm)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, found in zip(SENTENCES, base.measure(SENTENCES), strict=True):
        # This model has no BOS of its own: in pretraining a document began after this token.
        ids = [tokenizer.convert_tokens_to_ids("<|endoftext|>"), *tokenizer(text)["input_ids"]]
        assert found.nats == pytest.approx(plain(folder, ids), abs=1e-4)
        assert found.tokens == len(ids) - 1
        assert found.bytes == len(text.encode())


def test_an_adapter_is_put_on(smollm, base, adapter):
    folder = models.fetch(smollm)
    tuned = load("transformers", smollm, "float32", CPU, adapter).measure(SENTENCES)
    ids = [0, *AutoTokenizer.from_pretrained(folder)(SENTENCES[0])["input_ids"]]
    assert tuned[0].nats == pytest.approx(plain(folder, ids, adapter), abs=1e-4)
    apart = [a.nats - b.nats for a, b in zip(tuned, base.measure(SENTENCES), strict=True)]
    assert all(abs(difference) > 0.01 for difference in apart)


def test_the_batch_changes_nothing(smollm, base):
    together = base.measure(SENTENCES)
    alone = [row for text in SENTENCES for row in base.measure([text])]
    few = Resources(device="cpu", batch_tokens=1)
    narrow = load("transformers", smollm, "float32", few).measure(SENTENCES)
    wide = base.measure(SENTENCES * 3)[-len(SENTENCES) :]
    for others in (alone, narrow, wide):
        for one, other in zip(together, others, strict=True):
            assert one.nats == pytest.approx(other.nats, abs=1e-4)


def test_with_a_bos_the_first_word_is_predicted_too(tiny_policy):
    found = load("transformers", tiny_policy, "float32", CPU).measure(TEXTS)
    assert [row.tokens for row in found] == [len(text.split()) for text in TEXTS]
    assert [row.bytes for row in found] == [len(text.encode()) for text in TEXTS]
    ids = AutoTokenizer.from_pretrained(tiny_policy.location)("hello there")["input_ids"]
    assert ids[0] == 1
    assert found[0].nats == pytest.approx(plain(tiny_policy.location, ids), abs=1e-4)


def test_what_cannot_be_read_is_told(tiny_policy, base):
    with pytest.raises(EngineError, match="has 301 tokens and the model reads 256"):
        load("transformers", tiny_policy, "float32", CPU).measure(["hi", "hi " * 300])
    with pytest.raises(EngineError, match="empty"):
        base.measure([""])
    assert base.measure(["a"])[0].bytes == 1


@pytest.mark.skipif(not SIB.exists(), reason="the data is not here")
def test_real_sentences_rank_as_the_model_was_trained(smollm, base):
    """A model of English text: English costs the fewest bits per byte of fifteen languages."""
    bits = {}
    for path in sorted(SIB.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for line, _ in zip(lines, range(6), strict=False)]
        rows = base.measure(texts)
        assert all(math.isfinite(row.nats) for row in rows)
        bits[path.stem] = sum(row.nats / math.log(2) / row.bytes for row in rows) / len(rows)
    assert len(bits) == 15
    english = bits.pop("en")
    assert 0.5 < english < 2.0
    assert all(english + 0.3 < value < 8 for value in bits.values())
