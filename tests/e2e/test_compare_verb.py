"""`croco compare` as a user runs it: files of answers, runs, judges, bad input, and being stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from exits import refused

JUDGE = {
    "judge": {
        "kind": "pairwise",
        "prompt": {
            "engine": "fake-judge",
            "model": "fake",
            "template": "bundled:compare.yaml",
            "temperature": 0.7,
        },
    },
    "identifier": "fake",
}
PROMPTS = {"en": "what is the weather like", "es": "qué es el tiempo que hay"}


@pytest.fixture
def files(tmp_path):
    """Two sides' answers, in English and Spanish; b's are longer and more often in the language."""

    def answer(lang, good, words, id):
        return " ".join(f"{lang if k < good else 'en'}:sol" for k in range(words)) + f" {id}:x"

    rows = {"a": [], "b": []}
    for id in range(12):
        for lang, prompt in PROMPTS.items():
            common = {"id": f"p{id}", "lang": lang, "prompt": f"{prompt} {id}"}
            rows["a"].append({**common, "response": answer(lang, 3, 6, "n"), "model": "old"})
            rows["b"].append({**common, "response": answer(lang, 7 + id % 3, 8 + id % 2, "n")})
    return Files(tmp_path, rows)


class Files:
    def __init__(self, folder, rows):
        self.folder, self.rows = folder, rows
        self.write("judge.yaml", yaml.safe_dump(JUDGE))

    def write(self, name, text):
        (self.folder / name).write_text(text)
        return self.folder / name

    def args(self, *more):
        for side, rows in self.rows.items():
            self.write(f"{side}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        return ["compare", "a.jsonl", "b.jsonl", "--judge", "judge.yaml", *more]


def figures(done):
    return json.loads(done.stdout)["comparisons"]["tuned"]


def test_the_better_side_wins_in_each_language(croco, files):
    found = figures(croco(*files.args("--json"), check=0))
    assert list(found["languages"]) == ["en", "es", "average"]
    spanish = found["languages"]["es"]
    assert spanish["prompts"] == spanish["comparisons"] == 12
    assert spanish["wins"] + spanish["ties"] + spanish["losses"] == 24
    assert spanish["win_rate"]["rate"] > 0.9
    assert spanish["win_rate"]["ci"][0] > 0.5
    # Turned about, the same judge prefers the same answers.
    turned = croco("compare", "b.jsonl", "a.jsonl", "--judge", "judge.yaml", "--json", check=0)
    other = figures(turned)["languages"]["es"]
    assert other["win_rate"]["rate"] == pytest.approx(1 - spanish["win_rate"]["rate"])


def test_a_table_on_stdout_and_the_page_on_stderr(croco, files):
    done = croco(*files.args(), check=0)
    assert "win rate [95 %]" in done.stdout
    assert "average" in done.stdout
    page = Path(done.stderr.splitlines()[-1])
    text = (files.folder / page).read_text()
    assert "Judged comparisons" in text
    assert "p0" in text
    again = croco(*files.args(), check=0)
    assert again.stdout == done.stdout
    assert "judge" not in again.stderr


def test_answers_may_be_several_and_prompts_in_a_file_of_their_own(croco, files):
    asked = [{k: row[k] for k in ("id", "lang", "prompt")} for row in files.rows["a"]]
    files.write("prompts.jsonl", "".join(json.dumps(row) + "\n" for row in asked))
    for rows in files.rows.values():
        for row in rows:
            del row["prompt"]
            row["responses"] = [row.pop("response"), "en:mar"]
    done = croco(*files.args("--json", "--prompts", "prompts.jsonl"), check=0)
    assert figures(done)["languages"]["es"]["comparisons"] == 24
    without = croco(*files.args("--name", "other"))
    refused(without, "a.jsonl:1", "the prompt of ('p0', 'en') is nowhere")


def test_a_reward_may_judge(croco, files):
    judge = {"kind": "function", "function": "croco.rewards.fake:brevity"}
    files.write("judge.yaml", yaml.safe_dump({"judge": judge, "identifier": "fake"}))
    found = figures(croco(*files.args("--json"), check=0))["languages"]["es"]
    assert found["losses"] == 12  # a's answers are shorter
    assert found["flip_rate"] is None


def test_what_only_one_side_has_is_said(croco, files):
    files.rows["b"] = [row for row in files.rows["b"] if (row["id"], row["lang"]) != ("p3", "es")]
    files.rows["a"].append({"id": "p0", "lang": "ga", "prompt": "x", "response": "ga:x"})
    found = figures(croco(*files.args("--json"), check=0))
    assert found["notes"][-2:] == [
        "only base has answers in ga: not compared",
        "1 prompts that only base answered are left out",
    ]
    assert found["languages"]["es"]["prompts"] == 11


FAILING = """
def brevity(*, lang, prompt, response):
    if lang == "es" or prompt.endswith(" 7"):
        raise ValueError("no judgment of this")
    return -float(len(response))
