"""Grades and patterns: what judges write is read, out of bounds is no grade, and nothing takes long."""

import re
import time
from pathlib import Path

import pytest

from croco import templates
from croco.datafiles import refer
from croco.errors import RecipeError
from croco.grades import grade_in
from croco.patterns import found_in
from croco.rewards.prompted import VALUES

MESSAGES = "version: 1\nmessages: [{role: user, content: '{{ response }}'}]\n"


def own(tmp_path, rest):
    path = tmp_path / "own.yaml"
    path.write_text(MESSAGES + rest, encoding="utf-8")
    return templates.read(refer("own.yaml", tmp_path), VALUES)


@pytest.fixture(scope="module")
def bundled():
    return templates.read(refer("bundled:grade.yaml", Path()), VALUES)


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("Grade: [[8]]", 8),
        ("**Grade: [[8]]**", 8),
        ("**Grade**: [[**8**]]", 8),
        ("Grade: `[[8]]`", 8),
        ("Grade: [[8/10]]", 8),
        ("Grade: [[8 / 10]]", 8),
        ("Grade: [[8 out of 10]]", 8),
        ("Grade: [[8,5]]", 8.5),
        ("Grade: [[8.5]]", 8.5),
        ("Grade: [[8.]]", 8),
        ("Grade: [[+8]]", 8),
        ("Grade: [[\u0668]]", 8),
        ("Grade: [[\u0668\u066b\u0665]]", 8.5),
        ("Grade: [[\uff18]]", 8),
        ("Nota: [[8 ]] de 10", 8),
        ("Nota: [[8 de 10]]", 8),
        ("Grade: [8]", 8),
        ("Grade: 8/10", 8),
        ("**Grade:** 8 / 10.", 8),
        ("Final grade: [[8]]\nThe scale runs from [[1]] to [[10]].", 8),
        ("Not [[3]] but [[8]].", 8),
        ("<think>Perhaps [[3]]?</think> Good. Grade: [[8]]", 8),
        ("Grade: [[10/10]]", 10),
        ("Grade: [[8]]/10", 8),
        ("Grade: [[8]] out of 10", 8),
        ("Grade: [[8]] (out of [[10]])", 8),
        ("Grade: [[\u200e8]]", 8),
        ("Grade: [[\u2068\u0668\u2069]]", 8),
        ('{"grade": 8}', 8),
        ("Grade: 8,5", 8.5),
        ("Grade: 8, since it is good", 8),
    ],
)
def test_what_judges_write_is_read(bundled, text, grade):
    assert bundled.grade_in(text) == grade
    assert float(bundled.answer_in(text)) == grade


@pytest.mark.parametrize(
    "text",
    [
        "Grade: [[85]]",
        "Grade: [[0]]",
        "Grade: [[-5]]",
        "Grade: -5",
        "Grade: [[\u22125]]",
        "Grade: [[98989]]",
        "Grade: [[1e3]]",
        "Grade: 1e3",
        "Grade: [[0x8]]",
        "Grade: [[inf]]",
        "Grade: [[nan]]",
        "Grade: [[8-9]]",
        "Grade: [[8%]]",
        "Grade: [[4/5]]",
        "Grade: [[80/100]]",
        "Grade: [[8,000]]",
        "Grade: [[4]]/5",
        "Grade: [[4]] out of 5",
        "Grade: **[[4]]** / 5",
        "[[4]] of 5",
        "Grade: 4 out of 5",
        "Grade: **4** of 5",
        "Grade: [4]/5",
        "Grade: 4 - 5",
        "Grade: 4 to 5",
        "Grade: 8 000",
        "Grade: 8,000",
        "Grade: [[8.5.1]]",
        "Grade: [[]]",
        "Grade: [[85]]. The example was [[5]].",
        "I would grade 2 aspects.",
        "<think>Grade: [[8]]",
        "<think>Grade: [[8]]</think>Good.",
        "Perhaps a [[8]]?</think>Good.",
        "",
    ],
)
def test_what_is_no_grade_is_none(bundled, text):
    assert bundled.answer_in(text) is None
    with pytest.raises(ValueError, match=r"."):
        bundled.grade_in(text)


