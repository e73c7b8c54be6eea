"""Is an answer in the language that was asked? By answer, by line and by word, after a benchmark.

Lines and words follow the language confusion benchmark (Marchisio et al., 2024, arXiv 2406.20052,
section 3): an answer passes where all its lines of five tokens or more are in the asked language, and
of those that pass, one passes by word where no English word stands in a text in another script.
`docs/languages.md` says what differs from the benchmark and what that comes to.
"""

from __future__ import annotations

import re
import string
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from croco import prose, stats
from croco.languages import LanguageIdentifier, same_language
from croco.reasoning import answer_of
from croco.spoken import NONE, hear
from croco.stats import Interval
from croco.words import CHARACTERS_PER_WORD, EASTERN, EASTERN_LETTER, count_words

#: Lines of fewer tokens than this say too little to be judged (the benchmark's).
LINE_TOKENS = 5
#: A line is in the asked language where that has more than this share of it (the benchmark's score).
LINE_SHARE = 0.3
#: Scripts without spaces between words that the benchmark cuts into words; others of the kind are counted
#: by `croco.words`.
UNSPACED = {"Hans", "Hant", "Jpan"}

_REMOVED = str.maketrans("", "", string.punctuation)
_OTHER_TOKEN = re.compile(rf"(?:(?!{EASTERN_LETTER.pattern})\w)+|[^\w\s]")
_WESTERN_WORD = re.compile("[A-Za-z0-9]+")
#: An English word in a text in another script, as far as can be told without a word list.
_ENGLISH = re.compile("[a-z]{4,}")


@dataclass(frozen=True, slots=True)
class Lines:
    """What an answer's lines say: the share that passes, and whether all words do (1.0 or 0.0).

    `lines` is None where no line is long enough and in a language that can be told. `words` is None where
    the language is written in Latin letters, or some line does not pass.
    """

    lines: float | None
    words: float | None


@dataclass(frozen=True, slots=True)
class PassRates:
    """Rates over answers, with 95 % intervals by prompt; None where no answer can be judged.

    `response` is the share identified as in the asked language, `line` the share of which all lines
    pass, `word` the share of those with no English word. `lines` is the mean share of passing lines,
    `answers` counts them all, `judged` those with a line that can be judged, and `cannot_tell` those whose
    language cannot be told, which stand in no rate.
    """

    response: Interval | None
    line: Interval | None
    word: Interval | None
    lines: float | None
    answers: int
    judged: int
    cannot_tell: int = 0


def pass_rates(
    texts: Sequence[str],
    lang: str,
    identifier: LanguageIdentifier,
    prompts: Sequence[Hashable] | None = None,
    seed: int = 42,
) -> PassRates:
    """Rates of answers that were asked for in `lang`; `prompts` are the ids that group them.

    Reasoning before an answer is left out.
    Without `prompts` each answer is one of its own. Bounds are NaN where there is one prompt alone.
    Raises ValueError where texts and prompts differ in number.
    """
    texts = [answer_of(text) for text in texts]
    clusters = list(range(len(texts)) if prompts is None else prompts)
    found = [one.right for one in hear(texts, [lang] * len(texts), identifier)]
    spoken = [None if one is None else float(one) for one in found]
    judged = judge_lines(texts, lang, identifier)
    passed = [line_pass(one) for one in judged]
    shares = [one.lines for one in judged if one.lines is not None]
    return PassRates(
        response=_rate(spoken, clusters, seed),
        line=_rate(passed, clusters, seed),
        word=_rate([one.words for one in judged], clusters, seed),
        lines=sum(shares) / len(shares) if shares else None,
        answers=len(texts),
        judged=len(shares),
        cannot_tell=found.count(None),
    )


def response_languages(texts: Sequence[str], identifier: LanguageIdentifier) -> list[str | None]:
    """The likeliest language of each text, `und` where it is in none, None where it cannot be told."""
    return [one.language for one in hear(texts, [NONE] * len(texts), identifier)]


def judge_lines(texts: Sequence[str], lang: str, identifier: LanguageIdentifier) -> list[Lines]:
    """What the lines of each answer say, which was asked for in `lang`."""
    tells = getattr(identifier, "tells", prose.tells)
    lines = [[line for raw, line in _long(text, lang) if raw and tells(raw)] for text in texts]
    rankings = iter(identifier.identify([line for own in lines for line in own]))
    judged = []
    for own in lines:
        passed = [_share(next(rankings), lang) > LINE_SHARE for _ in own]
        words = word_pass(own, lang) if own and all(passed) else None
        judged.append(Lines(sum(passed) / len(own) if own else None, words))
    return judged


def line_pass(judged: Lines) -> float | None:
    """1.0 where all lines of an answer pass, else 0.0; None where there is none to judge."""
    return None if judged.lines is None else float(judged.lines == 1.0)


def word_pass(lines: Sequence[str], lang: str) -> float | None:
    """1.0 where no line has an English word, else 0.0; None for languages in Latin letters.

    An English word is one of four or more lower-case Latin letters, whatever it means: the benchmark
    looks words up in a list instead. Among Latin letters only a list could tell English words from
    others, so the benchmark leaves those languages out as well.
    """
    script = _script(lang)
    if script == "Latn":
        return None
    cut = _WESTERN_WORD.findall if script in CHARACTERS_PER_WORD else str.split
    return float(not any(_ENGLISH.fullmatch(word) for line in lines for word in cut(line)))


def long_lines(text: str, lang: str) -> list[str]:
    """The lines of an answer that are judged: five tokens or more, without ASCII punctuation.

    What follows a line that starts with "Q:" is cut off. Lines of code are lines like others.
    """
    return [line for _, line in _long(text, lang)]


def _long(text: str, lang: str) -> list[tuple[str, str]]:
    """The lines that are judged, each after what of it is prose."""
    text = text.split("\nQ:")[0].strip()
    plain = text.translate(_REMOVED).replace("\N{EM DASH}", " ").replace("\N{ARABIC COMMA}", "")
    both = zip(prose.lines(text), plain.split("\n"), strict=True)
    return [(raw, line) for raw, line in both if tokens(line, lang) >= LINE_TOKENS]


def tokens(line: str, lang: str) -> float:
    """How many tokens a line has: what stands between spaces; of letters that are written without them
    (Chinese, Thai, Khmer), as many as a word has on average (`croco.words`).

    Where Chinese or Japanese was asked for, a run of other letters or digits and a punctuation mark are
    tokens as well.
    """
    if _script(lang) not in UNSPACED:
        return count_words(line)
    letters, others = (len(one.findall(line)) for one in (EASTERN_LETTER, _OTHER_TOKEN))
    return letters / EASTERN + others


def has_words(lang: str) -> bool:
    """Whether the word-level pass rate is defined: for languages that are not in Latin letters."""
    return _script(lang) != "Latn"


def _share(ranking: Sequence[tuple[str, float]], lang: str) -> float:
    return sum(share for tag, share in ranking if same_language(tag, lang))


def _rate(
    values: Sequence[float | None], clusters: Sequence[Hashable], seed: int
) -> Interval | None:
    rows = [(value, own) for value, own in zip(values, clusters, strict=True) if value is not None]
    if not rows:
        return None
    return stats.share_interval([value for value, _ in rows], [own for _, own in rows], seed)


@lru_cache(maxsize=4096)
def _script(lang: str) -> str:
    """The script that a language is usually written in, or the tag's own (`sr-Latn` is `Latn`)."""
    import langcodes

    return langcodes.get(lang).maximize().script or ""
