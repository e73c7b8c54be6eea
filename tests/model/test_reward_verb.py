"""`croco reward train`: a model in a folder, its audit on pairs held out, and a kill in between."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import yaml

pytest.importorskip("torch")
pytest.importorskip("trl")

from croco import cli
from croco.records import Preference, Turn
from croco.training.heldout import split, translations, unseen

pytestmark = pytest.mark.model


def write(path, count=40, langs=("en", "de"), **more):
    rows = [
        {
            "id": f"p{k}",
            "lang": lang,
            "prompt": f"hello w{k} {lang}",
            "chosen": "yes w1",
            "rejected": "no w1",
        }
        | more
        for k in range(count)
        for lang in langs
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def settings(tiny_policy, tmp_path):
    """Writes a file that trains the tiny policy as a reward model by LoRA; gives its path."""

    def make(**train):
        values = {
            "reward": {
                "kind": "classifier",
                "train": {
                    "base": tiny_policy.location,
                    "lora": {"r": 4},
                    "learning_rate": 1e-2,
                    "epochs": 2,
                }
                | train,
            },
            "resources": {"reward": {"device": "cpu"}},
        }
        path = tmp_path / "reward.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    write(tmp_path / "prefs.jsonl")
    return make


@pytest.fixture
def verb(tmp_path, monkeypatch, capsys):
    """`croco reward train` in this process: the exit code and what was said."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["croco", "reward", "train", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return SimpleNamespace(returncode=end.value.code, stdout=said.out, stderr=said.err)

    return call


