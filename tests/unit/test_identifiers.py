import pytest

from croco.identifiers import FakeIdentifier, Heliport, Py3Langid
from croco.languages import load_identifier, same_language

SENTENCES = {
    "en": "The weather is nice today and we are going for a walk in the park.",
    "es": "Hoy hace buen tiempo y vamos a dar un paseo por el parque.",
    "fr": "Il fait beau aujourd'hui et nous allons nous promener dans le parc.",
    "de": "Heute ist das Wetter schön und wir gehen im Park spazieren.",
    "ga": "Tá an aimsir go breá inniu agus táimid ag dul ag siúl sa pháirc.",
    "mt": "Illum it-temp huwa sabiħ u sejrin nagħmlu mixja fil-park.",
    "cy": "Mae'r tywydd yn braf heddiw ac rydym yn mynd am dro yn y parc.",
    "no": "I dag er det fint vær, og vi skal gå en tur i parken med hunden vår.",
}


@pytest.fixture(scope="module", params=["py3langid", "heliport"])
def identifier(request):
    pytest.importorskip(request.param)
    return load_identifier(request.param)


def test_knows_languages_by_their_bcp47_tags(identifier):
    found = identifier.identify(list(SENTENCES.values()))
    assert [ranking[0][0] for ranking in found] == list(SENTENCES)


def test_gives_probabilities_likeliest_first(identifier):
    for text in [*SENTENCES.values(), "Hola", "123 !!", "x"]:
        [ranking] = identifier.identify([text])
        shares = [share for _, share in ranking]
        assert sum(shares) == pytest.approx(1, abs=1e-6)
        assert shares == sorted(shares, reverse=True)
        assert len({tag for tag, _ in ranking}) == len(ranking)


@pytest.mark.parametrize("text", ["", "  \n"])
def test_empty_text_is_in_no_language(identifier, text):
    assert identifier.identify([text]) == [[("und", 1.0)]]


def test_is_less_sure_of_a_mixed_text(identifier):
    mixed = SENTENCES["es"][:30] + " " + SENTENCES["de"][:30]
    pure, both = identifier.identify([SENTENCES["es"], mixed])
    assert dict(both).get("es", 0) < dict(pure)["es"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cmn", "zh"),
        ("pes", "fa"),
        ("zh-Hant", "zh-CN"),
        ("pt-BR", "pt"),
        ("arb", "ar"),
        ("ekk", "et"),
    ],
)
def test_members_of_a_macrolanguage_regions_and_scripts_count_as_one(one, other):
    assert same_language(one, other)
    assert not same_language(one, "gl")


def test_norwegian_is_one_language():
    pytest.importorskip("heliport")
    [ranking] = Heliport().identify(["Eg veit ikkje kva eg skal gjera i dag, men det går nok bra."])
    assert ranking[0][0] == "no"
    assert same_language("nb", ranking[0][0])


def test_py3langid_sums_to_one_over_all_its_languages():
    pytest.importorskip("py3langid")
    [ranking] = Py3Langid().identify(["Hola"])
    assert len(ranking) > 100


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("es:pan es:sol en:bread", [("es", 2 / 3), ("en", 1 / 3)]),
        ("en:a es:b", [("en", 0.5), ("es", 0.5)]),
        ("es:pan and more", [("es", 1.0)]),
        ("no prefix here", [("und", 1.0)]),
        ("", [("und", 1.0)]),
        (":x", [("und", 1.0)]),
    ],
)
def test_fake_reads_prefixes(text, expected):
    assert FakeIdentifier().identify([text]) == [expected]
