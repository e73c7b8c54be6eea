"""What is edited while a run goes on is never used under the identity of what it was before."""

import json

import pyarrow.parquet as pq
import pytest

#: An engine that edits a file, once, as a person at an editor might.
ENGINE = """
from pathlib import Path
from croco.engines.fake import FakeEngine

HERE = Path(__file__).parent

class Editing(FakeEngine):
    def generate(self, batches):
        for batch in batches:
            edit = HERE / "edit"
            if edit.exists():
                name, text = edit.read_text().split("|", 1)
                (HERE / name).write_text(text)
                edit.unlink()
            yield from super().generate([batch])
"""
REWARD = "def reward(prompt, response, lang):\n    return len(response) % 7 + {}\n"
READER = """
from pathlib import Path
import helper
CROCO_READS = ["words.txt"]
def reward(prompt, response, lang):
    return len(response) % 7 + helper.MORE + float((Path(__file__).parent / "words.txt").read_text())
"""
JUDGE = """
version: {}
messages:
  - role: user
    content: |
      <conversation>
      {{{{ conversation }}}}
      </conversation>
      <answer_a>
      {{{{ answer_a }}}}
      </answer_a>
      <answer_b>
      {{{{ answer_b }}}}
      </answer_b>
answer: '\\[\\[([ABC])\\]\\]'
"""


@pytest.fixture
def project(croco, recipes, tmp_path):
    """A recipe whose engine edits, and a run of it to a stage; `edit` says what is edited meanwhile."""
    (tmp_path / "editing.py").write_text(ENGINE)
    (tmp_path / "mine.py").write_text(REWARD.format(0))
    (tmp_path / "helper.py").write_text("MORE = 0.0\n")
    (tmp_path / "words.txt").write_text("0")
    (tmp_path / "reader.py").write_text(READER)
    (tmp_path / "judge.yaml").write_text(JUDGE.format(1))
    text = (recipes / "fake.yaml").read_text()
    (tmp_path / "recipe.yaml").write_text(text.replace("bundled:compare.yaml", "judge.yaml"))

    def run(until, *overrides, edit="", check=None):
        if edit:
            (tmp_path / "edit").write_text(edit)
        settings = ["sample.engine=editing:Editing", "evaluate.engine=editing:Editing", *overrides]
        more = [part for one in settings for part in ("--set", one)]
        return croco("run", tmp_path / "recipe.yaml", "--until", until, *more, check=check)

    return run


def rewards(home):
    rows = [
        row
        for path in home.glob("runs/fake/score/shard-*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    return {reward for row in rows for reward in row["rewards"]}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("name", "edit", "shift"),
    [
        ("mine", "mine.py|" + REWARD.format(100), 100),
        ("reader", "words.txt|200", 200),
        ("reader", "helper.py|MORE = 300.0\n", 300),
    ],
)
def test_code_and_its_data_edited_before_they_are_loaded(
    project, tmp_path, name, edit, shift, workers
):
    reward = f'reward={{"kind": "function", "function": "{name}:reward"}}'
    places = f"resources={json.dumps({k: {'workers': workers} for k in ('sample', 'score')})}"
    done = project("score", reward, places, edit=edit)
    assert done.returncode == 2
    assert f"'{name}:reward'" in done.stderr or "'score'" in done.stderr
    assert "edited" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("store/score-*/*.parquet"))
    project("score", reward, places, check=0)
    assert {value // 100 * 100 for value in rewards(tmp_path)} == {shift}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_template_edited_before_it_is_read(project, tmp_path, workers):
    places = f"resources={json.dumps({k: {'workers': workers} for k in ('sample', 'judge')})}"
    done = project("judge", places, edit="judge.yaml|" + JUDGE.format(2))
    assert done.returncode == 2
    assert "judge" in done.stderr
    assert "edited" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("store/judge-*/*.parquet"))
    project("judge", check=0)


def test_what_was_loaded_before_the_edit_goes_on_as_it_was(project, tmp_path):
    """The engine is loaded when it edits its own file."""
    assert project("sample", edit="editing.py|" + ENGINE + "\n# more\n").returncode == 0
    done = project("base.sample")
    assert done.returncode == 0
    assert len(list(tmp_path.glob("store/sample-*"))) == 2


def test_an_undeclared_or_missing_file_is_told_when_the_run_is_planned(project, tmp_path):
    reward = 'reward={"kind": "function", "function": "reader:reward"}'
    (tmp_path / "words.txt").unlink()
    done = project("score", reward)
    assert done.returncode == 2
    assert "words.txt" in done.stderr
    assert "CROCO_READS" in done.stderr
    (tmp_path / "reader.py").write_text("CROCO_READS = some()\n" + REWARD.format(0))
    done = project("score", reward)
    assert done.returncode == 2
    assert "reader.py:1" in done.stderr
