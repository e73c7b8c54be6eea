"""Whatever reads a model's words reads the answer: sampled ones and those of users' files alike."""

import json
import sys

import numpy as np
import pytest

from croco import engines, judging, rewards
from croco.answers import read_answers
from croco.datafiles import refer
from croco.engines import Reply, Request
from croco.identifiers import FAKE_WORDS
from croco.judging.contests import Contest
from croco.models import ModelRef
from croco.pairing.exams import of_files
from croco.pairing.files import Options, pair_files
from croco.recipe import PairConfig
from croco.records import Candidate, Completion, Preference, Prompt
from croco.reward_settings import RewardConfig
from croco.settings import Prompted, Resources, Sampling
from croco.stages.audit import judge_pairs

ANSWER = " ".join(f"es:{word}" for word in FAKE_WORDS[:6])
THOUGHT = " ".join(f"en:{word}" for word in FAKE_WORDS[:12])
WHOLE = f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"


class Thinker:
    """An engine as a user may write one, which gives whole texts."""

    context_length = None

    def __init__(self, policy, sampling, resources, adapter=None):
        pass

    def encode(self, chat):
        return [1]

    def generate(self, batches):
        for batch in batches:
            yield [Reply(one, [1], [Completion(said(one), [5] * 9, reason(one))]) for one in batch]


def said(request):
    text = request.chat[-1]["content"]
    return next((own for mark, own in SCRIPT.items() if mark in text), WHOLE)


def reason(request):
    return "length" if "cut" in request.chat[-1]["content"] else "stop"


SCRIPT = {}


def length(*, prompt, response, lang):
    return float(len(response))


@pytest.fixture(autouse=True)
def script():
    SCRIPT.clear()
    return SCRIPT


def sampling(**more):
    return Sampling(engine=f"{__name__}:Thinker", **more)


def answered(**more):
    engine = engines.load(
        f"{__name__}:Thinker", ModelRef(name="m", revision="r"), sampling(**more), Resources()
    )
    request = Request("k", [{"role": "user", "content": "q"}], [1])
    (reply,) = next(engine.generate([[request]]))
    return reply.completions[0]


def test_an_engines_completions_are_answers():
    found = answered()
    assert (found.text, found.whole, found.token_ids) == (ANSWER, WHOLE, [5] * 9)


def test_markers_are_the_recipes(script):
    script["q"] = f"<plan>{THOUGHT}</plan>{ANSWER}"
    assert answered().text == script["q"]
    assert answered(reasoning=[["<plan>", "</plan>"]]).text == ANSWER
    script["q"] = WHOLE
    assert answered(reasoning=[]).text == WHOLE


@pytest.mark.parametrize("markers", [[["<a>", "<a>"]], [["", "</a>"]], [["<a>"]]])
def test_markers_that_cannot_be_are_refused(markers):
    with pytest.raises(ValueError, match="reasoning"):
        Sampling(reasoning=markers)


def grader(tmp_path):
    prompted = Prompted(
        engine=f"{__name__}:Thinker",
        model="smollm2-135m-instruct",
        template="bundled:grade.yaml",
        retries=0,
    )
    return rewards.load(RewardConfig(kind="prompt", prompt=prompted).bound(tmp_path), Resources())


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("<think>Grade: [[3]]?</think>Good. Grade: [[8]]", 8),
        ("<think>Grade: [[3]]</think>Good.", None),
        ("<think>The grade is on a line as Grade: [[5]]", None),
    ],
)
def test_no_grade_from_inside_the_reasoning(tmp_path, script, text, grade):
    script["the answer"] = text
    judge = grader(tmp_path)
    candidate = Candidate("es", "p", "the answer")
    if grade is None:
        with pytest.raises(Exception, match="no grade to 1 of 1"):
            judge.score([candidate])
    else:
        assert judge.score([candidate]).rewards == [grade]


@pytest.mark.parametrize(
    ("text", "prompt", "reason"),
    [
        ("<think>[[A]], [[B]] or [[C]].</think>So: [[A]]", "q", ""),
        ("<think>So [[A]] it is.</think>", "q", "empty"),
        ("<think>I must end with [[A]] if", "q", "empty"),
        ("I must end with [[A]] if", "cut", "cut off"),
        ("", "q", "empty"),
        ("Hard to say.", "q", "no label"),
        ("[[A]] or [[B]]", "q", "contradictory"),
    ],
)
def test_a_missing_verdict_has_its_reason(tmp_path, script, text, prompt, reason):
    script["answer_a"] = text
    prompted = Prompted(
        engine=f"{__name__}:Thinker",
        model="smollm2-135m-instruct",
        template="bundled:compare.yaml",
    )
    config = RewardConfig(kind="pairwise", prompt=prompted).bound(tmp_path)
    judge = judging.load(config, 0.0, Resources())
    contest = Contest(("p", "es"), Prompt("p", "es", prompt), ["x"], ["y"], 7)
    ((found,),) = judge.decide([[contest]])
    assert found.reasons == [[reason, reason]]
    assert (found.verdicts == [["none", "none"]]) == bool(reason)
    assert found.retried == (2 if reason else 0)


