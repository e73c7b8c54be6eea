"""Off-policy answers and training in rounds, on the fake engine and trainer, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

ARMS = {
    "once": {"train": {"trainer": "fake"}},
    "off": {
        "responses": {"policy": "fake", "sample": {"engine": "fake", "n": 6, "max_tokens": 9}},
        "train": {"trainer": "fake"},
    },
    "thrice": {"rounds": {"count": 3}, "train": {"trainer": "fake"}},
}


def recipe_in(folder: Path, recipes: Path) -> Path:
    values = yaml.safe_load((recipes / "fake.yaml").read_text()) | {"arms": ARMS}
    values["evaluate"]["n"] = 4
    values["prompts"] |= {"train_limit": 12, "heldout_limit": 12}
    values["sample"]["n"] = 8
    del values["evaluate"]["sentences"]
    path = folder / "arms.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def rows(home: Path, stage: str) -> list[dict[str, object]]:
    files = sorted((home / "runs/fake" / stage).glob("shard-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, recipes: Path) -> Path:
    home = tmp_path_factory.mktemp("arms")
    command = [sys.executable, "-m", "croco", "run", str(recipe_in(home, recipes))]
    done = subprocess.run([*command, "--home", str(home)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return home


def test_the_other_models_answers_are_those_that_are_paired(finished: Path) -> None:
    made = {row["id"]: row for row in rows(finished, "off.sample-train") if row["lang"] == "es"}
    assert all(len(row["texts"]) == 6 for row in made.values())
    for row in rows(finished, "off.pair"):
        for pair in row["pairs"] if row["lang"] == "es" else ():
            for side in (pair["chosen"], pair["rejected"]):
                assert made[row["id"]]["texts"][side["index"]] == side["text"]
                assert len(side["text"].split()) <= 9


def test_every_round_samples_anew_from_what_the_last_one_tuned(finished: Path) -> None:
    stages = ("sample", "thrice.sample-2", "thrice.sample-3")
    drawn = [[row["texts"] for row in rows(finished, stage)] for stage in stages]
    assert drawn[0] != drawn[1] != drawn[2]
    assert {row["policy"] for row in rows(finished, "thrice.sample-2")} == {"fake@none+adapter"}
    strengths = [
        json.loads(path.read_text())["strength"]
        for number in (1, 2, 3)
        for path in (finished / f"runs/fake/thrice.train-{number}").rglob("adapter_config.json")
    ]
    assert strengths == sorted(strengths)
    assert len(set(strengths)) == 3
    summary = json.loads((finished / "runs/fake/report/summary.json").read_text())["arms"]
    once, thrice = (summary[arm]["average"]["language_fidelity"] for arm in ("once", "thrice"))
    assert thrice["tuned"] > once["tuned"]


def test_the_page_says_whose_answers_an_arm_was_tuned_on_and_shows_every_round(
    finished: Path,
) -> None:
    page = " ".join((finished / "runs/fake/report/index.html").read_text().split())
    for said in (
        "once was tuned on the policy&#39;s own answers to other prompts",
        "off was tuned on the answers of fake to other prompts",
        "thrice was tuned on the policy&#39;s own answers, in 3 rounds, each on those of what the last",
        "(reference: the policy before the first round)",
        "<h3>once, thrice, round 1</h3>",
        "<h3>thrice, round 3</h3>",
    ):
        assert said in page


def test_status_and_doctor_tell_the_rounds(croco, finished: Path) -> None:
    lines = croco("status", "fake", home=finished, check=0).stdout.splitlines()
    shown = {line.split()[1] for line in lines if line.startswith("done")}
    assert {"off.sample-train", "off.score", "thrice.train-1", "thrice.sample-3"} <= shown
    found = json.loads(croco("doctor", "fake", "--json", home=finished, check=0).stdout)
    names = [one["name"] for one in found]
    assert names[0] == "fake: once, thrice, round 1"
    assert names[1:] == ["fake: off", "fake: thrice, round 2", "fake: thrice, round 3"]
    # The answers of a later round are the tuned policy's own.
    assert found[2]["on_policy"] == {"policy": "fake@none+adapter", "chosen": 1, "rejected": 1}


def test_plan_says_that_another_count_of_rounds_renews_the_evaluation_alone(
    croco, recipes: Path, finished: Path
) -> None:
    recipe = finished / "arms.yaml"
    done = croco(
        "plan", recipe, "--set", "arms.thrice.rounds.count=2", home=finished, check=0
    ).stdout
    new = {line.split()[1] for line in done.splitlines() if line.startswith("new")}
    assert new == {"thrice.sample", "thrice.language", "thrice.judge", "report"}
