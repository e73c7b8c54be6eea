"""`croco audit`: any reward on any files, what it cannot score, and a run's own audit."""

import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from exits import refused

from croco import cli
from croco.records import Preference, Turn
from croco.reward_settings import RewardConfig
from croco.seen import unseen_by, write_prompts

FAKE = Path(__file__).parents[2] / "recipes" / "fake.yaml"
BUNDLED = "bundled:preferences-test.jsonl"
LENGTH = """
def reward(prompt, response, lang):
    if "castle" in response:
        raise ValueError("no castles")
    return len(response) / 10


def none(prompt, response, lang):
    return float("nan")
"""


def row(k, lang="en", chosen="a longer answer", rejected="short", **more):
    return {
        "id": f"p{k}",
        "lang": lang,
        "prompt": "Why?",
        "chosen": chosen,
        "rejected": rejected,
    } | more


def write(path, rows):
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a reward that pays for length alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "lengths", raising=False)
    (tmp_path / "lengths.py").write_text(LENGTH)
    (tmp_path / "length.yaml").write_text("reward: {kind: function, function: 'lengths:reward'}\n")
    return tmp_path


@pytest.fixture
def verb(folder, monkeypatch, capsys):
    """`croco audit` in this process and folder: the exit code and what was said."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["croco", "audit", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return SimpleNamespace(returncode=end.value.code, stdout=said.out, stderr=said.err)

    return call


def audited(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout, parse_constant=pytest.fail)


def test_a_reward_that_is_the_longer_wins_rule_has_no_lead_over_it(verb):
    found = audited(verb(BUNDLED, "--reward", "length.yaml", "--identifier", "py3langid", "--json"))
    assert list(found["languages"]) == ["de", "en", "es", "fr"]
    for figures in found["languages"].values():
        assert figures["accuracy"] == figures["longer_wins"]
        assert figures["over_longer_wins"]["value"] == 0
        assert (figures["chosen_longer"]["value"], figures["chosen_shorter"]["value"]) == (1.0, 0.0)
        assert figures["length_slope"]["ci"][0] > 0
        assert figures["trust"] != "trust"
    # The wrong-language pairs are those where one answer alone is in the language.
    decided = found["languages"]["es"]["in_language_decides"]
    assert decided["n"] >= 5
    assert decided["rule"] > 0.8


def test_the_table_says_which_languages_to_trust(verb):
    done = verb(BUNDLED, "--reward", "length.yaml", "--identifier", "py3langid")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert "Accuracy beside two rules" in lines
    assert any(line.startswith("es: do not trust: right in ") for line in lines)
    assert "audit: 192/192" in done.stderr


def test_the_page_and_the_summary_are_written(verb, folder):
    done = verb(BUNDLED, "--reward", "length.yaml", "--identifier", "fake", "--out", "found")
    assert done.returncode == 0, done.stderr
    page = (folder / "found" / "index.html").read_text()
    assert page.count("<svg") == 3
    assert 'id="audit"' in page
    assert "No arm was compared" not in page
    summary = json.loads((folder / "found" / "summary.json").read_text())
    assert summary["languages"]["de"]["n"] == 48
    refused(verb(BUNDLED, "--reward", "length.yaml", "--out", "length.yaml"), "length.yaml")


def test_a_pair_that_cannot_be_scored_is_left_out_by_name_and_the_others_stay(verb, folder):
    rows = [row(k) for k in range(70)] + [row("bad", chosen="a castle")]
    write(folder / "pairs.jsonl", rows)
    done = verb("pairs.jsonl", "--reward", "length.yaml", "--identifier", "fake", "--json")
    found = audited(done)
    assert found["languages"]["en"]["n"] == 70
    assert found["failed"] == [{"id": "pbad", "lang": "en", "error": "ValueError: no castles"}]
    assert "pair 'pbad' (en) is left out: ValueError: no castles" in done.stderr
    assert "1 of 71 pairs could not be scored" in done.stderr


def test_pairs_that_the_reward_was_trained_on_are_left_out_and_counted(verb, folder):
    """By id, by text and by n-grams, in all languages of a prompt."""
    texts = {
        "p0": "Why does it rain so often in the west of Ireland?",
        "p1": "How do I bake a loaf of rye bread?",
        "p2": "What should I see in Lisbon on a cold day in May?",
        "p3": "Which of all these rivers runs through the town?",
    }
    rows = [row(int(id[1:]), prompt=text) for id, text in texts.items()]
    rows.append(row(1, lang="de", prompt="Wie backe ich ein Brot?"))
    write(folder / "pairs.jsonl", rows)
    seen = [
        row(0, prompt="Another question."),
        row(91, prompt="how do I bake a loaf of RYE BREAD"),
        row(92, prompt=f"Tell me at once, please. {texts['p2'].replace('cold', 'warm')} Thanks."),
    ]
    write(folder / "seen.jsonl", seen)
    source = (folder / "lengths.py").read_text()
    (folder / "lengths.py").write_text(f'CROCO_READS = ["seen.jsonl", "length.yaml"]\n{source}')
    found = audited(verb("pairs.jsonl", "--reward", "length.yaml", "--json", "--out", "page"))
    assert found["left_out"] == {
        "pairs": 4,
        "of": 5,
        "by": {"id": 1, "exact": 1, "ngram": 1},
        "known": True,
    }
    assert {lang: own["n"] for lang, own in found["languages"].items()} == {"en": 1}
    assert "4 of 5 pairs are left out" in (folder / "page" / "index.html").read_text()
    write(folder / "pairs.jsonl", rows[:2])
    refused(verb("pairs.jsonl", "--reward", "length.yaml"), "2 of 2 pairs", "pairs.jsonl")


def test_what_a_model_was_trained_on_is_handed_on_to_what_is_trained_from_it(tmp_path):
    base, model = tmp_path / "base", tmp_path / "model"
    pairs = [Preference(id, "en", f"{id}?", "b", "c", before=[Turn("user", "x")]) for id in "abc"]
    for folder, before, own in ((base, tmp_path, pairs[0]), (model, base, pairs[1])):
        folder.mkdir()
        write_prompts(folder, [own], before)
    given = unseen_by(RewardConfig(kind="fake"), model, pairs)
    assert given.kept == pairs[2:]
    assert given.figures == {"pairs": 2, "of": 3, "by": {"id": 2, "exact": 2}, "known": True}
    assert not unseen_by(RewardConfig(kind="fake"), None, pairs).known


def test_files_of_conversations_without_a_language_take_the_one_given(verb, folder):
    turns = [{"role": "user", "content": "Hello"}]
    rows = [
        {"id": f"p{k}", "messages": turns, "chosen": "yes " * k, "rejected": "no"}
        for k in range(1, 4)
    ]
    write(folder / "pairs.jsonl", rows)
    arguments = ["pairs.jsonl", "--reward", "length.yaml", "--identifier", "fake", "--json"]
    assert list(audited(verb(*arguments, "--lang", "da"))["languages"]) == ["da"]
    refused(verb(*arguments), "pairs.jsonl:1", "lang")
    refused(verb(*arguments, "--lang", "no such"), "--lang")


def test_bad_files_are_named_with_their_line(verb, folder):
    arguments = ["--reward", "length.yaml", "--identifier", "fake"]
    write(folder / "bad.jsonl", [row(1), {"id": "p2", "lang": "en", "prompt": "Why?"}])
    refused(verb("bad.jsonl", *arguments), "bad.jsonl:2", "chosen")
    write(folder / "empty.jsonl", [])
    refused(verb("empty.jsonl", *arguments), "nothing to audit")
    refused(verb("missing.jsonl", *arguments), "missing.jsonl")


def test_a_reward_that_scores_nothing_says_so(verb):
    arguments = ["--reward", "length.yaml", "--set", "reward.function=lengths:none"]
    done = verb(BUNDLED, *arguments, "--identifier", "fake")
    assert done.returncode == 1
    assert "no pair could be scored" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        ("nothing", ["no YAML file, no run", "nothing"]),
        ("plain.yaml", ["plain.yaml", "'reward' is missing"]),
        ("typo.yaml", ["typo.yaml", "did you mean 'function'?"]),
        ("trained.yaml", ["trained.yaml", "trained in a run"]),
    ],
)
def test_what_is_no_reward_is_refused(verb, folder, reward, words):
    (folder / "plain.yaml").write_text("kind: fake\n")
    (folder / "typo.yaml").write_text("reward: {kind: fake, functio: a}\n")
    training = {"base": "multilingual-e5-small", "files": [BUNDLED]}
    trained = {"reward": {"kind": "classifier", "train": training}}
    (folder / "trained.yaml").write_text(yaml.safe_dump(trained))
    refused(verb(BUNDLED, "--reward", reward), *words)


def test_set_is_for_files_alone(verb):
    refused(verb(BUNDLED, "--reward", "org/model", "--set", "reward.kind=fake"), "--set")


def test_a_recipe_whose_reward_is_not_trained_yet_says_how(verb):
    done = verb(BUNDLED, "--reward", FAKE.with_name("quickstart.yaml"))
    refused(done, "not trained yet", "--until reward")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A fake run until its audit, and one whose audit has no file."""
    home = tmp_path_factory.mktemp("home")
    for more in ([], ["--set", "evaluate.audit=[]", "--set", "name=bare"]):
        command = [sys.executable, "-m", "croco", "run", str(FAKE), "--home", str(home), *more]
        subprocess.run(command, check=True, capture_output=True)
    return home