PREFERENCE = Preference("p", "es", "q", chosen=WHOLE, rejected=f"{ANSWER} {ANSWER}")


def test_the_audit_sees_answers(tmp_path):
    from croco.languages import load_identifier

    scorer = rewards.load(RewardConfig(kind="function", function=f"{__name__}:length"), Resources())
    (row,), failed = judge_pairs([PREFERENCE], scorer, load_identifier("fake"), lambda *_: None)
    assert not failed
    assert (row.chosen, row.chosen_length, row.chosen_in_language) == (
        len(ANSWER),
        len(ANSWER),
        True,
    )


def test_reward_training_reads_answers():
    pytest.importorskip("transformers")
    from croco.training.reward_pairs import encoded

    def tokenizer(before, answer, **_):
        return {"input_ids": [len(before), len(answer)]}

    tokenizer.chat_template = None
    endless = Preference("e", "es", "q", chosen="<think>a", rejected="b")
    pairs, left_out = encoded(tokenizer, [PREFERENCE, endless], 100)
    assert [one.chosen["input_ids"][1] for one in pairs] == [len(ANSWER)]
    assert sum(left_out.values()) == 1


def test_pass_rates_are_of_answers():
    from croco.fidelity import pass_rates
    from croco.languages import load_identifier

    found = pass_rates([WHOLE, f"{THOUGHT}</think>{ANSWER}"], "es", load_identifier("fake"))
    assert found.response.mean == 1.0


def test_files_of_answers_are_separated(tmp_path):
    path = tmp_path / "a.jsonl"
    row = {"id": "1", "lang": "es", "prompt": "q", "responses": [WHOLE, ANSWER]}
    path.write_text(json.dumps(row) + "\n")
    found = read_answers([refer("a.jsonl", tmp_path)])["1", "es"].responses
    assert found.texts == [ANSWER, ANSWER]
    assert found.whole == [WHOLE, ""]
    assert read_answers([refer("a.jsonl", tmp_path)], [])["1", "es"].responses.texts[0] == WHOLE


ROWS = [
    (WHOLE, 3.0, "stop"),
    (ANSWER, 2.0, "stop"),  # the same answer: no pair of the two
    (f"<think>{THOUGHT}", 5.0, "stop"),  # no answer
    (f"{ANSWER} es:sol", 1.0, "stop"),
    (THOUGHT, 2.5, "stop"),  # in another language
]


@pytest.fixture
def responses(tmp_path):
    path = tmp_path / "responses.jsonl"
    names = ("response", "reward", "finish_reason")
    rows = [
        {"id": "1", "lang": "es", "prompt": "q"} | dict(zip(names, row, strict=True))
        for row in ROWS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def paired(responses, out, **more):
    filters = {"wrong_language": "drop", "identifier": "fake", "near_duplicates": 0.99}
    config = PairConfig(rejected="min", filters=filters)
    summary = pair_files([responses], out, config=config, options=Options(**more))
    rows = [json.loads(line) for line in (out / "pairs-es.jsonl").read_text().splitlines()]
    return summary, rows


def test_filters_and_duplicates_look_at_answers_and_pairs_keep_whole_texts(responses, tmp_path):
    summary, (row,) = paired(responses, tmp_path / "out")
    assert summary["responses"]["reasoning"] == {"separated": 2, "unclosed": 1}
    assert row["chosen"] == [{"role": "assistant", "content": WHOLE}]
    assert row["rejected"][0]["content"] == f"{ANSWER} es:sol"
    filtered = summary["responses"]["filtered"]
    assert filtered["empty"] == 1
    assert filtered["not in the language that was asked for"] == 1
    assert filtered["nearly the same as a better response"] == 1
    exam, bad = of_files([tmp_path / "out" / "pairs-es.jsonl"])
    assert bad == 0
    assert exam.pairs.chosen_length.tolist() == [len(ANSWER)]


def test_pairs_by_markers_of_ones_own(responses, tmp_path):
    summary, (row,) = paired(responses, tmp_path / "out", markers=[])
    assert summary["responses"]["reasoning"] == {"separated": 0, "unclosed": 0}
    assert row["chosen"][0]["content"] == ANSWER, "with its reasoning the best is no Spanish"


def test_the_verb_takes_markers(responses, tmp_path, monkeypatch, capsys):
    from croco import cli

    out = tmp_path / "out"
    for given, code in (("<think>...</think>", 0), ("<think>", 2), ("none", 0)):
        arguments = ["pair", str(responses), "-o", str(out), "--reasoning", given]
        monkeypatch.setattr(sys, "argv", ["croco", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == code
    assert "--reasoning" in capsys.readouterr().err


def test_answers_in_a_column_of_texts():
    import pyarrow as pa

    from croco.pairing.facts import answers_in
    from croco.reasoning import KNOWN

    texts = pa.array([ANSWER, WHOLE, "<think>a"])
    answers, separated, unclosed = answers_in(texts, KNOWN)
    assert answers.to_pylist() == [ANSWER, ANSWER, ""]
    assert np.array_equal(separated, [False, True, True])
    assert np.array_equal(unclosed, [False, False, True])
