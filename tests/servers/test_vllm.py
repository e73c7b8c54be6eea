"""vLLM in this process: answers, seeds, adapters, a run that is killed, and rewards.

vLLM pins its own torch, so it has an environment of its own: `make test-vllm`.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from lab import QUESTIONS

pytest.importorskip("vllm")

from croco import engines, models, rewards
from croco.engines import Request
from croco.errors import DataError
from croco.records import Candidate, Preference
from croco.reward_settings import RewardConfig, RewardTraining
from croco.settings import Resources, Sampling
from croco.tokens import end_of_turn, load_tokenizer, prompt_ids

pytestmark = pytest.mark.model
SMALL = {"max_sequences": 16, "max_context": 256}
CHATS = [[{"role": "user", "content": text}] for text in QUESTIONS.values()]


@pytest.fixture(scope="module", autouse=True)
def cache_size():
    """A GiB of keys and values is plenty here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        yield


@pytest.fixture(scope="module")
def policy():
    return models.resolve("smollm2-135m-instruct", Path())


@pytest.fixture(scope="module")
def engine(policy):
    sampling = Sampling(
        engine="vllm", n=4, max_tokens=24, dtype="float32", top_p=0.95, stop=["the"]
    )
    return engines.load("vllm", policy, sampling, Resources(**SMALL))


def asked(numbers, temperature=1.0, n=4):
    seeds = [[1000 * k + j for j in range(n)] for k in numbers]
    return [Request(k, CHATS[k], s, temperature) for k, s in zip(numbers, seeds, strict=True)]


def answers(engine, batches):
    replies = [reply for part in engine.generate(batches) for reply in part]
    assert not [reply.error for reply in replies if reply.error]
    return {
        reply.request.key: [
            (c.text, tuple(c.token_ids), c.finish_reason) for c in reply.completions
        ]
        for reply in replies
    }


def test_an_answer_follows_from_its_seed_alone(engine):
    together = answers(engine, [asked(range(6))])
    apart = answers(engine, [asked([k]) for k in (5, 3, 1)])
    assert set(together) == set(range(6))
    assert {k: together[k] for k in apart} == apart
    assert all(len(set(own)) > 1 for own in together.values()), "seeds differ, so answers do"


def test_an_answer_has_its_ids_and_says_how_it_ended(engine, policy):
    tokenizer = load_tokenizer(policy)
    end = end_of_turn(tokenizer)
    found = [one for own in answers(engine, [asked(range(6))]).values() for one in own]
    assert {reason for _, _, reason in found} == {"stop", "length"}
    for text, ids, reason in found:
        assert "the" not in text
        assert len(ids) <= 24
        assert (len(ids) == 24) or reason == "stop"
        rest = tokenizer.decode(ids, skip_special_tokens=True).removeprefix(text)
        assert rest == "" or rest.startswith("the")
        if reason == "stop":
            assert ids[-1] == end or rest.startswith("the")


def test_prompts_are_given_as_the_ids_that_every_stage_sees(engine, policy):
    tokenizer = load_tokenizer(policy)
    (reply,) = next(iter(engine.generate([asked([0])])))
    assert reply.prompt_ids == prompt_ids(tokenizer, CHATS[0])
    assert engine.context_length == 256


def test_a_prompt_too_long_fails_alone(engine):
    long = Request("long", [{"role": "user", "content": "word " * 400}], [1])
    replies = [reply for part in engine.generate([[long, *asked([0])]]) for reply in part]
    errors = {reply.request.key: reply.error for reply in replies}
    assert errors[0] is None
    assert "vLLM refuses the request" in str(errors["long"])


def test_greedy_answers_are_those_of_transformers(engine, policy):
    sampling = Sampling(n=1, max_tokens=24, dtype="float32", stop=["the"])
    other = engines.load("transformers", policy, sampling, Resources())
    here, there = (answers(e, [asked(range(6), 0.0, n=1)]) for e in (engine, other))
    assert {k: own[0][0] for k, own in here.items()} == {k: own[0][0] for k, own in there.items()}


