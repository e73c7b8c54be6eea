"""The report's part on languages: what is counted, what stands in the plot and in the table."""

import json
import re
from types import SimpleNamespace

import pytest

from croco.records import Languages
from croco.report.confusion import confusion_plot
from croco.report.languages import confusion, languages_part
from croco.report.page import Report, page


def row(id, lang, languages, second=(), lines=()):
    lines = list(lines) or [1.0] * len(languages)
    return Languages(id, lang, list(languages), lines, [None] * len(languages), list(second))


def part(base, tuned=(), second="py3langid"):
    sides = {"base.language": base, "base.sample": [], "dpo.language": tuned}
    inputs = {
        name: SimpleNamespace(rows=lambda rows=rows: iter(rows)) for name, rows in sides.items()
    }
    return languages_part(
        inputs, {"evaluate": {"identifier": "heliport", "second_identifier": second}}
    )


def html(found):
    return page(Report("r", 1, "", [], sections=[found.section]))


def test_counts_by_asked_and_answered_language():
    rows = [row("1", "de", ["de", "en"]), row("2", "de", ["de", "und"]), row("1", "fr", ["fr"])]
    assert confusion(rows, ["de", "fr"]) == {
        "de": {"de": 2, "en": 1, "und": 1},
        "fr": {"fr": 1},
    }


def test_regions_count_as_the_language_that_was_asked():
    rows = [row("1", "pt-PT", ["pt"]), row("1", "pt-BR", ["pt"]), row("1", "no", ["nb", "pt"])]
    assert confusion(rows, ["no", "pt-BR", "pt-PT"]) == {
        "no": {"no": 1, "pt-BR": 1},
        "pt-BR": {"pt-BR": 1},
        "pt-PT": {"pt-PT": 1},
    }


def test_figures_are_json_without_nan():
    found = part(
        [row("1", "de", ["de", "en"], ["de", "de"], [0.5, None])], [row("1", "de", ["de"])]
    )
    assert json.loads(json.dumps(found.figures, allow_nan=False)) == {
        "identifier": "heliport",
        "second_identifier": "py3langid",
        "sides": {
            "base": {
                "de": {
                    "answers": 2,
                    "cannot_tell": 0,
                    "second_cannot_tell": 0,
                    "answered": {
                        "de": {"count": 1, "share": 0.5},
                        "en": {"count": 1, "share": 0.5},
                    },
                    "without_long_line": 1,
                    "passing_lines": 0.5,
                    "identifiers_agree": 0.5,
                }
            },
            "dpo": {
                "de": {
                    "answers": 1,
                    "cannot_tell": 0,
                    "second_cannot_tell": 0,
                    "answered": {"de": {"count": 1, "share": 1.0}},
                    "without_long_line": 0,
                    "passing_lines": 1.0,
                    "identifiers_agree": None,
                }
            },
        },
        "no_word_pass_rate": {
            "de": "written in Latin letters, so that an English word cannot be told from others"
        },
    }


def test_the_most_frequent_other_languages_have_columns_and_the_rest_share_one():
    others = ["aa", "bb", "bb", "cc", "cc", "dd", "dd", "ee", "ee", "ee"]
    found = part([row("1", "de", ["de", *others])]).section.values
    assert found["columns"] == ["de", "ee", "bb", "cc", "dd", "other"]
    assert found["tables"]["base"]["de"] == {
        "de": 1, "ee": 3, "bb": 2, "cc": 2, "dd": 2, "other": 1,
    }  # fmt: skip
    assert part([row("1", "de", ["de", "en"])]).section.values["columns"] == ["de", "en"]


def test_each_side_has_a_plot_and_a_table():
    text = html(part([row("1", "ru", ["ru", "en", "en"])], [row("1", "ru", ["ru"])]))
    assert len(re.findall(r'<svg role="img" aria-label="Languages of the answers of', text)) == 2
    assert ">67</text>" in text
    cells = re.findall(r'<td class="num">(.*?)</td>', text)
    assert cells == ["1", "2", "3", "0", "100%", "n/a", "1", "0", "1", "0", "100%", "n/a"]
    assert "No word pass rate" not in text


def test_the_page_says_who_checked():
    assert "py3langid checks them" in " ".join(html(part([])).split())
    assert "no second identifier checks them" in " ".join(html(part([], second=None)).split())


def test_what_an_identifier_says_is_escaped():
    text = html(part([row("1", "de", ["<b>", "de"])]))
    assert "<b>" not in text
    assert "&lt;b&gt;" in text


@pytest.mark.parametrize("table", [{}, {"de": {}}])
def test_a_plot_of_nothing(table):
    assert confusion_plot(table, ["de"], "t", "x").startswith("<svg ")
