"""A judge is a template over an engine: what it is asked, how its grade is read, what it is known by."""

import re
from pathlib import Path

import pytest

from croco import rewards
from croco.engines import Reply
from croco.errors import EngineError, RecipeError
from croco.records import Candidate, Completion, Turn
from croco.reward_settings import RewardConfig
from croco.settings import Prompted, Resources

ASKED = []


class Grader:
    """An engine as a user may write one: grades by length, and at temperature 0 not every answer."""

    context_length = None

    def __init__(self, policy, sampling, resources, adapter=None):
        self.sampling = sampling

    def encode(self, chat):
        return []

    def generate(self, batches):
        for batch in batches:
            for request in reversed(batch):
                ASKED.append(request)
                yield [Reply(request, completions=[self.graded(request)])]

    def graded(self, request):
        answer = re.search(r"<answer>\n(.*)\n</answer>", request.chat[-1]["content"], re.DOTALL)[1]
        if answer == "never" or (answer == "later" and request.temperature == 0):
            return Completion("It is hard to say.", [], "stop")
        reason = "length" if answer == "cut" else "stop"
        return Completion(f"Not [[1]] but [[{len(answer)}]], since.", [], reason)


@pytest.fixture
def judge(tmp_path):
    ASKED.clear()

    def build(template="bundled:grade.yaml", **more):
        prompted = Prompted(
            engine=f"{__name__}:Grader", model="smollm2-135m-instruct", template=template, **more
        )
        config = RewardConfig(kind="prompt", prompt=prompted).bound(tmp_path)
        return rewards.load(config, Resources())

    return build


def candidate(response, before=()):
    return Candidate("gl", "Que é iso?", response, list(before))


def test_the_last_grade_of_each_answer_is_its_reward(judge):
    before = [Turn("system", "Be brief."), Turn("user", "Ola"), Turn("assistant", "Ola!")]
    scores = judge().score([candidate("abc", before), candidate("defgh")])
    assert scores.rewards == [3.0, 5.0]
    asked = {request.key: request.chat[-1]["content"] for request in ASKED}
    assert "Galician" in asked[0]
    assert "system: Be brief.\n\nuser: Ola\n\nassistant: Ola!\n\nuser: Que é iso?" in asked[0]
    assert {request.temperature for request in ASKED} == {0.0}


def test_an_answer_without_a_grade_is_asked_about_once_more_and_alone(judge):
    assert judge().score([candidate("later"), candidate("ab")]).rewards == [5.0, 2.0]
    assert [request.temperature for request in ASKED] == [0.0, 0.0, 0.7]
    assert ASKED[-1].key == 0


def test_a_retry_has_another_seed_at_the_same_temperature_too(judge):
    with pytest.raises(EngineError):
        judge(temperature=0.7).score([candidate("never")])
    assert [request.temperature for request in ASKED] == [0.7, 0.7]
    assert ASKED[0].seeds != ASKED[1].seeds


def test_a_cut_off_text_holds_no_grade(judge):
    with pytest.raises(EngineError, match="cut off"):
        judge().score([candidate("cut")])


def test_no_grade_in_two_attempts_is_an_error_and_not_a_reward(judge):
    with pytest.raises(EngineError, match=r"no grade to 1 of 2 answers .*hard to say"):
        judge().score([candidate("never"), candidate("ab")])


def test_what_an_answer_says_is_never_taken_for_template(judge):
    scores = judge().score([candidate("{{ 7*7 }}"), candidate("{% raw %}")])
    assert scores.rewards == [float(len("{{ 7*7 }}")), float(len("{% raw %}"))]


def test_nothing_to_grade_asks_nothing(judge):
    assert judge().score([]).rewards == []
    assert not ASKED


def test_an_edited_template_is_another_judge(tmp_path):
    path = tmp_path / "own.yaml"

    def bound(text):
        path.write_text(text)
        prompted = Prompted(engine="fake", model="smollm2-135m-instruct", template="own.yaml")
        return RewardConfig(kind="prompt", prompt=prompted).bound(tmp_path).model_dump_json()

    one = bound("version: 1\nmessages: [{role: user, content: '{{ response }}'}]\n")
    other = bound("version: 2\nmessages: [{role: user, content: '{{ response }}'}]\n")
    assert one != other
    assert str(tmp_path) not in one


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("version: 1\nmessages: []\n", "messages"),
        ("version: 1\nmessages: [{role: user, content: '{{ secret }}'}]\n", "the values here are"),
        ("version: 1\nmessages: [{role: user, content: '{{ a'}]\n", "the values here are"),
        ("version: 1\nmessages: [{role: user, content: x}]\nanswer: '('\n", "regular expression"),
        ("version: 1\nmessages: [{role: user, content: x}]\nanswer: 'x'\n", "0 groups"),
        ("- 1\n", "not a template"),
        ("a: [\n", "not a template"),
    ],
)
def test_a_broken_template_says_where(judge, tmp_path, text, reason):
    Path(tmp_path / "own.yaml").write_text(text)
    with pytest.raises(RecipeError, match=reason):
        judge("own.yaml")
