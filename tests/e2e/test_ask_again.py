"""Missing verdicts are counted by reason and asked for again alone; what is left out is said."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

JUDGE = '''
import os
import pathlib

from croco.engines import Reply
from croco.records import Completion

LOG = pathlib.Path(os.environ["ASKED"])


class Judge:
    """Gives no verdict on some prompts before it has been asked for the third time."""

    context_length = None

    def __init__(self, policy, sampling, resources, adapter=None):
        LOG.open("a").write("loaded\\n")

    def encode(self, chat):
        return []

    def generate(self, batches):
        for batch in batches:
            yield [self.reply(request) for request in batch]

    def reply(self, request):
        text = request.chat[-1]["content"]
        name = next(name for name in ("easy", "cut", "both", "none") if name in text)
        with LOG.open("a") as log:
            log.write(f"{name} {request.seeds[0]}\\n")
        again = LOG.read_text().count(f"{name} ") > 4
        said, reason = "[[A]]", "stop"
        if not again:
            said = {"both": "[[A]] or [[B]]", "none": "Hard to say."}.get(name, "[[A]]")
            reason = "length" if name == "cut" else "stop"
        return Reply(request, [], [Completion(said, [], reason)])
'''
NAMES = ("easy", "cut", "both", "none")


@pytest.fixture
def croco(tmp_path):
    (tmp_path / "asking.py").write_text(JUDGE)
    sides = {"a": ["x"], "b": ["y"]}
    for side, texts in sides.items():
        rows = [
            {"id": name, "lang": "es", "prompt": f"Is it {name}?", "responses": texts}
            for name in NAMES
        ]
        (tmp_path / f"{side}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "judge.yaml").write_text(
        "judge: {kind: pairwise, prompt: {engine: 'asking:Judge', model: smollm2-135m-instruct,"
        " template: 'bundled:compare.yaml'}}\nidentifier: fake\nsecond_identifier: null\n"
    )

    def run(*more, log="log"):
        arguments = ["compare", "a.jsonl", "b.jsonl", "--judge", "judge.yaml", "--json", *more]
        done = subprocess.run(
            [sys.executable, "-m", "croco", *arguments],
            cwd=tmp_path,
            env=os.environ | {"ASKED": str(tmp_path / log), "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["comparisons"]["tuned"]["languages"]["es"]

    return run


def verdicts(folder):
    (path,) = Path(folder).glob("runs/*/tuned.judge/shard-*.parquet")
    return {row["id"]: row for row in pq.read_table(path).to_pylist()}


def asked(path):
    return [line for line in path.read_text().splitlines() if line != "loaded"]


def test_missing_verdicts_are_asked_for_again_alone(croco, tmp_path):
    first = croco()
    assert first["unparseable"] == 3
    assert first["missing"] == {"contradictory": 2, "cut off": 2, "no label": 2}
    assert len(asked(tmp_path / "log")) == 2 + 3 * 4
    rows = verdicts(tmp_path)
    assert rows["cut"]["reasons"] == [["cut off", "cut off"]]

    (tmp_path / "log").rename(tmp_path / "before")
    (tmp_path / "log").write_text("cut \n" * 5 + "both \n" * 5)
    again = croco("--set", "evaluate.judge.prompt.retries=2")
    new = (tmp_path / "log").read_text().splitlines()[10:]
    assert sorted(line.split()[0] for line in new) == ["both"] * 2 + ["cut"] * 2 + ["loaded"] + (
        ["none"] * 2
    )
    assert again["missing"] == {"no label": 2}
    assert not set(new[1:]) & set(asked(tmp_path / "before")), "every attempt has a seed of its own"
    changed = verdicts(tmp_path)
    assert changed["easy"]["texts"] == rows["easy"]["texts"]
    assert changed["both"]["retried"] == 4


def test_what_was_asked_for_again_equals_what_was_asked_for_as_often_at_once(croco, tmp_path):
    croco()
    croco("--ask-again", "2")
    grown = verdicts(tmp_path)
    croco("--set", "evaluate.judge.prompt.retries=2", "--home", "other", log="other-log")
    assert verdicts(tmp_path / "other") == grown
    assert croco()["unparseable"] == 3, "the first comparison is as it was"


def test_nothing_is_asked_where_nothing_is_missing(croco, tmp_path):
    croco("--set", "evaluate.judge.prompt.retries=3")
    before = (tmp_path / "log").read_text()
    croco("--set", "evaluate.judge.prompt.retries=4")
    assert (tmp_path / "log").read_text() == before


def test_unequal_numbers_of_answers_are_said(croco, tmp_path):
    rows = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    rows[0]["responses"] = ["y", "z", "w"]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = croco()
    assert found["comparisons"] == 4
    assert found["left_out"] == {"base": 0, "tuned": 2}


def test_only_a_judge_that_is_asked_can_be_asked_again(croco, tmp_path):
    judge = "judge: {kind: function, function: 'croco.rewards.fake:brevity'}\n"
    (tmp_path / "judge.yaml").write_text(judge)
    with pytest.raises(AssertionError, match="--ask-again"):
        croco("--ask-again", "2")
