"""A user's mistake is one sentence with its place, exit code 2, and nothing half-written."""

import json
import subprocess

import pytest
from exits import refused

TRAIN = '{"id": "a", "lang": "en", "prompt": "Say hello to a friend"}\n'


@pytest.fixture
def project(tmp_path, recipes):
    """The fake recipe over one small prompt file that a test may spoil."""
    folder = tmp_path / "project"
    folder.mkdir()
    text = (recipes / "fake.yaml").read_text().replace("bundled:prompts-train.jsonl", "train.jsonl")
    text = text.replace("[en, es, fr, de]", "[en]")
    (folder / "recipe.yaml").write_text(text)
    lines = [
        {"id": f"p{k}", "lang": "en", "prompt": f"Tell me about number {k}"} for k in range(12)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "b"', "train.jsonl:13: not a line of JSON"),
        ('{"id": "b", "lang": "en"}', "train.jsonl:13: field 'prompt' is missing"),
        ('{"id": "p1", "lang": "en", "prompt": "x"}', "train.jsonl:13: (id, lang) ('p1', 'en')"),
        ('{"id": "b", "lang": "klingon!", "prompt": "x"}', "train.jsonl:13: field 'lang'"),
        ('{"id": "b", "lang": "en", "prompt": ""}', "train.jsonl:13: field 'prompt' is empty"),
    ],
)
def test_bad_lines(croco, project, tmp_path, line, said):
    with (project / "train.jsonl").open("a") as file:
        file.write(line + "\n")
    refused(croco("run", project / "recipe.yaml"), said)
    assert not list(tmp_path.glob("store/*/shard-*"))


def test_a_prompt_longer_than_the_context(croco, project, tmp_path):
    with (project / "train.jsonl").open("a") as file:
        file.write(json.dumps({"id": "long", "lang": "en", "prompt": "word " * 5000}) + "\n")
    refused(croco("run", project / "recipe.yaml"), "prompt 'long' (en) has", "tokens")
    assert not list(tmp_path.glob("store/sample-*/shard-*"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sampel.n=3", "unknown key 'sampel': did you mean 'sample'?"),
        ("sample.n=three", "key 'sample.n'"),
        ("policy=smolm2-135m-instruct", "did you mean 'smollm2-135m-instruct'?"),
        ("sample.engine=transfomers", "did you mean 'transformers'?"),
        ("prompts.train=[gone.jsonl]", "gone.jsonl"),
        ("reward.gate.identifier=nobody:Nothing", "nobody"),
        ("sample.engine=vllm", "pip install 'croco-llm[vllm]'"),
    ],
)
def test_a_recipe_with_a_mistake(croco, project, tmp_path, override, said):
    refused(croco("run", project / "recipe.yaml", "--set", override), said)
    assert not list(tmp_path.glob("store/sample-*/shard-*"))


def test_a_missing_recipe_run_or_stage(croco, project):
    refused(croco("run", "nowhere.yaml"), "nowhere.yaml cannot be read")
    refused(croco("status", "nobody"), "there is no run 'nobody'")
    refused(croco("run", project / "recipe.yaml", "--until", "scoer"), "there is no stage 'scoer'")


def test_held_out_prompts_may_not_be_trained_on(croco, project):
    override = "prompts.heldout=[train.jsonl]"
    refused(croco("run", project / "recipe.yaml", "--set", override), "is a training prompt too")


def test_a_newer_store_is_refused_untouched(croco, project, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "format.json").write_text('{"format": 99}')
    refused(croco("run", project / "recipe.yaml"), "format 99", "upgrade")
    assert [p.name for p in (tmp_path / "store").iterdir()] == ["format.json"]


