"""The whole pipeline on the fake engine, as a user runs it: a process, a folder, a recipe."""

import json
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from croco import pipeline
from croco.runs import Run

FAKE = Path(__file__).parents[2] / "recipes" / "fake.yaml"


def shards(home):
    """Every sealed shard of the store, byte for byte."""
    return {str(p.relative_to(home)): p.read_bytes() for p in home.glob("store/*/shard-*")}


def processor_seconds():
    """What ended children took of the processors: on a busy machine the clock says little."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An undisturbed run of the fake recipe."""
    home = tmp_path_factory.mktemp("finished")
    command = [sys.executable, "-m", "croco", "run", str(FAKE), "--home", str(home)]
    start = processor_seconds()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert processor_seconds() - start < 20
    return home


def test_stdout_is_the_report_and_nothing_else(croco, recipes, finished):
    done = croco("run", recipes / "fake.yaml", home=finished, check=0)
    path = done.stdout.strip()
    assert path.endswith("index.html")
    assert "nothing to do" in done.stderr


def test_a_second_run_does_nothing_in_under_3_seconds(croco, recipes, finished):
    before = {p: p.stat().st_mtime_ns for p in finished.glob("store/**/*") if p.is_file()}
    start = time.monotonic()
    croco("run", recipes / "fake.yaml", home=finished, check=0)
    assert time.monotonic() - start < 3
    assert before == {p: p.stat().st_mtime_ns for p in finished.glob("store/**/*") if p.is_file()}


def test_the_summary_has_the_promised_shape(finished):
    summary = json.loads((finished / "runs/fake/report/summary.json").read_text())
    assert set(summary["arms"]) == {"dpo-monolingual", "dpo-multilingual", "sft-monolingual"}
    for languages in summary["arms"].values():
        assert set(languages) == {"en", "es", "fr", "de", "average"}
        for metrics in languages.values():
            assert {"win_rate", "language_fidelity"} <= set(metrics)
            assert metrics["win_rate"]["base"] == 0.5
            for metric in metrics.values():
                assert set(metric) >= {"base", "tuned", "delta", "ci", "n"}
    fidelity = summary["arms"]["dpo-monolingual"]["es"]["language_fidelity"]
    assert fidelity["ci"][0] > 0
    assert set(summary["audit"]) == {"en", "es", "fr", "de"}


def test_the_summary_says_which_languages_were_answered(finished):
    summary = json.loads((finished / "runs/fake/report/summary.json").read_text())
    sides = summary["languages"]["sides"]
    assert set(sides) == {"base", *summary["arms"]}
    for side, languages in sides.items():
        for lang, own in languages.items():
            counts = {one: cell["count"] for one, cell in own["answered"].items()}
            assert sum(counts.values()) == own["answers"] == 128
            if side == "base":  # the same answers, so the same share
                fidelity = summary["arms"]["sft-monolingual"][lang]["language_fidelity"]["base"]
                assert fidelity == counts[lang] / 128
    spanish = summary["arms"]["dpo-monolingual"]["es"]
    assert spanish["line_pass_rate"]["ci"][0] > 0
    assert "word_pass_rate" not in spanish
    assert set(summary["languages"]["no_word_pass_rate"]) == {"en", "es", "fr", "de"}


def test_the_report_is_one_page_without_network(finished):
    page = (finished / "runs/fake/report/index.html").read_text()
    assert "<svg" in page
    assert 'src="http' not in page
    assert "<link" not in page


def test_no_work_is_left_behind(finished):
    assert not list(finished.glob("store/*/journals"))


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_moment_the_run_gives_the_same_rows(croco, recipes, finished, tmp_path, seed):
    command = [sys.executable, "-m", "croco", "run", str(recipes / "fake.yaml")]
    command += ["--set", "resources.sample.batch_size=16", "--home", str(tmp_path)]
    draw = random.Random(seed)
    for _ in range(6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.6, 3.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
    croco(*command[3:], check=0)
    assert shards(tmp_path) == shards(finished)


def test_ctrl_c_keeps_the_work_and_exits_130(heeding_ctrl_c, recipes, tmp_path):
    command = [sys.executable, "-m", "croco", "run", str(recipes / "fake.yaml")]
    command += ["--set", "sample.n=256", "--home", str(tmp_path)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=heeding_ctrl_c
    )
    while not list(tmp_path.glob("store/sample-*/journals/*.jsonl")):
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "run the same command again" in said
    assert "Traceback" not in said


def test_show_tells_the_whole_life_of_a_prompt(croco, finished):
    done = croco("show", "fake", "everyday-003", "--lang", "es", home=finished, check=0)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["stage"] for row in rows] == [
        "prompts-train",
        "sample",
        "score",
        "dpo-monolingual.pair",
        "dpo-multilingual.pair",
        "sft-monolingual.pair",
    ]
    scored = next(row for row in rows if row["stage"] == "score")
    made = next(row for row in rows if row["stage"] == "dpo-monolingual.pair")["pairs"][0]
    assert made["chosen"]["reward"] == max(scored["rewards"])


def test_plan_names_the_field_that_made_a_stage_new(croco, recipes, finished):
    override = ("--set", "arms.dpo-monolingual.train.beta=0.3")
    done = croco("plan", recipes / "fake.yaml", *override, home=finished, check=0)
    lines = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert lines["sample"].startswith("done")
    assert lines["dpo-monolingual.train"].startswith("new")
    assert "train.beta: 0.1 -> 0.3" in lines["dpo-monolingual.train"]
    assert "adapter is new" in lines["dpo-monolingual.sample"]


def test_plan_writes_nothing(croco, recipes, tmp_path):
    croco("plan", recipes / "fake.yaml", check=0)
    assert list(tmp_path.iterdir()) == []


def test_status_counts_rows_and_report_prints_the_figures(croco, finished):
    done = croco("status", "fake", home=finished, check=0)
    assert all(line.startswith("done") for line in done.stdout.splitlines())
    assert "192 rows" in done.stdout
    assert "arms" in json.loads(croco("report", "fake", home=finished, check=0).stdout)


def test_the_report_printed_is_that_of_the_saved_recipe(croco, recipes, tmp_path):
    def figures(*more):
        croco("run", recipes / "fake.yaml", *more, check=0)
        return croco("report", "fake", check=0).stdout

    first = figures()
    assert figures("--set", "seed=7") != first
    croco("run", recipes / "fake.yaml", "--until", "sample", check=0)
    assert croco("report", "fake", check=0).stdout == first


def test_until_makes_a_stage_and_what_it_needs_alone(croco, recipes, tmp_path):
    croco("run", recipes / "fake.yaml", "--until", "score", check=0)
    made = {p.name.rpartition("-")[0] for p in (tmp_path / "store").iterdir() if p.is_dir()}
    assert made == {"prompts", "sample", "score"}


def test_init_gives_a_folder_that_can_be_planned(croco, tmp_path):
    croco("init", tmp_path / "project", check=0)
    assert "sample" in croco("plan", tmp_path / "project" / "recipe.yaml", check=0).stdout
    again = croco("init", tmp_path / "project")
    assert again.returncode == 2


def test_a_worker_needs_three_plain_values(finished):
    run = Run.load(finished, "fake")
    assert set(pipeline.build(run.recipe)) <= {p.name for p in run.folder.iterdir()}
    assert yaml.safe_load((run.folder / "recipe.yaml").read_text())["name"] == "fake"