"""


def test_failed_rows_are_counted_and_an_average_names_its_languages(croco, files):
    for rows in files.rows.values():
        rows += [{**row, "lang": "ga"} for row in rows if row["lang"] == "en"]
    files.write("mine.py", FAILING)
    judge = {"kind": "function", "function": "mine:brevity"}
    files.write("judge.yaml", yaml.safe_dump({"judge": judge, "identifier": "fake"}))
    given = files.args("--set", "allow_failed=0.5")
    found = json.loads(croco(*given, "--json", check=0).stdout)
    own = found["comparisons"]["tuned"]
    assert list(own["languages"]) == ["en", "es", "ga", "average"]
    assert found["failed"] == {"tuned.judge": {"en": 1, "es": 12, "ga": 1}}
    spanish, average = own["languages"]["es"], own["languages"]["average"]
    assert (spanish["prompts"], spanish["win_rate"]["rate"]) == (0, None)
    assert (average["languages"], average["lacking"]) == (["en", "ga"], ["es"])
    assert average["prompts"] == 11
    assert {"en: 1 of 12", "es: 12 of 12", "ga: 1 of 12"} <= {
        note.partition(" prompts failed in tuned.judge")[0] for note in own["notes"]
    }
    assert found["arms"]["tuned"]["average"]["win_rate"]["lacking"] == ["es"]
    assert found["arms"]["tuned"]["average"]["language_fidelity"]["lacking"] == []
    table = croco(*given, check=0)
    assert "average of en, ga" in table.stdout
    text = (files.folder / table.stderr.splitlines()[-1]).read_text()
    assert "Averaged over en, ga, tuned wins" in text
    assert "average of en, ga" in text


def test_a_language_without_any_verdict_is_named(croco, files):
    judge = {"kind": "pairwise", "prompt": {**JUDGE["judge"]["prompt"], "engine": "mine:Silent"}}
    files.write("mine.py", SILENT)
    files.write("judge.yaml", yaml.safe_dump({**JUDGE, "judge": judge}))
    own = figures(croco(*files.args("--json"), check=0))["languages"]
    assert own["es"]["unparseable"] == 12
    assert (own["average"]["languages"], own["average"]["lacking"]) == (["en"], ["es"])
    assert own["average"]["win_rate"] == own["en"]["win_rate"]


SILENT = """
from croco.engines import Reply
from croco.engines.fake_judge import FakeJudge
from croco.records import Completion


class Silent(FakeJudge):
    def _judged(self, request):
        if "qué" not in request.chat[-1]["content"]:
            return super()._judged(request)
        said = [Completion("Hard to say.", [], "stop")]
        return Reply(request, self.encode(request.chat), said)
