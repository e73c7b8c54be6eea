"""Real judges' verdict texts are read as those who published them read them."""

import json
import os
from pathlib import Path

import pytest

from croco.datafiles import refer
from croco.judging.labels import side_of
from croco.templates import read

DATA = Path(os.environ.get("CROCO_DATA", Path(__file__).parents[3] / "shared" / "data"))
VALUES = {"prompt", "answer_a", "answer_b", "language", "lang", "conversation"}

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the published verdicts are not here")


@pytest.fixture(scope="module")
def side():
    template = read(refer("bundled:compare.yaml", Path()), VALUES)
    return lambda text: side_of(template.answers_in(text))


def rows(name):
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


def test_arena_hard_verdicts(side):
    """Where the text has a label the decision is equal; where it has none, no verdict is made up."""
    published = {"A>B": "A", "B>A": "B", "A=B": "tie"}
    read_, without = 0, 0
    for row in rows("judge_oracle/judgebench_gpt4o_pairs.jsonl"):
        for judged in row.get("arena_hard_o1_mini") or []:
            found = side(judged["response"])
            if "[[" in judged["response"]:
                assert found == published[judged["decision"]], judged["response"][-200:]
                read_ += 1
            else:
                assert found is None
                without += 1
    # Some 3 % have no label here (18 of 700): another sample of this size stays well below a tenth.
    assert without < 0.1 * read_


def test_mt_bench_verdicts(side):
    winners = {("g1", "A"): "model_1", ("g1", "B"): "model_2"}
    winners |= {("g2", "A"): "model_2", ("g2", "B"): "model_1"}
    judged = rows("mt_bench/judgments_fi_pairwise_gpt4turbo.jsonl")
    assert judged
    for row in judged:
        for game in ("g1", "g2"):
            found = side(row[f"{game}_judgment"])
            winner = "tie" if found == "tie" else winners.get((game, found), "error")
            assert winner == row[f"{game}_winner"]


def test_single_grades_are_no_verdicts(side):
    texts = [row["judgment"] for row in rows("mt_bench/judgments_da_single_gpt4.jsonl")]
    assert all("[[" in text for text in texts[:5])
    assert {side(text) for text in texts} == {None}
