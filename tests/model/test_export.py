"""`croco export`: what is taken away is what was tuned, loads elsewhere, and says where it comes from."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
pytest.importorskip("trl")

from croco import cli, engines
from croco.engines import Request
from croco.models import EMBEDDED, ModelRef, resolve
from croco.settings import Resources, Sampling
from croco.training.export import Tuned, export

pytestmark = pytest.mark.model
#: A trainer of the user's that leaves a whole model, as a full fine-tune does.
WHOLE = """
import transformers

def train(job, place):
    model = transformers.AutoModelForCausalLM.from_pretrained(job.policy.location)
    model.model.norm.weight.data += 1
    model.save_pretrained(place.out)
    transformers.AutoTokenizer.from_pretrained(job.policy.location).save_pretrained(place.out)
    return []
"""
CHATS = [[{"role": "user", "content": text}] for text in ("hello there", "a cat", "w3 w4 w5 rain")]


@pytest.fixture(scope="module")
def home(tiny_policy, tmp_path_factory):
    """A run with an arm that was really trained, one that left a whole model, a fake and an untrained."""
    folder = tmp_path_factory.mktemp("home")
    for name, ids in (("train", "abcdefgh"), ("heldout", "yz")):
        rows = [{"id": id, "lang": "en", "prompt": f"hello {id} w1"} for id in ids]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "whole.py").write_text(WHOLE)
    train = {"batch_size": 4, "epochs": 4, "learning_rate": 0.02, "dtype": "float32"}
    values = {
        "name": "tuned",
        "languages": ["en"],
        "policy": tiny_policy.location,
        "prompts": {"train": ["train.jsonl"], "heldout": ["heldout.jsonl"]},
        "sample": {"n": 4, "max_tokens": 8, "dtype": "float32"},
        "reward": {"kind": "function", "function": "croco.rewards.fake:brevity"},
        "arms": {
            "dpo": {"pair": {"filters": {"cut_off": "off"}}, "train": train},
            "full": {"pair": {"filters": {"cut_off": "off"}}, "train": train | {"lora": None}},
            "own": {"train": {"trainer": "whole:train"}},
            "rounds": {
                "pair": {"filters": {"cut_off": "off"}},
                "train": train | {"trainer": "fake"},
                "rounds": {"count": 2},
            },
            "fake": {"train": {"trainer": "fake"}},
            "later": {"train": train | {"epochs": 5}},
        },
        "evaluate": {"judge": {"kind": "fake"}, "identifier": "fake"},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    for arm in ("dpo", "full", "own", "fake"):
        run(["run", path, "--until", f"{arm}.train", "--home", folder])
    return folder


def run(arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["croco", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert end.value.code == 0


@pytest.fixture
def verb(home, monkeypatch, capsys):
    def call(arm, *arguments):
        monkeypatch.setattr(
            sys,
            "argv",
            ["croco", "export", "tuned", arm, "--home", str(home), *map(str, arguments)],
        )
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return SimpleNamespace(returncode=end.value.code, stdout=said.out, stderr=said.err)

    return call


def exported(verb, arm, out, *more):
    done = verb(arm, "-o", out, *more)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    return out


def greedy(policy, adapter=None):
    sampling = Sampling(n=1, max_tokens=12, dtype="float32")
    engine = engines.load("transformers", policy, sampling, Resources(), adapter)
    requests = [Request(k, chat, [0], 0.0) for k, chat in enumerate(CHATS)]
    replies = [reply for part in engine.generate([requests]) for reply in part]
    return {r.request.key: r.completions[0].token_ids for r in replies}


def log_probabilities(model):
    ids = torch.tensor([[1, 3, 5, 9, 12, 4, 20, 21, 22]])
    with torch.inference_mode():
        return model.eval()(ids).logits.log_softmax(-1)


def files_of(home, arm):
    return home / "runs" / "tuned" / f"{arm}.train" / "files"


def test_the_adapter_loads_in_plain_peft_and_is_what_was_tuned(home, verb, tiny_policy, tmp_path):
    out = exported(verb, "dpo", tmp_path / "out")
    kept = files_of(home, "dpo")
    for name in ("adapter_model.safetensors", "tokenizer.json", "chat_template.jinja"):
        assert (out / name).read_bytes() == (kept / name).read_bytes()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (out / name).read_bytes() == Path(tiny_policy.location, name).read_bytes()
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_policy.location)
    before = log_probabilities(base)
    tuned = log_probabilities(peft.PeftModel.from_pretrained(base, str(kept)))
    assert (tuned - before).abs().max() > 0.1
    loaded = peft.AutoPeftModelForCausalLM.from_pretrained(str(out))
    torch.testing.assert_close(log_probabilities(loaded), tuned, atol=1e-6, rtol=0)


def test_merged_weights_are_the_adapter_at_run_time(home, verb, tiny_policy, tmp_path):
    out = exported(verb, "dpo", tmp_path / "out", "--merged")
    names = {path.name for path in out.iterdir()}
    assert "model.safetensors" in names
    assert not names & {"adapter_config.json", "adapter_model.safetensors"}
    kept = files_of(home, "dpo")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (out / name).read_bytes() == (kept / name).read_bytes()
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_policy.location)
    tuned = log_probabilities(peft.PeftModel.from_pretrained(base, str(kept)))
    merged = transformers.AutoModelForCausalLM.from_pretrained(out)
    torch.testing.assert_close(log_probabilities(merged), tuned, atol=1e-4, rtol=0)
    policy = resolve(tiny_policy.location, tmp_path)
    assert greedy(resolve(str(out), tmp_path)) == greedy(policy, kept) != greedy(policy)


def test_merged_weights_may_have_16_bits(verb, tmp_path):
    from safetensors.torch import load_file

    out = exported(verb, "dpo", tmp_path / "out", "--merged", "--dtype", "bfloat16")
    assert {t.dtype for t in load_file(out / "model.safetensors").values()} == {torch.bfloat16}


@pytest.mark.parametrize("merged", [(), ("--merged",)])
@pytest.mark.parametrize("arm", ["full", "own"])
def test_a_whole_model_is_copied(home, verb, tmp_path, arm, merged):
    out = exported(verb, arm, tmp_path / "out", *merged)
    logs = {"log.jsonl", "data.json"}
    names = {path.name for path in files_of(home, arm).iterdir()} - logs
    assert {"model.safetensors", "chat_template.jinja"} <= names
    assert {path.name for path in out.iterdir()} == names | {"README.md", "croco.json"}
    for name in names:
        assert (out / name).read_bytes() == (files_of(home, arm) / name).read_bytes()
    assert json.loads((out / "croco.json").read_text())["form"] == "model"
    transformers.AutoModelForCausalLM.from_pretrained(out)


def test_where_it_comes_from_is_written_down(home, verb, tiny_policy, tmp_path):
    out = exported(verb, "dpo", tmp_path / "out")
    record = json.loads((out / "croco.json").read_text())
    stage = json.loads((files_of(home, "dpo").parent / "stage.json").read_text())
    assert (record["run"], record["arm"], record["form"]) == ("tuned", "dpo", "adapter")
    assert record["identity"] == files_of(home, "dpo").resolve().parent.name
    assert record["stage"] == stage["recipe"]
    assert record["trained_by"]["packages"]["trl"]
    assert record["recipe"]["arms"]["dpo"]["train"]["learning_rate"] == 0.02
    assert set(record["files"]) == {p.name for p in out.iterdir()} - {"croco.json", "README.md"}
    card = (out / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front == {"library_name": "peft", "language": ["en"], "tags": ["croco"]}
    assert "AutoPeftModelForCausalLM.from_pretrained" in card
    assert tiny_policy.location in card
    assert "--merged" in card  # the base is a folder, so how to go elsewhere is said


def test_an_existing_folder_is_refused_unless_it_is_the_same(verb, tmp_path):
    out = exported(verb, "dpo", tmp_path / "out")
    (out / "README.md").write_text("a better card")
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    again = verb("dpo", "-o", out)
    assert again.returncode == 0
    assert "is this export already" in again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in out.iterdir()}
    for arm, more in (("dpo", ["--merged"]), ("full", [])):
        other = verb(arm, "-o", out, *more)
        assert other.returncode == 2
        assert "exists and is not this export: name a new folder" in other.stderr
    with (out / "tokenizer.json").open("a") as file:
        file.write(" ")
    changed = verb("dpo", "-o", out)
    assert changed.returncode == 2
    assert "was changed since it was exported" in changed.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep me")
    assert verb("dpo", "-o", tmp_path / "mine").returncode == 2
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


REFUSED = {
    "fake": "arm 'fake' was trained by the trainer 'fake', which makes no adapter",
    "rounds": "arm 'rounds' of run 'tuned' is not trained yet",
    "later": "arm 'later' of run 'tuned' is not trained yet",
    "none": "run 'tuned' has no arm 'none': its arms are dpo, fake, full, later, own, rounds",
}


@pytest.mark.parametrize("arm", REFUSED)
def test_what_cannot_be_exported_is_one_sentence(verb, tmp_path, arm):
    for more in ([], ["--merged"]):
        done = verb(arm, "-o", tmp_path / "out", *more)
        assert done.returncode == 2
        assert REFUSED[arm] in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert list(tmp_path.iterdir()) == []


EMBEDDED_HUB = EMBEDDED["smollm2-135m-instruct"]
BASES = {
    "hub": (
        ModelRef(name="org/model", revision="0123abc"),
        ("org/model", "0123abc"),
    ),
    "short": (
        ModelRef(name="smollm2-135m-instruct", revision=EMBEDDED_HUB.revisions[0]),
        (EMBEDDED_HUB.hub, EMBEDDED_HUB.commit),
    ),
}


@pytest.mark.parametrize("case", BASES)
def test_an_adapter_names_a_hub_base_at_its_revision(home, tmp_path, case):
    policy, (name, revision) = BASES[case]
    about = {
        "run": "tuned",
        "arm": "dpo",
        "languages": ["en"],
        "recipe": {"arms": {"dpo": {"train": {"method": "dpo"}}}},
        "versions": {},
    }
    assert export(Tuned(files_of(home, "dpo"), policy, about), tmp_path / "out", False, "float32")
    config = peft.PeftConfig.from_pretrained(str(tmp_path / "out"))
    assert (config.base_model_name_or_path, config.revision) == (name, revision)
    card = (tmp_path / "out" / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["base_model"] == name
    assert f"`{name}` at revision `{revision}`" in card


def test_neither_the_data_files_nor_the_stages_in_between_are_needed(home, verb, tmp_path):
    (home / "train.jsonl").rename(home / "away")
    try:
        exported(verb, "dpo", tmp_path / "out")
    finally:
        (home / "away").rename(home / "train.jsonl")


def test_another_model_in_the_policy_s_place_is_refused(home, verb, tiny_policy, tmp_path):
    config = Path(tiny_policy.location, "config.json")
    kept = config.read_bytes()
    config.write_bytes(kept + b" ")
    try:
        done = verb("dpo", "-o", tmp_path / "out", "--merged")
    finally:
        config.write_bytes(kept)
    assert done.returncode == 2
    assert "is not what the arm was tuned from" in done.stderr


def test_a_killed_export_leaves_no_folder(home, verb, tmp_path, monkeypatch):
    """A full disk, say, in the middle of copying."""

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    done = verb("dpo", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "the disk is full" in done.stderr
    assert list(tmp_path.iterdir()) == []