def test_without_bounds_any_number_is_a_grade():
    assert grade_in("85") == 85
    assert grade_in("-0,5") == -0.5
    with pytest.raises(ValueError, match="scale"):
        grade_in("8/10")


def test_a_template_has_its_own_bounds_and_patterns(tmp_path):
    template = own(tmp_path, "answer: ['Nota (.*)', 'Note (.*)']\ngrades: [0, 1]\n")
    assert template.grade_in("Note 0,25") == 0.25
    assert template.answer_in("Nota 2, Note 0,5") is None


@pytest.mark.parametrize(
    "rest",
    [
        "answer: '(?=a)(b)'\n",
        "answer: '(a)\\1'\n",
        "answer: ['(a)', '(a{1000}){1000}']\n",
        "answer: '(a)++'\n",
        "answer: 3\n",
        "grades: [10, 1]\n",
        "grades: [1]\n",
    ],
)
def test_what_cannot_be_compiled_is_refused_with_file_and_key(tmp_path, rest):
    key = rest.partition(":")[0]
    with pytest.raises(RecipeError, match=rf"own.yaml: key '{key}") as caught:
        own(tmp_path, rest)
    assert "answer: '" not in rest or "RE2" in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"(\d+)", "\u0668", ["\u0668"]),
        (r"([^\d]+)\d", "\u00e9\u0668", ["\u00e9"]),
        (r"nota (\w+)", "nota d\u00e9cima", ["d\u00e9cima"]),
        (r"a\s(b)", "a\u00a0b", ["b"]),
        (r"(\W+)", "\u00e9!", ["!"]),
        (r"([\s\S]+)x", "\u00e9\u00a0x", ["\u00e9\u00a0"]),
        (r"a(.*)b", "a\n1\nb", ["\n1\n"]),
        (r"([]\d]+)", "]8", ["]8"]),
        (r"([^]]+)]", "ab]", ["ab"]),
        (r"(a)\Z", "a\n", ["a"]),
        (r"(a)$", "a\n", ["a"]),
        (r"(a)?b", "b", [""]),
        (r"(\[\d\])", "[1]", ["[1]"]),
    ],
)
def test_patterns_mean_what_they_mean_in_python(pattern, text, found):
    assert found_in(pattern, text) == found


LONG = 500_000


@pytest.mark.parametrize(
    "text",
    [
        "[[" + " " * LONG,
        "[[" * LONG,
        "Grade: [[ " + "8" * LONG,
        "<translation>" + " " * LONG,
        "<translation>" * (LONG // 10),
        "grade" * (LONG // 5),
        "Grade:" + "*" * LONG,
    ],
)
def test_the_bundled_patterns_take_time_in_the_length_alone(text):
    start = time.process_time()
    for name in ("grade", "compare", "translate"):
        path = refer(f"bundled:{name}.yaml", Path())
        values = VALUES | {"answer_a", "answer_b", "text", "source_language"}
        templates.read(path, values).answer_in(text)
    assert time.process_time() - start < 10


def test_a_run_refuses_a_pattern_before_it_asks_anything(tmp_path, monkeypatch, capsys):
    from croco import cli

    (tmp_path / "own.yaml").write_text(MESSAGES + "answer: '(?<=a)(b)'\n")
    (tmp_path / "a.jsonl").write_text('{"id": "1", "lang": "es", "prompt": "a", "response": "b"}\n')
    judge = "judge: {kind: prompt, prompt: {engine: fake, model: fake, template: own.yaml}}\n"
    (tmp_path / "judge.yaml").write_text(judge)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["croco", "compare", *["a.jsonl"] * 2, "--judge", "judge.yaml"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "own.yaml: key 'answer'" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "name", ["[^\\W\\d_]", "[\\D]", "[\\W]", "[\\S]", "[^\\S]", "[^\\D]", "\\w", "\\S"]
)
def test_classes_in_brackets_are_those_of_all_scripts(name):
    text = "a\u0411\u0e01\u4e2d\u0668 9_\u203f-\u3002\u2009+\u0301\x00z"
    assert found_in(f"({name})", text) == re.findall(name, text)