def test_an_adapter_is_put_on_at_run_time(policy, tmp_path):
    """Greedy answers under a LoRA adapter are those of transformers under it, and not the base's."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(models.fetch(policy), dtype=torch.float32)
    torch.manual_seed(0)
    tuned = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    tuned.save_pretrained(tmp_path)
    requests = asked(range(6), 0.0, n=1)
    sampling = {"n": 1, "max_tokens": 16, "dtype": "float32"}
    found = {
        (name, bool(adapter)): answers(
            engines.load(
                name, policy, Sampling(engine=name, **sampling), Resources(**SMALL), adapter
            ),
            [requests],
        )
        for name, adapter in (
            ("vllm", tmp_path),
            ("transformers", tmp_path),
            ("transformers", None),
        )
    }
    assert found["vllm", True] == found["transformers", True]
    assert found["vllm", True] != found["transformers", False]


def served(model, ids, adapter=None):
    """Greedy continuations of some ids in vLLM, and their log-probabilities."""
    import vllm
    from vllm.lora.request import LoRARequest

    lora = {"enable_lora": True, "max_lora_rank": 8} if adapter else {}
    engine = vllm.LLM(
        str(model), dtype="float32", enforce_eager=True, max_model_len=256, max_num_seqs=8, **lora
    )
    outputs = engine.generate(
        [{"prompt_token_ids": row} for row in ids],
        vllm.SamplingParams(temperature=0.0, max_tokens=12, logprobs=0),
        use_tqdm=False,
        lora_request=LoRARequest("adapter", 1, str(adapter)) if adapter else None,
    )
    answers = [one.outputs[0] for one in outputs]
    likely = [
        [found[token].logprob for token, found in zip(one.token_ids, one.logprobs, strict=True)]
        for one in answers
    ]
    return [list(one.token_ids) for one in answers], likely


def test_merged_weights_are_the_adapter_at_run_time(policy, tmp_path):
    """An adapter on the first layers of the policy, exported both ways, in vLLM and in plain PEFT."""
    import torch
    from peft import AutoPeftModelForCausalLM, LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from croco.training.export import Tuned, export

    folder, kept = tmp_path / "base", tmp_path / "kept"
    tokenizer = load_tokenizer(policy)
    base = AutoModelForCausalLM.from_pretrained(
        models.fetch(policy), num_hidden_layers=6, dtype=torch.float32
    )
    for place in (folder, kept):
        tokenizer.save_pretrained(place)
    base.save_pretrained(folder)
    torch.manual_seed(0)
    tuned = get_peft_model(
        base,
        LoraConfig(
            r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"
        ),
    )
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    tuned.save_pretrained(kept)
    arms = {"arms": {"dpo": {"train": {"method": "dpo"}}}}
    about = {"run": "r", "arm": "dpo", "languages": ["en"], "recipe": arms, "versions": {}}
    work = Tuned(kept, models.resolve(str(folder), tmp_path), about)
    for name in ("adapter", "merged"):
        assert export(work, tmp_path / name, name == "merged", "float32")

    ids = [prompt_ids(tokenizer, chat) for chat in CHATS[:3]]
    found = {
        "adapter": served(folder, ids, tmp_path / "adapter"),
        "merged": served(tmp_path / "merged", ids),
    }
    loaded = AutoPeftModelForCausalLM.from_pretrained(str(tmp_path / "adapter")).eval()

    def expected(row, answer):
        with torch.inference_mode():
            logs = loaded(torch.tensor([row + answer])).logits[0].log_softmax(-1)
        return logs[len(row) - 1 : -1].gather(1, torch.tensor(answer)[:, None])[:, 0].tolist()

    for words, likely in found.values():
        assert words == found["merged"][0]
        for row, answer, own in zip(ids, words, likely, strict=True):
            assert own == pytest.approx(expected(row, answer), abs=1e-3)
            with loaded.disable_adapter():
                assert own != pytest.approx(expected(row, answer), abs=0.1)


def sampled(home):
    (path,) = home.glob("runs/served/sample/shard-*.parquet")
    return {row["id"]: row["texts"] for row in pq.read_table(path).to_pylist()}


def test_rows_are_journalled_as_they_finish_and_outlive_a_kill(croco, recipe, tmp_path):
    questions = {f"q{k}": f"Tell me about the number {k}." for k in range(12)}
    sample = {"engine": "vllm", "n": 2, "max_tokens": 32, "dtype": "float32"}
    resources = {"sample": {"batch_size": 12, "max_sequences": 2, "max_context": 128}}
    path = recipe("", questions, sample, resources=resources)
    whole = tmp_path / "whole"
    command = [sys.executable, "-m", "croco", "run", str(path), "--until", "sample"]
    env = os.environ | {"CROCO_HOME": str(tmp_path)}
    child = subprocess.Popen(
        command, cwd=tmp_path, env=env, start_new_session=True, stderr=subprocess.DEVNULL
    )
    journals = lambda: list(tmp_path.glob("store/sample-*/journals/*.jsonl"))  # noqa: E731
    try:
        end = time.monotonic() + 300
        while not any(p.read_bytes().count(b"\n") >= 3 for p in journals()):
            assert child.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    kept = [json.loads(line) for p in journals() for line in p.read_text().splitlines()[:-1]]
    kept = {row["id"]: row["texts"] for line in kept for row in line["rows"]}
    assert 0 < len(kept) < 12, "the engine had one batch of 12 and gave its rows one by one"
    resumed = croco("run", path, "--until", "sample", check=0)
    assert "Traceback" not in resumed.stderr
    croco("run", path, "--until", "sample", "--home", whole, check=0)
    assert kept.items() <= sampled(tmp_path).items()
    assert sampled(tmp_path) == sampled(whole)


def conversations():
    """50 of them, of 1 to 300 words, with repeats of an answer and several turns."""
    words = "rain bread Spain seven blue you it is and never again because window".split()
    draw = random.Random(0)
    found = []
    for k in range(50):
        answer = " ".join(draw.choices(words, k=[1, 5, 20, 80, 300][k % 5]))
        prompt = " ".join(draw.choices(words, k=draw.randint(2, 60)))
        before = [{"role": "system", "content": "Be brief."}] if k % 3 == 0 else []
        found.append(Candidate("en", prompt, answer if k % 10 else "", turns(before)))
    return found


def turns(messages):
    from croco.records import Turn

    return [Turn(**message) for message in messages]


def agree_on_rewards(config, trained=None, count=50):
    """Both scorers give conversations the same rewards, and not all the same one."""
    asked = conversations()[:count]
    resources = Resources(max_context=1024)
    own = rewards.load(RewardConfig(kind="classifier", **config), resources, trained)
    expected = own.score(asked).rewards
    scorer = rewards.load(RewardConfig(kind="vllm", **config), resources, trained)
    found = scorer.score(asked).rewards
    apart = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    print(f"largest difference {apart:.2e} over rewards from {min(found):.2f} to {max(found):.2f}")
    assert apart < 1e-3
    assert max(found) - min(found) > 0.5


def test_rewards_are_those_of_transformers(reward_model):
    agree_on_rewards({"model": str(reward_model), "max_length": 1024})


def test_a_reward_model_trained_by_lora_scores_as_in_transformers(tmp_path):
    pytest.importorskip("trl")
    from croco.training.reward import train_reward

    training = RewardTraining(
        base="smollm2-135m-instruct",
        depth=6,
        lora={"r": 4},
        learning_rate=1e-3,
        batch_size=4,
        epochs=2,
    )
    pairs = [Preference(str(k), "en", f"Say {k}.", f"Here is {k}.", "no") for k in range(8)]
    steps = train_reward(training, pairs, tmp_path / "made", Resources(), lambda *_: None)
    assert steps[-1].loss < steps[0].loss
    agree_on_rewards({"train": training, "max_length": 1024}, tmp_path / "made", 20)


def test_the_templates_end_of_turn_ends_an_answer(policy, engine, tmp_path):
    """The policy with the end token of its base model in all files, as Llama 3's first release had it."""
    folder = tmp_path / "model"
    shutil.copytree(models.fetch(policy), folder)
    for name in ("config.json", "generation_config.json"):
        values = json.loads((folder / name).read_text()) | {"eos_token_id": 0}
        (folder / name).write_text(json.dumps(values))
    tokenizer = load_tokenizer(policy)
    end = end_of_turn(tokenizer)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(0)
    tokenizer.save_pretrained(folder)
    sampling = Sampling(
        engine="vllm", n=4, max_tokens=24, dtype="float32", top_p=0.95, stop=["the"]
    )
    other = engines.load(
        "vllm", models.resolve(str(folder), tmp_path), sampling, Resources(**SMALL)
    )
    found = answers(other, [asked(range(6))])
    assert found == answers(engine, [asked(range(6))])
    ended = [ids for own in found.values() for _, ids, _ in own if end in ids]
    assert ended
    assert all(ids.index(end) == len(ids) - 1 for ids in ended)


def test_weights_that_files_lack_are_refused_before_the_engine_starts(policy, tmp_path):
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM

    config = RewardConfig(kind="vllm", model="smollm2-135m-instruct")
    with pytest.raises(DataError, match=r"score\.weight"):
        rewards.load(config, Resources(**SMALL))
    base = AutoModelForCausalLM.from_pretrained(models.fetch(policy))
    tuned = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    tuned.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    kept = {name: own for name, own in weights.items() if ".3." not in name}
    save_file(kept, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    sampling = Sampling(engine="vllm", dtype="float32")
    with pytest.raises(DataError, match=r"layers\.3\.self_attn\.q_proj\.lora_A"):
        engines.load("vllm", policy, sampling, Resources(**SMALL), tmp_path)