@pytest.mark.parametrize("bad", ["raise ValueError('no idea')", "return float('nan')"])
def test_a_row_that_cannot_be_scored_stays_owed_and_the_others_are_kept(croco, project, bad):
    (project / "mine.py").write_text(
        f"def reward(prompt, response, lang):\n    if 'number 7' in prompt:\n        {bad}\n"
        "    return float(len(response) % 7)\n"
    )
    override = ("--set", "reward={kind: function, function: 'mine:reward'}")
    done = croco("run", project / "recipe.yaml", *override, cwd=project)
    assert done.returncode == 75, done.stderr
    assert "1 rows failed and stay owed" in done.stderr
    assert "p7 en" in done.stderr
    status = croco("status", "fake", cwd=project, check=0)
    (line,) = [line for line in status.stdout.splitlines() if " score " in line]
    assert "11 rows" in line
    assert "1 failed" in line
    allowed = (*override, "--set", "allow_failed=0.5")
    croco("run", project / "recipe.yaml", *allowed, cwd=project, check=0)
    page = (project.parent / "runs/fake/report/index.html").read_text()
    assert "ValueError: no idea" in page or "EngineError" in page


def test_a_full_disk(croco, project, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        refused(croco("run", project / "recipe.yaml", home=small), "the disk is full")
        assert not list(small.glob("store/*/.shard*"))
        subprocess.run(["mount", "-o", "remount,size=50m", str(small)], check=True)
        croco("run", project / "recipe.yaml", home=small, check=0)
    finally:
        subprocess.run(["umount", str(small)], check=False)


def test_a_bad_line_is_told_before_anything_is_written(croco, project, tmp_path):
    with (project / "train.jsonl").open("a") as file:
        file.write("{\n")
    refused(croco("run", project / "recipe.yaml"), "train.jsonl:13")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["project"]


@pytest.mark.parametrize("arguments", [["run"], ["nope"], ["plan", "--bogus"], []])
def test_a_usage_error_exits_2(croco, arguments):
    done = croco(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "UsageError" not in done.stderr


def test_a_judge_that_fails_on_one_prompt_leaves_that_row_owed(croco, project):
    (project / "judge.py").write_text(
        "def judge(prompt, response, lang):\n    assert 'castle' not in prompt, 'no castles'\n"
        "    return 0.0\n"
    )
    (project / "held.jsonl").write_text(
        '{"id": "h1", "lang": "en", "prompt": "A castle"}\n{"id": "h2", "lang": "en", "prompt": "A boat"}\n'
    )
    overrides = ["--set", "evaluate.judge={kind: function, function: 'judge:judge'}"]
    overrides += ["--set", "prompts.heldout=[held.jsonl]"]
    done = croco("run", project / "recipe.yaml", *overrides)
    assert done.returncode == 75, done.stderr
    assert "h1 en: AssertionError: no castles" in done.stderr


def test_more_failures_than_the_early_stop_may_be_allowed(croco, project):
    lines = [{"id": f"q{k}", "lang": "en", "prompt": f"Number {k}"} for k in range(150)]
    (project / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (project / "odd.py").write_text(
        "def reward(prompt, response, lang):\n    return float(len(response)) if '5' in prompt else 1 / 0\n"
    )
    overrides = [
        "--set",
        "reward={kind: function, function: 'odd:reward'}",
        "--set",
        "allow_failed=1.0",
    ]
    overrides += ["--set", "evaluate.audit=[]"]
    croco("run", project / "recipe.yaml", *overrides, check=0)


def test_debug_shows_the_traceback(croco):
    done = croco("--debug", "run", "nowhere.yaml")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_help_is_quick(croco):
    import time

    times = []
    for _ in range(3):
        start = time.monotonic()
        croco("--help", check=0)
        times.append(time.monotonic() - start)
    assert min(times) < 0.5


def test_only_slurm_can_be_left_alone(croco, recipes, tmp_path):
    refused(croco("run", recipes / "fake.yaml", "--detach"), "--detach is for SLURM", "--on slurm")
    assert not list(tmp_path.glob("store"))


def test_logs_of_jobs_that_never_were_are_asked_for_in_vain(croco, recipes):
    croco("run", recipes / "fake.yaml", "--until", "prompts-train", check=0)
    refused(croco("status", "fake", "--logs", "sample", "0"), "no job", "shard 0 of 'sample'")
    refused(croco("status", "fake", "--logs", "sampling", "0"), "there is no stage 'sampling'")
