"""In the language, not in it, or it cannot be told: which texts are which, and no use punishes the last."""
# ruff: noqa: RUF001 (texts in Greek and Chinese)

import json
import math
from types import SimpleNamespace

import pytest

from croco import rewards
from croco.auditing import audit
from croco.comparing import Comparison, judged
from croco.fidelity import judge_lines, pass_rates
from croco.languages import load_identifier
from croco.metrics import Answered, compare
from croco.pairing.doctor import diagnose
from croco.pairing.exams import of_files
from croco.prose import prose, tells
from croco.records import Candidate, Languages, Preference, Responses, Rewards
from croco.report.languages import gated
from croco.reward_settings import RewardConfig
from croco.settings import Resources
from croco.spoken import hear
from croco.stages.audit import judge_pairs

#: Right answers that hold too little language, by the language that was asked.
TOO_LITTLE = {
    "es": [
        "42",
        "3,14 %",
        "2024-05-01",
        "París.",
        "Gabriel García Márquez",
        "Leonardo da Vinci",
        "Río de la Plata",
        "La Universidad de Harvard",
        "IBM, NASA",
        "https://es.wikipedia.org/wiki/Madrid",
        "correo@example.com",
        "\N{GRINNING FACE}",
        "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}",
        "Sí.",
        "responsabilidad",
        "```python\ndef suma(a, b):\n    # returns the sum of both numbers\n    return a + b\n```",
        "def suma(a, b):\n    return a + b",
        "public class Main {\n  public static void main(String[] args) {\n    run();\n  }\n}",
        "SELECT nombre, edad FROM usuarios ORDER BY edad DESC",
        '{"nombre": "Ana", "edad": 3}',
        "`npm install`",
        "pip install numpy",
        "docker run -it ubuntu",
        "<b>hola</b>",
    ],
    "de": ["Ja.", "Johann Wolfgang von Goethe", "Ludwig van Beethoven"],
    "ja": ["東京", "夏目漱石", "はい"],
    "zh": ["北京", "是的"],
    "ko": ["서울", "세종대왕"],
    "ar": ["نعم", "محمد علي", "٤٢"],
    "hi": ["दिल्ली", "महात्मा गांधी"],
    "th": ["ใช่", "กรุงเทพ"],
    "ru": ["да", "Лев Толстой", "Paris"],
    "el": ["ναι", "Σωκράτης"],
    "he": ["כן", "ירושלים"],
    "km": ["ភ្នំពេញ"],
}
ENOUGH = {
    "es": "La capital de Francia es una ciudad muy grande.",
    "de": "Wer war 1955 der Präsident dieses Landes?",
    "ja": "東京は日本の首都であり、とても大きな都市です。",
    "zh": "北京是中国的首都，也是一座很大的城市。",
    "ar": "القاهرة هي عاصمة مصر وأكبر مدنها.",
    "hi": "दिल्ली भारत की राजधानी है और बहुत बड़ा शहर है।",
    "th": "กรุงเทพเป็นเมืองหลวงของประเทศไทย",
    "ru": "Москва это столица России.",
    "el": "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας.",
    "en": "THE SKY IS BLUE BECAUSE THE AIR SCATTERS BLUE LIGHT",
}
ENGLISH = "The capital of France is a large city on a river."


@pytest.fixture(scope="module", params=["py3langid", "heliport"])
def identifier(request):
    pytest.importorskip(request.param)
    return load_identifier(request.param)


@pytest.mark.parametrize("lang", TOO_LITTLE)
def test_too_little_language_cannot_be_told(identifier, lang):
    texts = TOO_LITTLE[lang]
    found = hear(texts, [lang] * len(texts), identifier)
    told = [text for text, one in zip(texts, found, strict=True) if one.right is not None]
    assert told == []
    assert all(one.language is None and math.isnan(one.share) for one in found)
    assert all(one.reaches(0.9) is None for one in found)


def test_enough_language_is_right_or_wrong(identifier):
    own = hear(list(ENOUGH.values()), list(ENOUGH), identifier)
    assert [one.right for one in own] == [True] * len(ENOUGH)
    other = hear([ENGLISH] * 3, ["es", "ru", "ja"], identifier)
    assert [one.reaches(0.5) for one in other] == [False] * 3


def test_a_short_sentence_of_few_words_is_wrong_where_another_language_was_asked(identifier):
    langs = ["ja", "ko", "hi", "th", "ru", "zh", "ar"]
    found = hear(["The capital of France is Paris."] * len(langs), langs, identifier)
    assert [one.reaches(0.5) for one in found] == [False] * len(langs)
    [name] = hear(["The Lord of the Rings"], ["ru"], identifier)
    assert name.right is None


def test_an_empty_answer_is_in_no_language(identifier):
    for text in ("", " \n", "\N{ZERO WIDTH SPACE}"):
        [found] = hear([text], ["es"], identifier)
        assert (found.language, found.share, found.right) == ("und", 0.0, False)


def test_identifiers_do_not_see_code():
    code = "```python\nfor word in words:\n    print(word)  # every word of the list\n```"
    text = f"Esta función imprime las palabras:\n{code}\nSee https://example.com"
    assert "print" not in prose(text)
    assert "example" not in prose(text)
    assert tells(text)


def test_a_sure_likeliest_language_is_not_wrong_for_a_flat_distribution():
    class Flat:
        def identify(self, texts):
            return [[("es", 0.4), ("gl", 0.35), ("pt", 0.25)] for _ in texts]

    text = "Inventa un cuento breve para dormir."
    own, other = hear([text, text], ["es", "pt"], Flat())
    assert (own.reaches(0.5), own.reaches(0.6), own.share) == (True, False, 0.4)
    assert other.reaches(0.5) is False


