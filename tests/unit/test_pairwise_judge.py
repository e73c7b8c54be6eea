"""A pairwise judge sees both orders; what it is asked, how its words are read, and what is missing."""

import re
from pathlib import Path

import pytest

from croco import judging, templates
from croco.datafiles import refer
from croco.engines import Reply
from croco.errors import EngineError, RecipeError, StopError
from croco.judging.contests import VALUES, Contest
from croco.judging.labels import side_of
from croco.judging.scored import meetings
from croco.records import Completion, Prompt, Turn
from croco.reward_settings import RewardConfig
from croco.settings import Prompted, Resources

ASKED = []
LABEL = r"\[\[\s*([^\[\]]*?)\s*\]\]"


class LongerWins:
    """An engine as a user may write one: the longer answer wins, and some words trip it up."""

    context_length = None

    def __init__(self, policy, sampling, resources, adapter=None):
        self.sampling = sampling

    def encode(self, chat):
        return []

    def generate(self, batches):
        for batch in batches:
            for request in reversed(batch):
                ASKED.append(request)
                yield [self.reply(request)]

    def reply(self, request):
        text = request.chat[-1]["content"]
        a, b = (
            re.search(rf"<answer_{side}>\n(.*?)\n</answer_{side}>", text, re.DOTALL)[1]
            for side in "ab"
        )
        if "stop" in (a, b):
            return Reply(request, error=StopError("the server is gone"))
        if "fails" in (a, b):
            return Reply(request, error=EngineError("too long"))
        if "never" in (a, b) or ("later" in (a, b) and request.temperature == 0):
            return Reply(request, completions=[Completion("Hard to say: A or B?", [], "stop")])
        label = "first" if "first" in text else ""
        label = label or ("C" if len(a) == len(b) else "A" if len(a) > len(b) else "B")
        label = "A" if label == "first" else label
        return Reply(request, completions=[Completion(f"So it is.\n[[{label}]]", [], "stop")])


@pytest.fixture
def judge(tmp_path):
    ASKED.clear()

    def build(template="bundled:compare.yaml", **more):
        prompted = Prompted(
            engine=f"{__name__}:LongerWins",
            model="smollm2-135m-instruct",
            template=template,
            **more,
        )
        config = RewardConfig(kind="pairwise", prompt=prompted).bound(tmp_path)
        return judging.load(config, 0.0, Resources())

    return build


def contest(base, tuned, id="p1", lang="gl", prompt="Que é iso?", before=()):
    return Contest((id, lang), Prompt(id, lang, prompt, list(before)), base, tuned, seed=7)


def decided(judge, *contests):
    found = [one for batch in judge.decide([list(contests)]) for one in batch]
    return {one.contest.key[0]: one for one in found}


def test_each_comparison_is_asked_in_both_orders_and_read_from_tuneds_side(judge):
    found = decided(judge(), contest(["longer", "x", "same"], ["short", "xyz", "emas"]))["p1"]
    assert found.places == [(0, 0), (1, 1), (2, 2)]
    assert found.verdicts == [["loss", "loss"], ["win", "win"], ["tie", "tie"]]
    assert all(text.startswith("So it is.") for pair in found.texts for text in pair)
    assert len(ASKED) == 6
    assert len({tuple(request.seeds) for request in ASKED}) == 6


def test_a_judge_that_prefers_the_first_contradicts_itself(judge):
    found = decided(judge(), contest(["a"], ["b"], prompt="first?"))["p1"]
    assert found.verdicts == [["loss", "win"]]


def test_the_judge_is_told_the_language_and_the_whole_conversation(judge):
    before = [Turn("system", "Be brief."), Turn("user", "Ola"), Turn("assistant", "Ola!")]
    decided(judge(), contest(["a"], ["bb"], before=before))
    system, user = (message["content"] for message in ASKED[0].chat)
    assert "Galician" in system
    for said in ("system: Be brief.", "assistant: Ola!", "user: Que é iso?"):
        assert said in user


def test_what_is_unclear_is_asked_once_more_and_then_counted(judge):
    found = decided(
        judge(retry_temperature=0.9),
        contest(["later"], ["a longer one"], "later"),
        contest(["never"], ["b"], "never"),
        contest(["a"], ["bb"], "clear"),
    )
    assert found["later"].verdicts == [["win", "win"]]
    assert found["later"].retried == 2
    assert found["never"].verdicts == [["none", "none"]]
    assert found["never"].retried == 2
    assert (found["clear"].verdicts, found["clear"].retried) == ([["win", "win"]], 0)
    assert sorted({request.temperature for request in ASKED}) == [0.0, 0.9]
    assert len(ASKED) == 10


def test_an_error_fails_its_contest_alone_and_a_stop_stops(judge):
    found = decided(
        judge(), contest(["fails", "x"], ["b", "y"], "bad"), contest(["a"], ["bb"], "ok")
    )
    assert str(found["bad"].error) == "too long"
    assert found["ok"].verdicts == [["win", "win"]]
    with pytest.raises(StopError):
        decided(judge(), contest(["stop"], ["b"]))


def test_a_template_with_other_values_is_refused(judge, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("version: 1\nmessages: [{role: user, content: '{{ answer_c }}'}]\n")
    with pytest.raises(RecipeError, match="answer_a"):
        judge(str(path))


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("Final verdict: [[A]]", "A"),
        ("[[B]] because", "B"),
        ("so [[C]].", "tie"),
        ("[[A>>B]]", "A"),
        ("verdict: [[ b > a ]]", "B"),
        ("[[A=B]]", "tie"),
        ("[[tie]]", "tie"),
        ("[[A<B]]", "B"),
        ("[[B>A]] and again [[B>>A]]", "B"),
        ("Either [[A]] or [[B]]", None),
        ("[[A]] if A is better, [[C]] for a tie", None),
        ("[[error]]", None),
        ("Assistant A is slightly better.", None),
        ("[A]", None),
        ("[[AB]]", None),
        ("", None),
    ],
)
def test_labels(text, side):
    assert side_of(re.findall(LABEL, text)) == side


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("**[[A]]**", "A"),
        ("[[**B**]]", "B"),
        ("[[`C`]]", "tie"),
        ("__[[ A > B ]]__", "A"),
        (r"\[\[B\]\]", "B"),
        ("[[\uff21]]", "A"),
        ("[[A\uff1eB]]", "A"),
        ("<think>[[A]] or [[B]]?</think> [[B]]", "B"),
        ("<think>[[A]]</think>", None),
        ("<think>It is [[A]]", None),
    ],
)
def test_labels_as_the_bundled_template_finds_them(text, side):
    template = templates.read(refer("bundled:compare.yaml", Path()), VALUES)
    assert side_of(template.answers_in(text)) == side


def test_a_reward_lets_every_answer_meet_every_other_but_no_more_than_sixteen():
    assert sorted(meetings(2, 3)) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    many = meetings(64, 64)
    assert len(many) == len(set(many)) == 64 * 16
    assert all(sum(b == one for b, _ in many) == 16 for one in range(64))


def test_a_reward_judges_by_its_scores(tmp_path):
    config = RewardConfig(kind="function", function="croco.rewards.fake:brevity")
    judge = judging.load(config.bound(tmp_path), 0.0, Resources())
    found = decided(judge, contest(["a b c", "a"], ["a b", "a b c d"]))["p1"]
    won = dict(zip(found.places, found.verdicts, strict=True))
    assert won == {
        (0, 0): ["win"],
        (1, 0): ["loss"],
        (1, 1): ["loss"],
        (0, 1): ["loss"],
    }
    assert len(found.base_scores) == len(found.tuned_scores) == 2
