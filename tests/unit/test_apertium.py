"""The Apertium translator, with the programs themselves."""

import gc
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from croco.errors import EngineError, RecipeError
from croco.settings import Resources, Translate
from croco.translation import Text, apertium, load
from croco.translation.apertium import MODES, Apertium, Pipeline, find_mode, programs
from croco.translation.apertium_stream import END, decode, encode
from croco.translation.spans import masked, spans

needs_spanish = pytest.mark.skipif(
    not (MODES / "eng-spa.mode").exists(), reason="apertium-eng-spa is not installed"
)
CONFIG = Translate(translator="apertium")


@pytest.fixture(scope="module")
def translator():
    made = load(CONFIG, Resources())
    yield made
    made.close()


def translate(translator, *texts, target="es"):
    return next(translator.translate([[Text(text, "en", target, text) for text in texts]]))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pids(translator):
    return [pid for pipeline in translator._pipelines.values() for pid in pipeline.pids]


@needs_spanish
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write a poem.", "Escribir un poema."),
        ("Write a poem", "Escribir un poema"),
        ("  \n Write a poem\n\n", "  \n Escribir un poema\n\n"),
        ("The dog?", "El perro?"),
        ("Dogs, etc", "Perros, etc"),
        ("I met Mr", "Cumplí Señor"),
        ("no", "No"),
        ("about ~5 dogs", "Aproximadamente ~5 perros"),
        ("the cat\r\n\r\nthe dog", "El gato\r\n\r\nEl perro"),
        ("* the dog\n- the cat\n\n1. the house", "* El perro\n- El gato\n\n1. La casa"),
        ("# The house\n> The dog", "# La casa\n> El perro"),
        ("the dog | the cat", "El perro | El gato"),
        ("My *dog* and **cat**", "Mi *perro* y **gato**"),
        ("2 * 3 dogs #1 @home", "2 * 3 perros #1 @casa"),
        ("a   dog", "Un   perro"),
        ("Explain `the dog` to {name}.", "Explica `the dog` a {name}."),
        ("Use %s of <b>green dogs</b>", "Uso %s de <b>perros verdes</b>"),
        ("It costs $5 and $10.", "Cuesta $5 y $10."),
        ("Solve $the^dog$ for me", "Soluciona $the^dog$ para mí"),
        ("the dog https://the.org/dog", "El perro https://the.org/dog"),
        ("the dog me@the.org", "El perro me@the.org"),
        ("The 🐶 dog", "El 🐶 perro"),
    ],
)
def test_what_must_survive_survives(translator, text, expected):
    result = translate(translator, text)[0]
    assert (result.text, result.unknown, result.error) == (expected, [], None)


KEPT = [
    "```python\nfor dog in dogs:\n    print('the *dog*')\n```",
    "$$\nthe + dog\n$$",
    "\\begin{align}\n the &= dog \\\\\n\\end{align}",
    "\\[ the dog \\]",
    "\\(the dog\\)",
    "{{ the.dog }}",
    "${the_dog}",
    "%(the)s",
    "<a href='the dog'>",
]


@needs_spanish
@pytest.mark.parametrize("kept", KEPT)
def test_spans_stay_between_their_words(translator, kept):
    for target in ("es", "gl"):
        result = translate(translator, f"The dog {kept} the cat.", target=target)[0]
        assert kept in result.text, result.error
        assert "dog" not in result.text.replace(kept, "")


@needs_spanish
def test_unknown_words_are_told_and_their_marks_taken_out(translator):
    text = "* The *blorptastic* dog and the blorptastic frobnitz"
    result = translate(translator, text)[0]
    assert result.unknown == ["blorptastic", "blorptastic", "frobnitz"]
    assert result.text.count("*") == 3
    assert result.text.startswith("* El *")


@needs_spanish
def test_texts_without_words_stay(translator):
    texts = ["", " ", "\n\n", "...", "12 + 3", "[]{}?^$@\\/<>", "***", "`the dog`", "🐶\x00\ud800"]
    assert [result.text for result in translate(translator, *texts)] == texts


@needs_spanish
def test_special_characters_come_back_in_their_order(translator):
    text = "dog[cat]house{dog}cat?house^dog$cat@house\\dog/cat<house>dog~cat|house#dog*\0cat"
    result = translate(translator, text)[0]
    # Apertium may put a space after what ends a sentence.
    assert [c for c in result.text if not c.isalpha() and c != " "] == [
        c for c in text if not c.isalpha()
    ]


@needs_spanish
def test_no_shell_sees_a_text(translator, tmp_path):
    file = tmp_path / "made"
    for text in (
        f"dog; touch {file}",
        f"dog $(touch {file})",
        f"`touch {file}`",
        f"'\"| touch {file}",
    ):
        assert translate(translator, text)[0].error is None
    assert not file.exists()


PIECES = st.one_of(
    st.sampled_from(
        ["dog", "The", " ", "  ", "\n", ".", "`", "``", "$", "$$", "*", "**", "#", "it's"]
    ),
    st.text("[]{}?^$@\\/<>*#~|+_-'\"&%!:;,()\t\n ax1", max_size=8),
    st.text(max_size=5),
)