@pytest.fixture
def audit(verb, monkeypatch, capsys):
    """`croco audit` in this process."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["croco", "audit", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return SimpleNamespace(returncode=end.value.code, stdout=said.out, stderr=said.err)

    return call


def test_a_model_and_its_audit_on_prompts_held_out_by_id(settings, verb, audit, tmp_path):
    command = [settings(), "prefs.jsonl", "-o", "made", "--identifier", "fake", "--json"]
    done = verb(*command)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    held = found["languages"]["en"]["n"]
    assert found["languages"]["de"]["n"] == held > 0  # an id is held out in all its languages
    assert found["languages"]["en"]["accuracy"] == 1.0
    out = tmp_path / "made"
    counts = json.loads((out / "training" / "pairs.json").read_text())
    assert counts == {"given": 80 - 2 * held, "trained": 80 - 2 * held, "left_out": {}}
    assert len((out / "training" / "steps.jsonl").read_text().splitlines()) == 10
    assert json.loads((out / "audit" / "summary.json").read_text()) == found
    assert (out / "audit" / "index.html").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "made",
        "prefs.jsonl",
        "reward.yaml",
    ]
    assert found["left_out"] == {"pairs": 0, "of": 2 * held, "by": {}, "known": True}
    # An audit on its own training pairs is none.
    trained = audit("prefs.jsonl", "--reward", "made", "--identifier", "fake", "--json")
    assert json.loads(trained.stdout)["left_out"]["pairs"] == 80 - 2 * held
    assert json.loads(trained.stdout)["languages"].keys() == {"en", "de"}
    assert f"{80 - 2 * held} of 80 pairs are left out" in trained.stderr
    # Again: nothing is trained, and the audit is the same.
    again = verb(*command)
    assert "made is trained already" in again.stderr
    assert again.stdout == done.stdout
    # Another training does not take its place.
    other = verb(*command, "--set", "reward.train.epochs=1")
    assert other.returncode == 2
    assert "made exists and is not what this would train: name a new folder" in other.stderr


def test_files_may_be_named_to_hold_out(settings, verb, tmp_path):
    write(tmp_path / "held.jsonl", 4, ("fr",))
    done = verb(
        *(settings(languages=["de"]), "prefs.jsonl", "-o", "made", "--heldout", "held.jsonl"),
        *("--identifier", "fake", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert "8 of 80 pairs are not trained on" in done.stderr
    found = json.loads(done.stdout)
    assert list(found["languages"]) == ["fr"]
    counts = json.loads((tmp_path / "made" / "training" / "pairs.json").read_text())
    assert (counts["given"], counts["trained"]) == (72, 36)


BAD = {
    "nothing to train": (
        {},
        ["prefs.jsonl"],
        "key 'reward.train' is missing: say what is to be trained",
    ),
    "no preferences": ({}, [], "there are no preferences: name files with some"),
    "all held out": (
        {},
        ["prefs.jsonl", "--heldout", "prefs.jsonl"],
        "every pair's prompt is held out",
    ),
    "a line that is none": ({}, ["bad.jsonl"], "bad.jsonl:2: field 'rejected' is missing: add it"),
    "no such file": ({}, ["none.jsonl"], "data file 'none.jsonl' cannot be read"),
    "unknown language": (
        {"languages": ["mt"]},
        ["prefs.jsonl"],
        "no preference has the language 'mt' of `languages`",
    ),
    "unknown key": ({"lorra": {}}, ["prefs.jsonl"], "did you mean 'lora'?"),
    "a resource that has no effect": (
        {},
        ["prefs.jsonl", "--set", "resources.reward.processes=2"],
        "resources.reward.processes: reward training has no such thing: remove it",
    ),
    "a file in the way": (
        {},
        ["prefs.jsonl", "-o", "prefs.jsonl"],
        "prefs.jsonl exists and is not",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_one_sentence(case, settings, verb, tmp_path):
    train, arguments, said = BAD[case]
    path = settings(**train)
    if case == "nothing to train":
        path.write_text("reward: {kind: fake}\n")
    row = {"id": "a", "lang": "en", "prompt": "x", "chosen": "y"}
    (tmp_path / "bad.jsonl").write_text(
        json.dumps(row | {"rejected": "z"}) + "\n" + json.dumps(row)
    )
    done = verb(path, "-o", "made", *arguments)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("croco: ")]
    assert said in line
    assert not (tmp_path / "made").exists()


def test_killed_training_goes_on_and_no_half_written_model_is_taken(settings, croco, tmp_path):
    command = ["reward", "train", settings(epochs=40), "prefs.jsonl", "-o", tmp_path / "made"]
    command += ["--identifier", "fake", "--set", "resources.reward.checkpoint_every=1"]
    child = subprocess.Popen(
        [sys.executable, "-m", "croco", *map(str, command)],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 120
        while not list(tmp_path.glob(".made-*/checkpoints/checkpoint-*/whole")):
            assert child.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    assert not (tmp_path / "made").exists()
    (work,) = tmp_path.glob(".made-*")
    half = work / "model"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    for whole in work.glob("checkpoints/checkpoint-*/whole"):
        state = whole.with_name("trainer_state.json")
        values = json.loads(state.read_text())
        values["log_history"][0]["loss"] = 123.0  # a mark of what is gone on from
        state.write_text(json.dumps(values))
    croco(*command[:-1], "resources.reward.checkpoint_every=1000", check=0)
    lines = (tmp_path / "made" / "training" / "steps.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines]
    assert [step["step"] for step in steps] == list(range(1, 201))
    assert steps[0]["loss"] == 123.0
    assert not work.exists()


def test_a_run_trains_its_reward_and_audits_it(settings, croco, tmp_path, tiny_policy):
    values = yaml.safe_load(settings(files=["prefs.jsonl"]).read_text())
    write(tmp_path / "held.jsonl", 30, ("fr",), chosen="yes", rejected="no")
    for name, id in (("train", "a"), ("heldout", "b")):
        row = {"id": id, "lang": "en", "prompt": f"hello {id}"}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    values |= {
        "name": "trained",
        "languages": ["en"],
        "policy": tiny_policy.location,
        "prompts": {"train": ["train.jsonl"], "heldout": ["heldout.jsonl"]},
        "arms": {"dpo": {"train": {"trainer": "fake"}}},
        "evaluate": {"judge": {"kind": "fake"}, "identifier": "fake", "audit": ["held.jsonl"]},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    croco("run", path, "--until", "audit", check=0)
    run = tmp_path / "runs" / "trained"
    assert (run / "reward" / "files" / "training" / "pairs.json").is_file()
    assert not (run / "reward" / "journals").exists()
    assert (run / "audit" / "shard-00000.parquet").is_file()
    # The pairs to audit on have the ids of pairs that it was trained on.
    counts = json.loads((run / "audit" / "files" / "left_out.json").read_text())
    assert (counts["pairs"], counts["of"], counts["by"]["id"]) == (30, 30, 30)
    rows = pq.read_table(run / "audit" / "shard-00000.parquet").num_rows
    assert rows == 0


def test_a_prompts_side_follows_from_its_id_alone():
    rows = [Preference(f"p{k}", lang, "a", "b", "c") for k in range(500) for lang in ("en", "de")]
    train, held = split(rows, 0.2)
    assert 140 < len(held) < 260
    assert not {one.id for one in train} & {one.id for one in held}
    some = split(rows[::2][:100], 0.2)[1]
    assert {one.id for one in some} <= {one.id for one in held}
    assert split(rows, 0.0) == (rows, [])


@pytest.mark.parametrize(
    ("trained", "held"),
    [
        ("q1-en", "q1-es"),
        ("q1", "q1-es"),
        ("en/q1", "es/q1"),
        ("eng_Latn-1", "spa_Latn-1"),
        ("EN9", "es9"),
        ("english.9", "Spanish.9"),
        ("q1-en-GB", "q1-es_mx"),
        ("q1-english", "q1-español"),
    ],
)
def test_translations_under_other_ids_are_found_by_their_stem(trained, held):
    def row(id, lang):
        return Preference(id, lang, "a", "b", "c")

    others = [row("q2-en", "en"), row("q1-es-2", "es"), row("q1-de", "de")]
    assert translations([row(trained, "en")], [row(held, "es")]) == [(held, trained)]
    assert translations(others, [row("x1-es", "es"), row("q1-es", "de")]) == []


def test_the_verb_warns_of_translations_on_the_other_side(settings, verb, tmp_path):
    rows = [json.loads(line) for line in (tmp_path / "prefs.jsonl").read_text().splitlines()]
    for row in rows:
        row["id"] += f"-{row['lang']}"
    path = settings(epochs=0.1)
    (tmp_path / "prefs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = verb(path, "prefs.jsonl", "-o", "made", "--identifier", "fake", "--json")
    assert done.returncode == 0, done.stderr
    pairs = [Preference(row["id"], row["lang"], "a", "b", "c") for row in rows]
    crossing = translations(*split(pairs, 0.1))
    assert crossing
    assert f"{len(crossing)} of " in done.stderr
    assert "by their ids" in done.stderr


def test_training_prompts_that_give_held_out_ones_away_are_not_trained_on():
    held = [Preference("h", "de", "Wie geht's?", "b", "c")]
    same_id = Preference("h", "en", "How are you?", "b", "c")
    same_text = Preference("x", "en", "wie geht's", "b", "c")
    other = Preference("y", "en", "wie geht's", "b", "c", before=[Turn("user", "Hallo")])
    assert unseen([same_id, same_text, other], held) == [other]
