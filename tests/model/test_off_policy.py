"""Answers by another model: its token ids are never trained on where the tokenizers differ."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("trl")

from pipelines import TRAIN, Made

from croco import models
from croco.errors import StopError
from croco.examples import examples_of, refuse_foreign
from croco.models import ModelRef
from croco.stage import Context, Item
from croco.tokens import end_of_turn, load_tokenizer, prompt_ids

pytestmark = pytest.mark.model
PAIR = {"rejected": "min", "filters": {"cut_off": "off"}}
#: Some answers come to an end, and enough are without special tokens, which bar them from pairs.
HOT = {"n": 32, "max_tokens": 6, "temperature": 3.0, "dtype": "float32"}
ARMS = {"off": {"pair": PAIR, "train": TRAIN, "responses": {"policy": "other"}}}


@pytest.fixture(scope="module")
def other(tiny_policy: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a model `other` of the same words, whose ids and chat template are others."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel

    home = tmp_path_factory.mktemp("off")
    own = load_tokenizer(tiny_policy)
    words = sorted(own.get_vocab(), key=own.get_vocab().__getitem__, reverse=True)
    inner = Tokenizer(WordLevel({word: k for k, word in enumerate(words)}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<end>", unk_token="<unk>", pad_token="<end>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<user>", "<assistant>", "<s>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}<user> {{ m['content'] }} <end> {% endfor %}<assistant>"
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_policy.location)
    end = tokenizer.convert_tokens_to_ids("<end>")
    model.config.eos_token_id = model.generation_config.eos_token_id = end
    with torch.no_grad():  # what it likes to say has other ids as well
        model.get_input_embeddings().weight.copy_(model.get_input_embeddings().weight.flip(0))
    model.save_pretrained(home / "other")
    tokenizer.save_pretrained(home / "other")
    return home


@pytest.fixture(scope="module")
def made(other: Path, tiny_policy: ModelRef) -> Made:
    return Made(other, tiny_policy, ARMS, sample=HOT).until("off.train")


def test_the_answers_are_encoded_by_the_policys_tokenizer(
    made: Made, tiny_policy: ModelRef
) -> None:
    policy = load_tokenizer(tiny_policy)
    writer = load_tokenizer(models.resolve("other", made.run.home))
    end = end_of_turn(policy)
    sampled, encoded = made.rows("off.sample-train"), made.rows("off.encode")
    prompts = made.rows("prompts-train")
    seen = {"stop": 0, "length": 0}
    for key, row in encoded.items():
        assert row.prompt_ids == prompt_ids(policy, prompts[key].chat) != sampled[key].prompt_ids
        for k, ids in enumerate(row.token_ids):
            if not ids:
                continue
            text, reason = sampled[key].texts[k], sampled[key].finish_reasons[k]
            assert policy.decode(ids, skip_special_tokens=True) == text
            assert writer.decode(sampled[key].token_ids[k], skip_special_tokens=True) == text
            assert (ids[-1] == end) is (reason == "stop")
            seen[reason] += 1
    assert min(seen.values()) > 0
    assert sum(seen.values()) == 2 * len(encoded)  # one pair a prompt, and no other answer
    assert sum(row.kept for row in encoded.values()) == 0


def test_reference_and_training_read_the_policys_ids(made: Made, tiny_policy: ModelRef) -> None:
    encoded, pairs = made.rows("off.encode"), made.artifact("off.pair")
    references = made.artifact("off.reference")
    examples = examples_of(pairs, made.artifact("off.encode"), references, "dpo")
    assert len(examples) == len(encoded)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tiny_policy.location, dtype=torch.float32
    )
    for example in examples:
        row = encoded[example.id, example.lang]
        assert example.prompt_ids == row.prompt_ids
        assert example.chosen_ids in row.token_ids
        for ids, known in zip(example.sides, example.reference, strict=True):
            start = len(example.prompt_ids)
            with torch.no_grad():
                logits = model(torch.tensor([example.prompt_ids + ids])).logits[0, start - 1 : -1]
            log_probs = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])
            assert known == pytest.approx(float(log_probs.sum()), abs=1e-3)
    first = next(made.artifact("off.train").rows())
    assert first.loss == pytest.approx(math.log(2), abs=1e-5)
    assert first.chosen_logp == pytest.approx(
        sum(one.reference[0] for one in _first_step(examples, made)) / 4, abs=1e-3
    )


def _first_step(examples, made: Made):
    from croco.training.schedule import schedule

    return [examples[k] for k in schedule(len(examples), 4, 1.0, made.run.recipe.seed)[0]]


def test_ids_of_the_same_tokenizer_stay_as_they_were(tiny_policy: ModelRef, tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_policy.location)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(1.5)
    model.save_pretrained(tmp_path / "other")
    load_tokenizer(tiny_policy).save_pretrained(tmp_path / "other")
    made = Made(tmp_path, tiny_policy, ARMS, sample=HOT).until("off.encode")
    sampled, encoded = made.rows("off.sample-train"), made.rows("off.encode")
    kept = 0
    for key, row in encoded.items():
        assert row.prompt_ids == sampled[key].prompt_ids
        for ids, own in zip(row.token_ids, sampled[key].token_ids, strict=True):
            assert ids in ([], own)
            kept += ids == own
    assert sum(row.kept for row in encoded.values()) == kept == 2 * len(encoded)


def test_ids_that_are_not_the_policys_are_refused(made: Made, tiny_policy: ModelRef) -> None:
    pairs = [pair for row in made.artifact("off.pair").rows() for pair in row.pairs]
    foreign = examples_of(made.artifact("off.pair"), made.artifact("off.sample-train"), None, "dpo")
    with pytest.raises(StopError, match=r"token ids are not those of policy 'tiny'.*reads '"):
        refuse_foreign(tiny_policy, pairs, foreign)
    own = examples_of(made.artifact("off.pair"), made.artifact("off.encode"), None, "dpo")
    refuse_foreign(tiny_policy, pairs, own)
    empty = [dataclasses.replace(one, chosen_ids=[], rejected_ids=[]) for one in own]
    with pytest.raises(StopError, match="are not those of policy"):
        refuse_foreign(tiny_policy, pairs, empty)


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_run_stops_before_it_trains_on_such_ids(
    other: Path, tiny_policy: ModelRef, method: str
) -> None:
    """As where a server said that it has the policy, and has another model."""
    made = Made(other, tiny_policy, {"off": ARMS["off"] | {"train": TRAIN | {"method": method}}})
    stages = dict(made.stages)
    for name in ("off.reference", "off.train"):
        if name in stages:
            inputs = {**stages[name].inputs, "sample": stages["off.sample-train"]}
            stages[name] = dataclasses.replace(stages[name], inputs=inputs)
    made.until("off.pair")
    last = stages["off.reference" if method == "dpo" else "off.train"]
    context_of = {name: made.run.store.artifact(one) for name, one in last.inputs.items()}
    context = Context(context_of, other, last.resources, lambda *_: None, other / "work")
    rows = [Item(row.key, {"pair": row}) for row in context_of["pair"].rows()]
    given = ([rows],) if method == "dpo" else ()
    with pytest.raises(StopError, match="token ids are not those of policy"):
        list(last.function(last.config, context, *given))