"""


@pytest.mark.parametrize("lang", ["de", "ga"])
def test_a_language_that_is_asked_for_and_not_there_is_refused(croco, files, lang):
    files.rows["a"].append({"id": "p0", "lang": "ga", "prompt": "x", "response": "ga:x"})
    done = croco(*files.args("--lang", "es", "--lang", lang))
    refused(done, f"no answers in '{lang}'", "a.jsonl" if lang == "de" else "b.jsonl")
    assert not list(files.folder.glob("store/*/shard-*"))
    assert list(figures(croco(*files.args("--json", "--lang", "es"), check=0))["languages"]) == [
        "es",
        "average",
    ]


def test_two_arms_of_a_run_are_compared(croco, recipes, files):
    croco("run", recipes / "fake.yaml", "--until", "base.sample", check=0)
    unfinished = croco("compare", "fake/base", "fake/dpo-monolingual", "--judge", "judge.yaml")
    refused(unfinished, "still owes 'dpo-monolingual.sample'")
    unknown = croco("compare", "fake/base", "fake/dpo", "--judge", "judge.yaml")
    refused(unknown, "no answers of 'dpo'", "dpo-monolingual")
    croco("run", recipes / "fake.yaml", check=0)
    sides = ["fake/base", "fake/dpo-monolingual"]
    done = croco("compare", *sides, "--judge", "judge.yaml", "--json", check=0)
    found = figures(done)["languages"]
    assert set(found) == {"en", "es", "fr", "de", "average"}
    assert found["average"]["win_rate"]["ci"][0] > 0.5


def test_answers_to_different_prompts_are_refused_with_both_places(croco, files):
    """By the prompts beside the answers, those of files, and what the answers of a run were asked."""
    asked = [{k: row[k] for k in ("id", "lang", "prompt")} for row in files.rows["a"]]
    asked[3]["prompt"] = "quite another one"
    files.write("prompts.jsonl", "".join(json.dumps(row) + "\n" for row in asked))
    given = files.args("--prompts", "prompts.jsonl")
    refused(croco(*given), "a.jsonl:4", "prompts.jsonl:4")
    for row in files.rows["a"]:
        del row["prompt"]
    refused(croco(*files.args("--prompts", "prompts.jsonl")), "b.jsonl:4", "prompts.jsonl:4")
    system = [{"role": "system", "content": "Be brief."}]
    for row in files.rows["b"]:
        row["messages"] = [*system, {"role": "user", "content": row.pop("prompt")}]
    refused(croco(*files.args("--prompts", "prompts.jsonl")), "b.jsonl:1", "prompts.jsonl:1")
    assert not list(files.folder.glob("store/*/shard-*"))


def test_runs_that_were_asked_other_prompts_are_refused(croco, recipes, files, tmp_path):
    recipe = ["run", recipes / "fake.yaml", "--until", "base.sample", "--set"]
    held = [{"id": f"h{k}", "lang": "en", "prompt": f"the {k} of the day"} for k in range(3)]
    for name in ("one", "two"):
        files.write(f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in held))
        held[1]["prompt"] = "the other one"
        own = f"prompts.heldout=[{tmp_path / name}.jsonl]"
        croco(*recipe, own, "--set", f"name={name}", "--set", "languages=[en]", check=0)
    done = croco("compare", "one/base", "two/base", "--judge", "judge.yaml")
    refused(done, "the prompt of ('h1', 'en') is not the same", "row 2")
    # The same by the paths of what the runs sealed, and of a file against a run.
    paths = ["runs/one/base.sample", "runs/two/base.sample"]
    refused(croco("compare", *paths, "--judge", "judge.yaml"), "('h1', 'en')")
    answers = [{**row, "response": "x"} for row in held]
    files.write("own.jsonl", "".join(json.dumps(row) + "\n" for row in answers))
    done = croco("compare", "one/base", "own.jsonl", "--judge", "judge.yaml")
    refused(done, "own.jsonl:2", "row 2")
    croco("compare", "two/base", "own.jsonl", "--judge", "judge.yaml", check=0)
    croco("compare", *paths[:1] * 2, "--judge", "judge.yaml", check=0)


def test_a_recipe_judges_by_its_own_judge(croco, recipes, files):
    done = croco(*files.args("--json")[:-3], "--judge", recipes / "fake.yaml", "--json", check=0)
    assert figures(done)["languages"]["es"]["win_rate"]["rate"] > 0.9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda rows: rows["a"].append(rows["a"][0]),
            ["a.jsonl:25", "stands already at", "a.jsonl:1:"],
        ),
        (lambda rows: rows["b"][2].update(prompt="another"), ["not the same on both sides"]),
        (lambda rows: rows["b"][2].update(lang="Spanish!"), ["b.jsonl:3", "lang"]),
        (lambda rows: rows["b"][2].pop("response"), ["b.jsonl:3", "response"]),
        (lambda rows: rows["b"][2].update(id=None), ["b.jsonl:3", "'id'"]),
        (lambda rows: rows["b"].clear(), ["b.jsonl", "no answers"]),
        (
            lambda rows: [row.update(id=f"x{row['id']}") for row in rows["b"]],
            ["no prompt in common"],
        ),
    ],
)
def test_bad_files_are_refused(croco, files, change, said):
    change(files.rows)
    refused(croco(*files.args()), *said)
    assert not list(files.folder.glob("store/*/shard-*"))


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ({"judge": {"kind": "pairwise"}}, ["judge.yaml", "needs prompt"]),
        ({"who": 1}, ["neither 'judge' nor 'evaluate'"]),
        ({**JUDGE, "ties": 0.5}, ["unknown key 'ties'"]),
        ({"judge": {"kind": "pairwize"}}, ["pairwize"]),
        ({"judge": {**JUDGE["judge"], "tie": 1}}, ["unknown key", "tie"]),
    ],
)
def test_bad_judges_are_refused(croco, files, judge, said):
    files.write("judge.yaml", yaml.safe_dump(judge))
    refused(croco(*files.args()), *said)


def test_a_side_that_is_nowhere(croco, files):
    files.args()
    done = croco("compare", "a.jsonl", "nowhere/arm", "--judge", "judge.yaml")
    refused(done, "there is no run 'nowhere'")
    done = croco("compare", "a.jsonl", "c.jsonl", "--judge", "judge.yaml")
    refused(done, "'c.jsonl' is neither a file nor the answers of a run")


def test_a_pairwise_judge_is_no_reward(croco, recipes, tmp_path):
    own = f"reward={json.dumps(JUDGE['judge'])}"
    refused(croco("plan", recipes / "fake.yaml", "--set", own), "pairwise")


def test_a_judge_without_any_verdict_is_said_and_no_figure_made_up(croco, files):
    judge = {**JUDGE["judge"]["prompt"], "engine": "fake"}
    files.write(
        "judge.yaml", yaml.safe_dump({**JUDGE, "judge": {"kind": "pairwise", "prompt": judge}})
    )
    done = croco(*files.args("--json"), check=0)
    found = figures(done)
    assert found["notes"][0] == "the judge gave no verdict in its format on any of 24 comparisons"
    assert found["languages"]["average"]["win_rate"] == {"rate": None, "ci": [None, None]}
    assert found["languages"]["average"]["unparseable"] == 24
    assert "NaN" not in done.stdout


def test_a_comparison_that_was_killed_goes_on(croco, files):
    """Killed while the judge works: what was judged is kept, and the end is that of an undisturbed run."""
    whole = croco(*files.args("--json"), check=0).stdout
    home = files.folder / "killed"
    environment = os.environ | {"CROCO_HOME": str(home)}
    command = [
        sys.executable,
        "-m",
        "croco",
        *files.args("--json", "--set", "resources.judge.batch_size=1"),
    ]
    process = subprocess.Popen(
        command, cwd=files.folder, env=environment, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not list(home.glob("store/judge-*/*.jsonl")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = croco(
        *files.args("--json", "--set", "resources.judge.batch_size=1"), home=home, check=0
    )
    assert again.stdout == whole
