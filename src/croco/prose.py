"""What of a text is language, and whether that is enough to tell which one.

Code, addresses, numbers, names and emoji look alike in every language: an identifier that is asked about
them answers at random. `docs/languages.md` has the rule and what it was measured on.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

#: Letters of lower-case words that tell a language, and how many different words they must be.
LETTERS, WORDS = 10, 2
#: Letters that tell a language in scripts without case, where a name cannot be seen: a wide one
#: (Chinese, Japanese, Korean) counts twice. Texts in capitals need as many, in so many words.
CASELESS_LETTERS, CAPITAL_WORDS = 20, 5
#: A line with code in it that has this many plain words besides is prose.
PROSE_WORDS = 4

#: What stands in names between capitalised words, in several languages.
_PARTICLES = frozenset(
    re.findall(r"\w+", "al bin da de del della di do dos ibn el la of the van von y")
)
#: Words of programs, which say nothing of the language in a line of code.
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """and as assert async await bool boolean break case catch char class const continue def delete do
        double echo elif else end enum except export false finally float fn for from func function global
        if import in include insert int into is lambda len let list long namespace new nil none not null or
        package pass print private protected public raise range return select self set static str string
        struct switch table then this throw true try type update using values var void where while with
        yield""",
    )
)
_FENCES = ("```", "~~~")
_TICKS = re.compile(r"`[^`]*`")
#: What a line of code begins with, has inside, and ends with.
_OPENING = re.compile(
    r"def |class \w+[(:{]|import \w|from \S+ import |#include|#!|//|/\*|\*/|</?[A-Za-z!]|[{}\[]|\$ |>>> "
    r"|@\w+\b"
    r"|(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE|ALTER TABLE|DROP TABLE) "
    r"|(?:pip|npm|git|sudo|docker|curl|brew|apt|apt-get) |return\b|(?:else|try|finally) ?[:{]"
    r"|[\w.\[\]'\"]+ ?[-+*/:]?= ?\S|(?:var|let|const|int|float|double|char|bool|string|String) \w+ ?[=;]"
)
_INSIDE = re.compile(r"==|!=|:=|=>|->|\+=|-=|&&|\|\||::|</|/>|\(\)|\w\(\w*\)|\w\[\w*\]")
_CALL = re.compile(r"\w\(")
_ENDING = ("{", "}", "):", ");", "};", "];", "];", "),", "],")
_STATEMENT = re.compile(r"[=(){}\[\]<>\"']")
_OPTION = re.compile(r"--?[A-Za-z]")
#: What makes a token a web or mail address.
_ADDRESS = re.compile(r"://|\bwww\.|\w@\w")
#: Characters that stand inside words: apostrophes, hyphens, the Catalan dot, the Swedish colon.
_JOINING = frozenset("'\u2019\u02bc-\u2010\u2011\u00b7:")
#: Punctuation around words.
_EDGE = (
    "\"'()\u00a1!\u00bf?.,;:*-\u00ab\u00bb\u2010\u2011\u2012\u2013\u2014\u2018\u2019\u201a\u201c\u201d\u201e\u2026"
    "\u2039\u203a\u060c\u061b\u061f\u0964\u0965\u3001\u3002\uff01\uff08\uff09\uff0c\uff0e\uff1a\uff1b\uff1f"
)


@dataclass(slots=True)
class _Seen:
    """The evidence that was found: different words, those that stand in names too, letters without case,
    different words in capitals."""

    words: set[str] = field(default_factory=set)
    particles: set[str] = field(default_factory=set)
    caseless: int = 0
    capitals: set[str] = field(default_factory=set)

    def enough(self) -> bool:
        """Whether words and letters tell a language, together."""
        letters = sum(map(len, self.words | self.particles))
        share = letters / LETTERS if len(self.words) >= WORDS else 0.0
        return share + self.caseless / CASELESS_LETTERS >= 1

    def shouted(self) -> bool:
        """Whether there are enough words in capitals and none in lower case."""
        letters = sum(map(len, self.capitals))
        return (
            not self.words and letters >= CASELESS_LETTERS and len(self.capitals) >= CAPITAL_WORDS
        )


def tells(text: str) -> bool:
    """Whether a text has enough language in it to tell which one it is."""
    seen = _Seen()
    for line in lines(text):
        _read(line, seen)
        if seen.enough():
            return True
    return seen.shouted()


def prose(text: str) -> str:
    """The text without code and addresses, line by line: what an identifier should see."""
    return "\n".join(map(_without_addresses, lines(text)))


def lines(text: str) -> list[str]:
    """The text's lines without inline code; those of fenced blocks and of programs are empty."""
    fence, found = "", []
    for line in text.split("\n"):
        mark = line.lstrip()[:3]
        opens = mark in _FENCES and mark == (fence or mark)
        plain = "" if opens or fence else _TICKS.sub(" ", line)
        found.append("" if _is_code(plain) else plain)
        if opens:
            fence = "" if fence else mark
    return found


def _is_code(line: str) -> bool:
    line = line.strip()
    if not _has_marks(line):
        return False
    seen = _Seen()
    _read(line, seen)
    plain = [word for word in seen.words - _KEYWORDS if len(word) > 1]
    return len(plain) < PROSE_WORDS and seen.caseless < CASELESS_LETTERS / 2


def _has_marks(line: str) -> bool:
    return bool(
        _OPENING.match(line)
        or line.endswith(_ENDING)
        or (line.endswith(")") and _CALL.search(line))
        or _INSIDE.search(line)
        or (line.endswith(";") and _STATEMENT.search(line))
    )


def _read(line: str, seen: _Seen) -> None:
    """Add a line's words and letters to what was seen."""
    before, ended = "", True
    for token in _spaced(line, seen).split():
        word = token.strip(_EDGE)
        if not _is_word(word) or _OPTION.match(token):
            before = ""
        elif word.islower():
            # A capital letter at the beginning says nothing: the word goes with the one behind it.
            found = {before, word} - {""}
            seen.words |= found - _PARTICLES
            seen.particles |= found & _PARTICLES
            before = ""
        elif word.isupper() and len(word) > 1:
            seen.capitals.add(word)
            before = ""
        else:
            before = word.lower() if ended else ""
        ended = token.endswith((".", "?", "!", ":"))


def _spaced(line: str, seen: _Seen) -> str:
    """The composed line with spaces in place of letters without case, which are counted."""
    if line.isascii():
        return line
    kept = []
    for character in unicodedata.normalize("NFC", line):
        kind = unicodedata.category(character)
        if kind == "Lo":
            seen.caseless += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        kept.append(" " if kind == "Lo" else "" if kind == "Cf" else character)
    return "".join(kept)


def _is_word(token: str) -> bool:
    """Whether a token is letters and what joins them alone: no digit, address or piece of code."""
    if token.isalpha():
        return True
    return token[:1].isalpha() and all(
        one.isalpha() or one in _JOINING or unicodedata.category(one)[0] == "M" for one in token
    )


def _without_addresses(line: str) -> str:
    """The line without web and mail addresses."""
    if not _ADDRESS.search(line):
        return line
    return " ".join(token for token in line.split() if not _ADDRESS.search(token))
