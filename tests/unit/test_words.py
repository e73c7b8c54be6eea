"""Words in scripts without spaces: what repeats itself is seen, and lines are as long as they are."""
# ruff: noqa: RUF001 (texts in Chinese)

import pytest

from croco import stats
from croco.fidelity import judge_lines, pass_rates, tokens, word_pass
from croco.identifiers import FakeIdentifier, Heliport
from croco.languages import same_language
from croco.metrics import Answered, compare
from croco.records import Responses
from croco.training.alerts import of_look
from croco.training.log import Look
from croco.words import count_words, repetition, words

PHRASES = {
    "en": "Go on ",
    "zh": "今天天气好",
    "ja": "こんにちは",
    "th": "สวัสดี",
    "km": "សួស្តី",
    "lo": "ສະບາຍດີ",
    "my": "မင်္ဂလာ",
    "bo": "བཀྲ་ཤིས",
}
PLAIN = {
    "en": "The sky is blue because the air scatters blue light more than the light of other colours.",
    "zh": "天空是蓝色的，因为空气散射蓝光比其他颜色的光更多。",
    "ja": "空が青いのは、空気が青い光をほかの色の光よりも強く散乱させるからです。",
    "th": "ท้องฟ้าเป็นสีฟ้าเพราะแสงสีน้ำเงินกระเจิงมากกว่าแสงสีอื่นเมื่อผ่านชั้นบรรยากาศของโลก",
    "km": "មេឃមានពណ៌ខៀវព្រោះខ្យល់បំបែកពន្លឺខៀវច្រើនជាងពណ៌ផ្សេងទៀត",
    "lo": "ທ້ອງຟ້າເປັນສີຟ້າເພາະແສງສີຟ້າກະຈາຍຫຼາຍກວ່າແສງສີອື່ນ",
    "my": "ကောင်းကင်သည်အပြာရောင်ဖြစ်သည်အဘယ်ကြောင့်ဆိုသော်လေထုသည်အလင်းကိုဖြန့်ကြဲသည်",
}
ENGLISH = "\nThe sky is blue because blue light is scattered more than red"


def look(step, text):
    return Look(step, -1.0, -2.0, repetition=repetition(text))


@pytest.mark.parametrize("lang", PHRASES)
def test_a_phrase_that_is_repeated_raises_the_alert(lang):
    first = look(0, PLAIN.get(lang, PLAIN["en"]))
    assert first.repetition < 0.05
    for joined in ("", " ", "\n"):
        [alert] = of_look(first, look(1, joined.join([PHRASES[lang]] * 20)))
        assert alert.startswith("repetition rose from 0.0")


@pytest.mark.parametrize("lang", PHRASES)
def test_distinct_bigrams_fall_where_a_phrase_is_repeated(lang):
    def side(text):
        row = Responses("p", lang, [1], [text], [[1]], ["stop"])
        return Answered({row.key: row}, {})

    plain, repeated = side(PLAIN.get(lang, PLAIN["en"])), side(PHRASES[lang] * 20)
    [row] = [
        one
        for one in compare("dpo", {}, plain, repeated, 1)
        if (one.metric, one.lang) == ("distinct_2", lang)
    ]
    assert row.base > 0.9
    assert row.tuned < 0.1


def test_words_between_spaces_are_as_they_were():
    text = "Go on, don't  stop: 42 times, in Москва!"
    assert words(text) == text.split()
    assert count_words(text) == len(text.split())
    assert stats.distinct_n(words("a b a b"), 2) == pytest.approx(2 / 3)


def test_words_of_mixed_lines():
    assert words("Python 语言很好") == ["Python", "语言", "言很", "很好"]
    assert words("好 ok") == ["好", "ok"]
    assert count_words("ใช้ Python 3") == 3 / 4 + 2


@pytest.mark.parametrize("lang", [lang for lang in PLAIN if lang != "en"])
def test_lines_without_spaces_are_judged(lang):
    pytest.importorskip("heliport")
    own = PLAIN[lang]
    rates = pass_rates([own] * 18 + [own + ENGLISH] * 2, lang, Heliport())
    assert (rates.judged, rates.answers) == (20, 20)
    assert rates.line.mean == pytest.approx(0.9)
    # And where another language was asked for, such a line is wrong, not too short.
    other = pass_rates([PLAIN["en"], own], "en", Heliport())
    assert (other.judged, other.line.mean) == (2, 0.5)


def test_short_lines_of_thai_are_left_out():
    assert tokens("สวัสดีครับ", "th") < 5
    assert judge_lines(["สวัสดีครับ"], "th", FakeIdentifier())[0].lines is None


def test_english_words_are_found_in_lines_without_spaces():
    assert word_pass(["ใช้tokenในประโยค"], "th") == 0.0
    assert word_pass(["ใช้Tokenในประโยค"], "th") == 1.0


def test_indonesian_counts_as_malay():
    assert same_language("id", "ms")
    assert not same_language("id", "jv")
