"""What can be known before work starts is found then: nothing is made, and one sentence says what to do."""

import json

import pytest
import yaml

from croco import recipe_file
from croco.checks import check

BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture
def without(tmp_path, croco):
    """Runs the command line, or Python, in a process that cannot import some packages."""

    def call(names, *args, **more):
        folder = tmp_path / "blocked"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(BLOCK.format(names=set(names)))
        return croco(*args, PYTHONPATH=str(folder), **more)

    return call


def variant(path, folder, **changed):
    values = yaml.safe_load(path.read_text()) | changed
    made = folder / "recipe.yaml"
    made.write_text(yaml.safe_dump(values, sort_keys=False))
    return made


@pytest.mark.parametrize("verb", ["plan", "run"])
@pytest.mark.parametrize(
    ("package", "override", "extra"),
    [
        ("trl", "arms={dpo: {train: {trainer: trl}}}", "local"),
        ("torch", "sample.engine=transformers", "local"),
        ("openai", "reward={kind: server, model: a/b}", "openai"),
        ("heliport", "evaluate.identifier=heliport", "local"),
        ("py3langid", "reward.gate.identifier=py3langid", "local"),
        ("torch", "evaluate.judge={kind: classifier, model: a/b}", "local"),
        ("submitit", "executor.kind=slurm", "slurm"),
        ("bitsandbytes", "arms={dpo: {train: {lora: {quantized: true}}}}", "4bit"),
    ],
)
def test_a_missing_package_is_told_with_the_install_command(
    without, recipes, tmp_path, verb, package, override, extra
):
    server = 'resources={score: {server: {url: "http://localhost:1"}}, audit: {server: {url: "http://x"}}}'
    names = [package, "torch"] if package in ("trl", "bitsandbytes") else [package]
    done = without(names, verb, recipes / "fake.yaml", "--set", override, "--set", server)
    assert done.returncode == (2 if verb == "run" else 0), done.stderr  # another machine may run it
    last = done.stderr.splitlines()[-1]
    assert package in last
    assert "pip install 'croco-llm[" in last
    assert extra in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store").exists()


def test_what_no_wanted_stage_uses_may_be_missing(without, recipes):
    arm = "arms={dpo: {train: {trainer: trl}}}"
    args = ("run", recipes / "fake.yaml", "--set", arm, "--until")
    without(["trl"], *args, "pair", check=0)
    without(["trl"], *args, "dpo.train", check=2)


def test_a_package_that_the_users_code_imports_is_told(croco, recipes, tmp_path):
    (tmp_path / "mine.py").write_text(
        "try:\n    import notthere\nexcept ImportError:\n    pass\n"
        "import nowhere_to_be_found\n\ndef score(*a):\n    return 1.0\n"
    )
    path = variant(
        recipes / "fake.yaml", tmp_path, reward={"kind": "function", "function": "mine:score"}
    )
    done = croco("run", path, check=2)
    assert done.stderr.splitlines()[-1].endswith("pip install nowhere_to_be_found")
    assert "notthere" not in done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "from croco.training import train_dpo; train_dpo('fake', [], 'out')",
        "from croco.training import load; load('trl')",
        "from croco.languages import load_identifier; load_identifier('py3langid')",
    ],
)
def test_python_calls_say_it_too(without, tmp_path, code):
    script = f"""
from croco.errors import RecipeError
try:
    {code}
except RecipeError as error:
    assert "pip install 'croco-llm[local]'" in str(error), error
else:
    raise SystemExit("nothing was raised")
"""
    import os
    import subprocess
    import sys

    folder = tmp_path / "blocked"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BLOCK.format(names={"trl", "py3langid"}))
    env = dict(os.environ) | {"PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


def test_check_gives_findings_and_raises_nothing(recipes):
    path = recipes / "fake.yaml"
    known = check(recipe_file.load(path))
    assert {one.level for one in known} <= {"warning"}
    [one] = check(recipe_file.load(path, ["sample.engine=vlm"]))
    assert one.level == "error"
    assert "vllm" in str(one)
    found = check(recipe_file.load(path, ["languages=[en, xh]"]))
    assert [one.level for one in found][:2] == ["error", "error"]


def test_a_warning_does_not_stop_a_run_and_an_error_is_told_after_the_plan(
    croco, recipes, tmp_path
):
    rows = [{"id": "a", "lang": "en", "prompt": "Hello?"}, {"id": "b", "lang": "en"}]
    (tmp_path / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = variant(
        recipes / "fake.yaml",
        tmp_path,
        prompts={"train": ["bad.jsonl"], "heldout": ["bundled:prompts-heldout.jsonl"]},
        languages=["en"],
    )
    done = croco("plan", path, check=2)
    assert "bad.jsonl:2" in done.stderr
    assert "report" in done.stdout


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("def lenght(prompt, answer):\n    return 1.0\n", False),
        ("class Scores:\n    pass\n", False),
        ("from math import dist as length\n", True),
        ("from helpers import *\n", True),
        ("globals()['length'] = len\n", True),
    ],
)
def test_a_name_that_the_users_module_does_not_define_is_found(recipes, tmp_path, text, known):
    (tmp_path / "helpers.py").write_text("length = len\n")
    (tmp_path / "own.py").write_text(text)
    code = "import sys; from croco.packages import defined; print(*sorted(defined('own')))"
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert known == (not done.stdout.split() or "length" in done.stdout.split())


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("reward={kind: function, function: 'own:length'}", "'lenght'"),
        ("arms={dpo: {train: {lora: {targets: []}}}}", "arms.dpo.train.lora.targets"),
    ],
)
def test_what_is_not_there_is_found_by_plan_and_run(croco, recipes, tmp_path, override, word):
    (tmp_path / "own.py").write_text("def lenght(prompt, answer):\n    return 1.0\n")
    for verb in ("plan", "run"):
        done = croco(verb, recipes / "fake.yaml", "--set", override, check=2)
        assert word in done.stderr.splitlines()[-1]
    assert not (tmp_path / "store").exists()


def test_a_message_does_not_show_a_whole_recipe(croco, recipes, tmp_path):
    path = variant(recipes / "fake.yaml", tmp_path, reward={"kind": "fake"})
    done = croco("plan", path, "--set", "evaluate.judge={kind: fake}", check=2)
    assert "got {" not in done.stderr
