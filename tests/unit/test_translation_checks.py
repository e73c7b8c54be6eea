"""The checks of a translation: each one passing and failing, in several languages."""

import time

import pytest

from croco.records import Draft, Failure, Turn
from croco.settings import Checks, Translate
from croco.stages.translate import Config, _Work
from croco.translation import Text, Translated
from croco.translation.checks import CHECKS, failed_checks
from croco.translation.spans import masked, prose, spans


def failed(source, text, *, target="es", ranking=None, unknown=0, source_lang="en", **checks):
    ranking = [(target, 1.0)] if ranking is None else ranking
    return failed_checks(Checks(**checks), source, text, source_lang, target, ranking, unknown)


GOOD = [
    ("es", "Why does the sky look blue during the day?", "¿Por qué el cielo se ve azul de día?"),
    ("de", "How do bees turn nectar into honey?", "Wie machen Bienen aus Nektar Honig?"),
    ("zh", "Why does the sky look blue during the day?", "为什么白天的天空看起来是蓝色的？"),  # noqa: RUF001
    ("ja", "Explain gravity to me as if I were eight.", "八歳の子どもに話すように重力を説明して。"),
    ("ar", "Give me 3 ideas for breakfast.", "أعطني ٣ أفكار لوجبة الإفطار."),
    ("fr", "It costs $1,000.5 in {city} at 12:30.", "Cela coûte 1 000,5 $ à {city} à 12.30 h."),
    ("hi", "What can I do with 100,000 rupees?", "मैं 1,00,000 रुपये से क्या कर सकता हूँ?"),
    (
        "nl",
        "Run `ls -l` and explain $x^2$ at https://a.org/b.",
        "Voer `ls -l` uit en leg $x^2$ uit (https://a.org/b).",
    ),
    ("pt-BR", "Pay $5 and $10 by 3pm.", "Pague 5 $ e 10 $ até as 3 da tarde."),
]


@pytest.mark.parametrize(("target", "source", "text"), GOOD)
def test_a_good_translation_fails_nothing(target, source, text):
    assert failed(source, text, target=target) == {}


def test_an_empty_translation_fails_that_check_alone():
    assert list(failed("Give me 3 ideas.", " \n")) == ["empty"]
    assert failed(" ", "") == {}


def test_labels_have_a_fixed_order_and_reasons():
    source = "Run `ls` 3 times for {name} with $x$ in the green garden of the house, please"
    text = ("Run times for with in the green garden of the house, please " * 5).strip()
    found = failed(source, text, ranking=[("en", 0.9), ("es", 0.1)], unknown=40)
    assert list(found) == [label for label in CHECKS if label != "copied"]
    assert all(reason and not reason.endswith(".") for reason in found.values())
    assert found["language"] == "the share of es is 0.10, under 0.5, and that of en 0.90"


SENTENCE = "El perro verde corre por la casa."


@pytest.mark.parametrize(
    ("target", "ranking", "fails"),
    [
        ("es", [("es", 0.6), ("gl", 0.4)], False),
        ("es", [("gl", 0.6), ("es", 0.4)], True),
        ("es-MX", [("es", 0.6)], False),
        ("nb", [("no", 0.6)], False),
        ("zh-Hant", [("cmn", 0.3), ("zh", 0.3)], False),
        ("es", [], True),
    ],
)
def test_language_is_the_share_of_the_target(target, ranking, fails):
    found = failed("The green dog runs about the house.", SENTENCE, target=target, ranking=ranking)
    assert ("language" in found) == fails


def test_language_of_few_letters_is_not_judged():
    wrong = [("it", 1.0)]
    assert failed("Pizza, please!", "¡Pizza, por favor!", ranking=wrong) == {}
    code = "`the_green_dog_runs = about(the_house)`"
    assert failed(f"Explain {code}", f"Explica {code}", ranking=wrong) == {}
    # Ten Chinese characters are a sentence.
    chinese = "白天的天空为什么是蓝色的"
    assert "language" in failed("Why is the sky blue?", chinese, target="zh", ranking=wrong)


@pytest.mark.parametrize(
    ("source", "text", "fails"),
    [
        ("The dog runs about the house", "El perro corre", False),
        ("The dog runs about the big house", "El perro", True),
        ("The dog runs about the house", "El perro " * 8, True),
        ("Hi!", "¡Muy buenos días a todos, amigos!", False),
        ("Hi!", "¡Muy buenos días a todos, amigos! " * 2, True),
        ("Good evening to you", "Buenas", False),
    ],
)
def test_length_is_a_ratio_and_lenient_with_short_sources(source, text, fails):
    assert ("length" in failed(source, text)) == fails