@needs_spanish
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_any_text_comes_back(translator, text):
    result = translate(translator, text)[0]
    assert result.error is None
    assert result.text.count("\n") == text.count("\n")
    assert spans(result.text)["code"] == spans(text)["code"]
    for character in "[]{}^$@\\/<>*#~|":
        assert result.text.count(character) == text.count(character)


@needs_spanish
def test_order_is_kept_over_languages_and_batches():
    translator = Apertium(CONFIG, Resources())
    batches = [
        [Text(0, "en", "es", "the dog"), Text(1, "en", "gl", "the dog")],
        [Text(2, "en", "es", "the cat")],
    ]
    found = [[(r.of.key, r.text) for r in batch] for batch in translator.translate(batches)]
    translator.close()
    assert found == [[(0, "El perro"), (1, "O can")], [(2, "El gato")]]


@needs_spanish
def test_a_long_line_does_not_block(translator):
    result = translate(translator, "the green dog " * 20000)[0]
    assert result.text.startswith("El perro verde el perro")


@needs_spanish
@pytest.mark.parametrize("end", ["close", "collect"])
def test_programs_end_with_their_object(end):
    translator = Apertium(CONFIG, Resources())
    translate(translator, "the dog")
    running = pids(translator)
    assert running
    assert all(map(alive, running))
    if end == "close":
        translator.close()
    del translator
    gc.collect()
    assert not any(map(alive, running))  # a zombie would count as alive


@needs_spanish
def test_programs_end_with_the_interpreter():
    code = """
from croco.settings import Resources, Translate
from croco.translation import Text, load
translator = load(Translate(translator="apertium"), Resources())
list(translator.translate([[Text(0, "en", "es", "the dog")]]))
print(*[pid for p in translator._pipelines.values() for pid in p.pids])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    running = [int(pid) for pid in done.stdout.split()]
    assert running
    assert not any(map(alive, running))


@needs_spanish
def test_dead_programs_cost_one_text():
    translator = Apertium(CONFIG, Resources())
    translate(translator, "the dog")
    running = pids(translator)
    os.kill(running[3], signal.SIGKILL)
    bad, good = translate(translator, "the dog", "the cat")
    assert isinstance(bad.error, EngineError)
    assert good.text == "El gato"
    assert not any(map(alive, running))
    translator.close()


def test_a_pipeline_that_says_nothing_is_an_error_in_time(monkeypatch):
    monkeypatch.setattr(apertium, "TIMEOUT", 0.2)
    pipeline = Pipeline([["cat"], ["sleep", "60"]])
    began = time.monotonic()
    with pytest.raises(EngineError, match="no answer in"):
        pipeline.ask("the dog " * 100_000)
    assert time.monotonic() - began < 5
    pipeline.close()
    assert not any(map(alive, pipeline.pids))


def test_what_an_answer_lost_is_an_error():
    text = "the `a` dog"
    stream, kept = encode(text, masked(text))
    assert decode(stream, kept) == (text, [])
    for broken in (stream.replace("[0]", ""), stream.replace("[0]", "[0][0]"), stream[: -len(END)]):
        with pytest.raises(EngineError, match="lost"):
            decode(broken, kept)


def test_a_pair_without_mode_names_what_to_install():
    with pytest.raises(RecipeError, match="apt install apertium-eng-tlh") as error:
        find_mode("en", "tlh")
    assert "en to tlh" in str(error.value)
    translator = Apertium(CONFIG, Resources())
    with pytest.raises(RecipeError):
        translate(translator, "the dog", target="tlh")


def test_a_missing_program_names_what_to_install(tmp_path):
    mode = tmp_path / "eng-spa.mode"
    mode.write_text("lt-nothing '/a b.bin' | cat")
    with pytest.raises(RecipeError, match=r"'lt-nothing'.*apt install apertium apertium-eng-spa"):
        programs(mode)


def test_a_mode_file_becomes_commands(tmp_path):
    mode = tmp_path / "a-b.mode"
    mode.write_text("cat '/a b|c.bin' | sort -g $2 'x' | cat $1 '$(touch y)'")
    assert programs(mode) == [
        ["cat", "-z", "/a b|c.bin"],
        ["sort", "-z", "-g", "x"],
        ["cat", "-z", "-g", "$(touch y)"],
    ]


def test_modes_are_found_by_either_code_and_by_variant(tmp_path, monkeypatch):
    monkeypatch.setattr(apertium, "MODES", tmp_path)
    for name in ("en-gl", "eng-spa", "eng-cat", "eng-cat_valencia", "spa-eng_US"):
        (tmp_path / f"{name}.mode").touch()
    pairs = [("en", "gl"), ("en-US", "es-MX"), ("en", "ca"), ("en", "ca-valencia"), ("es", "en-US")]
    found = [find_mode(*pair).stem for pair in pairs]
    assert found == ["en-gl", "eng-spa", "eng-cat", "eng-cat_valencia", "spa-eng_US"]
