"""What may go wrong in training, told from its log."""

from __future__ import annotations

import math

from croco.records import Step
from croco.training.alerts import STEPS, of_look, of_steps
from croco.training.log import Log, Look

FIRST = Look(0, -50.0, -50.0, 0.0, 0.0, 20.0, 0.1, 0.9)


def steps(*losses: float) -> list[Step]:
    return [Step(k, 0.0, loss, 1e-5, 0.0, 0.0, 0.0, 0.0) for k, loss in enumerate(losses, start=1)]


def look(**changes: float) -> Look:
    values = {"step": 5, "chosen_logp": -50.0, "rejected_logp": -60.0, "margin": 1.0}
    values |= {"accuracy": 1.0, "length": 20.0, "repetition": 0.1, "fidelity": 0.9}
    return Look(**(values | changes))


def test_a_healthy_look_says_nothing():
    assert of_look(FIRST, look()) == []


def test_chosen_responses_that_become_less_likely_while_the_margin_grows():
    (said,) = of_look(FIRST, look(chosen_logp=-60.0))
    assert "lost 10.0 nats while the margin grew to 1.00" in said
    assert of_look(FIRST, look(chosen_logp=-60.0, margin=-1.0)) == []


def test_repetition_and_drift():
    said = of_look(FIRST, look(repetition=0.5, fidelity=0.5))
    assert "repetition rose from 0.10 to 0.50" in said[0]
    assert "drift to other languages: 0.50" in said[1]


def test_sft_has_no_margin_to_speak_of():
    nothing = math.nan
    first = Look(0, -50.0, nothing, nothing, nothing, 20.0, 0.1, 0.9)
    now = Look(5, -60.0, nothing, nothing, nothing, 20.0, 0.1, 0.9)
    assert of_look(first, now) == []


def test_a_loss_that_stands_still_is_told_once():
    stuck = [math.log(2)] * STEPS
    (said,) = of_steps(steps(*stuck), "dpo")
    assert "stands at 0.693" in said
    assert of_steps(steps(*stuck, math.log(2)), "dpo") == []
    assert of_steps(steps(*stuck), "sft") == []
    assert of_steps(steps(*stuck[1:]), "dpo") == []
    assert of_steps(steps(0.5, *stuck), "dpo") == [said]


def test_a_loss_of_nothing():
    (said,) = of_steps(steps(*[1e-6] * STEPS), "sft")
    assert "the loss is 0" in said


def test_a_log_comes_back_up_to_a_step_and_without_a_torn_line(tmp_path):
    path = tmp_path / "log.jsonl"
    log = Log(path)
    rows = [FIRST, *steps(0.6, 0.5, math.nan)]
    for row in rows:
        log.add(row)
    with path.open("a") as file:
        file.write('{"kind": "step", "st')
    again = Log(path, upto=2)
    assert again.looks == [FIRST]
    assert again.steps == rows[1:3]
    assert len(path.read_text().splitlines()) == 3
    again.add(rows[3])
    assert math.isnan(Log(path, upto=9).steps[2].loss)