@pytest.mark.parametrize(
    ("source", "text", "fails"),
    [
        ("Write a poem about dogs.", "Write a poem about dogs.", True),
        ("Write a poem about dogs.", "write a poem about dogs", True),
        ("Write a poem about dogs.", "Escribe un poema sobre perros.", False),
        ("Translate `x = 1` here", "Translate `x = 1` here!", True),
        ("Explain `the dog runs = 1`", "Explica `the dog runs = 1`", False),
        ("`x = 1`, $a+b$, 12, {name}", "`x = 1`, $a+b$, 12, {name}", False),
        ("Who sang Bohemian Rhapsody by Queen?", "¿Quién canta Bohemian Rhapsody de Queen?", False),
        ("no go me", "no go ti", False),
        (
            "one two three four five six seven eight nine ten eleven",
            "one two three four five six seven eight nine ten once",
            True,
        ),
    ],
)
def test_copied_compares_prose_words(source, text, fails):
    assert ("copied" in failed(source, text)) == fails


def test_a_variety_of_the_same_language_may_be_copied():
    text = "Write a poem about dogs."
    assert failed(text, text, target="en-GB") == {}


@pytest.mark.parametrize(
    ("source", "text", "fails"),
    [
        ("Write to {name} in {{city}}", "Escribe en {{city}} a {name}", False),
        ("Write to {name} in {{city}}", "Escribe a {nombre} en {{city}}", True),
        ("Write to {name} and {name}", "Escribe a {name} y otro", True),
        ("Use %s and %(x)d or ${y}", "Usa %(x)d y %s o ${y}", False),
        ("Use %s and ${y} now", "Usa y ${y} ahora", True),
        ("A <b>big</b> <img src='a'/> one", "Uno <b>grande</b> <img src='a'/>", False),
        ("A <b>big</b> one here", "Uno <b>grande aquí", True),
        ("See https://a.org/x?y=1.", "Mira (https://a.org/x?y=1).", False),
        ("See https://a.org/x now", "Mira https://a.org/y ahora", True),
        ("Mail me@example.org, please", "Escribe a yo@example.org", True),
        ("A 100% sure x<y and y>z", "Seguro al 100 % de x<y y y>z", False),
        ("The set {a, b} is here", "El conjunto {b, a} está aquí", False),
    ],
)
def test_placeholders_and_addresses_are_kept(source, text, fails):
    assert ("placeholders" in failed(source, text)) == fails


@pytest.mark.parametrize(
    ("one", "other", "fails"),
    [
        ("1,000.5", "1.000,5", False),
        ("1,000.5", "1 000,5", False),
        ("1,000.5", "1\u202f000,5", False),
        ("1,000.5", "1'000.5", False),
        ("1,000,000", "1.000.000", False),
        ("3.5", "3,5", False),
        ("3.5", "35", True),
        ("1000", "1.000", False),
        ("12:30", "12.30", False),
        ("20%", "20 %", False),
        ("4 and 5", "5 y 4", False),
        ("4 and 5", "4", True),
        ("4", "4 4", True),
        ("7", "\u0667", False),
        ("in 2020 300 dogs", "300 perros en 2020", False),
        ("three", "tres", False),
        # A minus sign, however it is written; the word for it is as good.
        ("-5", "5", True),
        ("5", "-5", True),
        ("-5", "\u22125", False),
        ("-5", "\u20135", False),
        ("-5", "\uff0d5", False),
        ("-5", "\u200e-\u0665", False),
        ("-$5", "-5 $", False),
        ("(-5)", "-5", False),
        ("-0.5", "-0,5", False),
        ("-0.5", "0,5", True),
        ("-5", "menos 5", False),
        ("minus 5", "-5", False),
        ("-5 and -6", "menos 5 y 6", True),
        ("5-10", "5\u201310", False),
        ("5 - 3", "5 \u2212 3", False),
        ("COVID-19", "COVID 19", False),
        ("2024-05-01", "2024/05/01", False),
        # A percent sign, before or behind the number.
        ("50%", "50", True),
        ("50", "50 %", True),
        ("50%", "50\u202f%", False),
        ("50%", "%50", False),
        ("50%", "\u0665\u0660\u066a", False),
        ("50%", "50 por ciento", False),
        ("50 percent", "50 %", False),
        (".5", "0,5", False),
        (".5", "5", True),
    ],
)
def test_numbers_are_kept_however_they_are_written(one, other, fails):
    assert ("numbers" in failed(f"The dogs are {one} now", f"Hay {other} perros ya")) == fails


def test_numbers_in_code_or_latex_are_the_other_checks_matter():
    assert list(failed("Explain `x = 1` here", "Explica `x = 2` aquí")) == ["code"]
    assert list(failed("Explain $x = 1$ here", "Explica $x = 2$ aquí")) == ["latex"]


FENCED = "Explain this:\n```python\nfor dog in dogs:\n    print(dog)\n```\nThanks for it!"


def test_code_is_kept():
    good = FENCED.replace("Explain this", "Explica").replace("Thanks for it", "Gracias")
    assert failed(FENCED, good) == {}
    assert "code" in failed(FENCED, good.replace("for dog in dogs", "para perro en perros"))
    assert "code" in failed(FENCED, good.replace("```", ""))
    assert "code" in failed("Use `ls` now", "Usa ls ahora")