def test_a_run_and_its_recipe_give_the_run_s_own_figures(verb, finished):
    summary = json.loads((finished / "runs/fake/report/summary.json").read_text())["audit"]
    for reward in ("fake", FAKE):
        found = audited(verb(BUNDLED, "--reward", reward, "--home", finished, "--json"))
        assert found["identifier"] == "fake"
        for lang, figures in found["languages"].items():
            pools, own = summary[lang]["pools"], dict(summary[lang])
            del own["pools"], own["remarks"]
            assert own == {key: figures[key] for key in own}
            assert pools["prompts"] == (0 if lang == "en" else 48)


def test_the_report_shows_the_audit_and_the_agreement_of_pools(finished):
    page = (finished / "runs/fake/report/index.html").read_text()
    assert 'href="#audit"' in page
    assert 'id="reward"' in page
    assert "Own answers beside English" in page


def test_a_run_without_audit_files_says_that_nothing_was_judged(finished):
    folder = finished / "runs/bare/report"
    page = (folder / "index.html").read_text()
    assert "The reward was not audited: there are no pairs to judge." in page
    summary = json.loads((folder / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary["audit"]["de"]["trust"] == "too few pairs to tell"
    rho = summary["audit"]["de"]["pools"]["means"]["value"]
    assert math.isfinite(rho)