def test_an_identifier_may_say_itself_what_it_can_tell():
    class Own:
        def tells(self, text):
            return len(text) > 1

        def identify(self, texts):
            assert texts == ["ja"]
            return [[("de", 1.0)]]

    assert [one.right for one in hear(["ja", "?"], ["de", "de"], Own())] == [True, None]


@pytest.mark.parametrize("size", [10, 100_000])
def test_odd_texts_are_read_in_linear_time(size):
    for piece in ("a(", "`", "```\n", "${", "= ", "é(", ") ", "a@", ';"', "::", "\n#"):
        tells(piece * size)
        prose(piece * size)


def test_the_gate_takes_nothing_from_what_cannot_be_told():
    pytest.importorskip("py3langid")
    gate = {"identifier": "py3langid", "threshold": 0.5, "penalty": 10.0}
    config = RewardConfig(
        kind="composite", parts={"x": {"kind": "language", "identifier": "py3langid"}}, gate=gate
    )
    scorer = rewards.load(config, Resources())
    found = scorer.score([Candidate("es", "?", text) for text in ("42", ENGLISH, ENOUGH["es"])])
    assert found.rewards[0] == 0.5
    assert found.rewards[1] < -9
    assert found.rewards[2] > 0.5
    assert math.isnan(found.parts["language"][0])
    [row] = found.rows([(("p", "es"), 3)])
    assert row.rewards == found.rewards


def test_fidelity_leaves_out_and_the_adjusted_rate_does_not_punish():
    def side(*languages):
        row = Responses("p", "es", [1], ["a"] * 3, [[1]] * 3, ["stop"] * 3)
        return Answered({row.key: row}, {row.key: Languages("p", "es", list(languages))})

    base, tuned = side("es", "en", None), side(None, "es", None)
    assert tuned.in_language(("p", "es")) == [None, True, None]
    [found] = [m for m in compare("dpo", {}, base, tuned, 1) if m.metric == "language_fidelity"][:1]
    assert (found.base, found.tuned) == (0.5, 1.0)


def test_comparisons_with_an_unknown_language_stand_in_no_adjusted_rate():
    def row(id, verdict, spoken):
        return Comparison(id, "es", [verdict], (1, 1), spoken)

    rows = [row("1", "win", (True, False)), row("2", "win", None), row("3", "win", (None, None))]
    rows += [row("4", "loss", (False, None))]
    own = judged(rows, 1)["es"]
    # 1 is a loss, 3 and 4 are won: what cannot be told is not wrong; nobody knows of 2.
    assert own.language_adjusted.mean == pytest.approx(2 / 3)
    assert (own.language_unknown, own.cannot_tell) == (1, 2)
    assert any("1 of 4 comparisons" in note for note in own.notes)
    nameless = judged([row("1", "win", None)], 1)["es"]
    assert math.isnan(nameless.language_adjusted.mean)
    assert nameless.win_rate.mean == 1.0


def test_the_audit_and_the_doctor_count_them_apart(tmp_path):
    pytest.importorskip("py3langid")
    identifier = load_identifier("py3langid")
    pairs = [
        Preference("1", "es", "?", "42", ENGLISH),
        Preference("2", "es", "?", "París.", "Roma."),
    ]
    pairs += [Preference("3", "es", "?", ENOUGH["es"], ENGLISH)]

    class Length:
        def score(self, candidates):
            return rewards.Scores([float(len(c.response)) for c in candidates])

    found, failed = judge_pairs(pairs, Length(), identifier, lambda *_: None)
    assert not failed
    sides = [(one.chosen_in_language, one.rejected_in_language) for one in found]
    assert sides == [(None, False), (None, None), (True, False)]
    figures = audit(found, 1)["es"]
    assert figures["cannot_tell"] == 2
    assert figures["in_language_wins"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert figures["in_language_decides"]["n"] == 1

    file = tmp_path / "pairs.jsonl"
    rows = [{"id": p.id, "lang": p.lang, "chosen": p.chosen, "rejected": p.rejected} for p in pairs]
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    own = diagnose(of_files([file])[0], "py3langid")["languages"]["es"]
    assert own["cannot_tell"] == 2
    assert own["only_chosen_in_language"] == 1.0


def test_lines_that_cannot_be_told_are_left_out(identifier):
    own = ENOUGH["es"]
    texts = [
        f"{own}\n1 2 3 4 5 6\n```\nfor word in all the words\n```",
        "1 2 3 4 5 6",
        f"{own}\n{ENGLISH}",
    ]
    assert [one.lines for one in judge_lines(texts, "es", identifier)] == [1.0, None, 0.5]
    rates = pass_rates([*texts, "42"], "es", identifier)
    assert (rates.answers, rates.judged, rates.cannot_tell) == (4, 2, 2)
    assert rates.line.mean == 0.5


def test_the_report_counts_what_the_gate_could_not_tell():
    rows = [Rewards("1", lang, [1.0, 2.0], {"language": [math.nan, 0.9]}) for lang in ("es", "de")]
    inputs = {"score": SimpleNamespace(rows=lambda: iter(rows)), "base.language": None}
    gate = {"reward": {"gate": {"threshold": 0.5}}}
    own = {"answers": 2, "cannot_tell": 1}
    assert gated(inputs, gate) == {"score": {"de": own, "es": own}}
    assert gated(inputs, {"reward": {"gate": None}}) == {}