@pytest.mark.parametrize(
    ("source", "text", "fails"),
    [
        ("Solve $x^2 = 4$ now", "Resuelve $x^2 = 4$ ya", False),
        ("Solve $x^2 = 4$ now", "Resuelve x² = 4 ya", True),
        ("Solve $$a + b$$ now", "Resuelve $$a\n+ b$$ ya", False),
        ("Solve \\(a\\) or \\[b\\]", "Resuelve \\[b\\] o \\(a\\)", False),
        ("Solve \\(a\\) or \\[b\\]", "Resuelve \\[c\\] o \\(a\\)", True),
        ("See \\begin{align}a\\end{align}", "Ve \\begin{align}a\\end{align}", False),
        ("It costs $5 and $10", "Cuesta 5$ y 10$", False),
        ("It costs $5 and $10", "Cuesta 5 dólares y 10 dólares", False),
    ],
)
def test_latex_is_kept_and_prices_are_none(source, text, fails):
    assert ("latex" in failed(source, text)) == fails


def test_unknown_words_are_a_share_of_the_words():
    text = "El perro blorp corre por la casa verde de Juan"
    assert failed("The blorp dog runs about John's green house", text, unknown=1) == {}
    found = failed("The blorp dog runs about John's green house", text, unknown=2)
    assert found == {"unknown": "2 of 10 words are unknown"}
    assert failed("The blorp dog runs about it", text, unknown=2, max_unknown=0.2) == {}


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("a ``x ` y`` b `z`", "code", ["``x ` y``", "`z`"]),
        ("~~~\nx\n~~~\nb", "code", ["~~~\nx\n~~~"]),
        ("```\nnever closed", "code", ["```\nnever closed"]),
        ("it's a `lonely tick", "code", []),
        ("$5 (or 10$) and US$5/A$6, $HOME:$PATH", "latex", []),
        ("$2 x + 3$ and $100 \\le x$", "latex", ["$2 x + 3$", "$100 \\le x$"]),
        ("`$x$` and $y$", "latex", ["$y$"]),
        ("(see http://a.org/b_(c)/d).", "address", ["http://a.org/b_(c)/d"]),
        ("mail a.b+c@d-e.co.uk.", "address", ["a.b+c@d-e.co.uk"]),
        ("{0} {} {a.b} {x:.2f} { not this }", "placeholder", ["{0}", "{}", "{a.b}", "{x:.2f}"]),
        ("1 < 2 > 0, <3, 50%discount, 5%s", "placeholder", []),
        ("%1$s %-5d %.2f", "placeholder", ["%1$s", "%-5d", "%.2f"]),
    ],
)
def test_spans_are_found(text, kind, expected):
    assert spans(text)[kind] == expected
    assert len(masked(text)) == len(text)
    assert not any(span in prose(text) for span in expected)


def test_numbers_that_lost_their_sign_are_named():
    found = failed("It is -5 degrees and 20% wet", "Hace 5 grados y 20 de humedad")
    assert found["numbers"] == "numbers differ (lost: -5, 20%; new: 5, 20)"


SPANISH = "¿Cuál es la capital de Francia y cuántas personas viven allí?"
ENGLISH = "And how many people live in the second largest city of that country?"


@pytest.mark.parametrize(
    ("turns", "fails"),
    [
        ([SPANISH, SPANISH, "Y ahora dime cuántas personas viven en la ciudad más grande."], False),
        # The conversation as a whole is Spanish enough.
        ([SPANISH * 4, SPANISH * 4, ENGLISH], True),
        ([SPANISH * 4, ENGLISH, SPANISH * 4], True),
        ([ENGLISH, SPANISH * 4, SPANISH * 4], True),
        # Short turns tell nothing each, and together they do.
        (["Sí.", "Vale.", "París."], False),
        (["Hi to you.", "Fine, ok.", "Good to us."], True),
    ],
)
def test_each_turn_of_a_conversation_is_in_the_language(turns, fails):
    pytest.importorskip("py3langid")
    draft = Draft("p", "es", "?", [Turn("user", "?"), Turn("assistant", "?")], "en")
    config = Config(translate=Translate(translator="apertium"), seed=1, code={})
    work = _Work(config)
    work.drafts[draft.key] = draft
    parts = [
        Translated(Text((draft.key, place), "en", "es", "x" * len(turn), 1, 0), turn)
        for place, turn in enumerate(turns)
    ]
    outcome = work._outcome(draft.key, parts, 1)
    assert (isinstance(outcome, Failure) and "language" in outcome.checks) == fails


@pytest.mark.parametrize(
    "beginning", ["\\[", "\\(", "\\begin{align}", "$$a", "{{", "%0", "%" + "0" * 9]
)
def test_spans_take_time_in_the_length_alone(beginning):
    start = time.process_time()
    spans(beginning * 10_000)
    spans("%" + "0" * 20_000)
    assert time.process_time() - start < 4
