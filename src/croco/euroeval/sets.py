"""The data sets of EuroEval that the CroCo paper used, by language, with its list's two slips mended."""

from __future__ import annotations

from collections.abc import Iterable

from croco.languages import same_language

#: From the paper's published code (github.com/jjzha/CroCo, scripts/5.euroeval.sh). Two corrections: it
#: has "tidyqa-fi", which no version of EuroEval knows, and the Swedish multi-wiki-qa-sv for Portuguese.
PAPER: dict[str, list[str]] = {
    "da": [
        "dala",
        "danish-entailment",
        "danish-lexical-inference",
        "danwic",
        "multi-wiki-qa-da",
        "danske-talemaader",
        "danish-citizen-tests",
        "ifeval-da",
    ],
    "nl": ["scala-nl", "squad-nl", "include-nl", "copa-nl", "multiloko-nl"],
    "en": ["scala-en", "wic", "squad", "life-in-the-uk", "mmlu-pro", "ifeval", "multiloko-en"],
    "fr": [
        "scala-fr",
        "fquad",
        "mmlu-fr",
        "include-fr",
        "multinrc-fr",
        "ifeval-fr",
        "multiloko-fr",
    ],
    "de": ["scala-de", "germanquad", "mmlu-de", "include-de", "ifeval-de", "multiloko-de"],
    "it": ["scala-it", "wic-ita", "mmlu-it", "include-it", "ifeval-it"],
    "es": ["scala-es", "mlqa-es", "include-es", "multinrc-es", "ifeval-es", "multiloko-es"],
    "no": ["norquad", "nrk-quiz-qa", "idioms-no", "mmlu-no", "nor-common-sense-qa"],
    "sv": ["multi-wiki-qa-sv", "mmlu-sv", "skolprov", "multiloko-sv", "hellaswag-sv"],
    "pt": ["multi-wiki-qa-pt", "mmlu-pt", "multiloko-pt", "goldenswag-pt"],
    "fi": ["tydiqa-fi", "include-fi", "hellaswag-fi"],
}


def sets_for(languages: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The paper's data sets of some languages, and the languages that have none.

    Regions and scripts do not matter (`pt-BR` has the sets of `pt`, Bokmål those of Norwegian); a set
    that two of the languages share goes to the first.
    """
    found: dict[str, list[str]] = {}
    without = []
    taken: set[str] = set()
    for lang in dict.fromkeys(languages):
        key = next((known for known in PAPER if same_language(known, lang)), None)
        if key is None or key in taken:
            without.append(lang)
        else:
            found[lang] = list(PAPER[key])
            taken.add(key)
    return found, without
