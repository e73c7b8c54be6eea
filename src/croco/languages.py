"""BCP-47 tags and their names, and language identification behind one protocol."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from croco.plugins import load_class
from croco.records import MULTIPLE

IDENTIFIERS = {
    "py3langid": "croco.identifiers:Py3Langid",
    "heliport": "croco.identifiers:Heliport",
    "fake": "croco.identifiers:FakeIdentifier",
}


#: Members of macrolanguages that have tags of their own. ISO 639-3 counts Indonesian as Malay, and some
#: identifiers know no other name for it.
MACRO = {"nb": "no", "nn": "no", "id": "ms"}


class LanguageIdentifier(Protocol):
    """Tells the language of texts; see `croco.spoken` for those that hold too little language.

    A method `tells(text)`, where there is one, says instead of the usual rule which texts have enough.
    """

    def identify(self, texts: Sequence[str]) -> list[list[tuple[str, float]]]:
        """For each text its likely BCP-47 languages with probabilities, the likeliest first."""
        ...


@lru_cache(maxsize=2)
def load_identifier(name: str) -> LanguageIdentifier:
    """The identifier of that name, or of a `module:Class` of the user's, loaded once: some are big."""
    identifier: LanguageIdentifier = load_class(name, IDENTIFIERS, "identifier")()
    return identifier


@lru_cache(maxsize=4096)
def checked_tag(tag: str) -> str:
    """The tag in its normal form (`EN-us` gives `en-US`); ValueError where it is not BCP-47."""
    import langcodes

    if not langcodes.tag_is_valid(tag):
        raise ValueError(f"{tag!r} is not a BCP-47 language tag: use one such as 'en' or 'pt-BR'")
    normal = langcodes.standardize_tag(tag)
    if normal == MULTIPLE:
        raise ValueError(f"{tag!r} stands for many languages: use the tag of one")
    return normal


@lru_cache(maxsize=4096)
def name_of(tag: str) -> str:
    """A language's English name, with its region or script where the tag has one: `Portuguese (Brazil)`."""
    import langcodes

    return langcodes.get(tag).display_name()


def same_language(one: str, other: str) -> bool:
    """Whether two tags name one language, regions and scripts aside (Bokmål is Norwegian)."""
    return _language(one) == _language(other)


@lru_cache(maxsize=4096)
def _language(tag: str) -> str:
    import langcodes

    if not langcodes.tag_is_valid(tag):  # an identifier may say anything
        return tag
    # Members of a macrolanguage count as the macrolanguage: cmn is zh, pes is fa, nb is no.
    language = langcodes.get(langcodes.standardize_tag(tag, macro=True)).language
    return MACRO.get(language or "", language or tag)


@lru_cache(maxsize=4096)
def tag_named(name: str) -> str:
    """The tag that a tag or a language's English name stands for (`Welsh` gives `cy`); ValueError where
    it is neither."""
    import langcodes

    if langcodes.tag_is_valid(name):
        return checked_tag(name)
    try:
        return checked_tag(langcodes.find(name).to_tag())
    except LookupError as error:
        raise ValueError(
            f"{name!r} is no language's name or tag: use one such as 'Welsh' or 'cy'"
        ) from error


@lru_cache(maxsize=4096)
def names_in_ids(tag: str) -> frozenset[str]:
    """What names a language in ids and names of files, in small letters: `es`, `spa`, `spanish`, `español`.

    Scripts and regions of the tag are among them, as in `spa_Latn` and `pt-BR`.
    """
    import langcodes

    found = langcodes.get(tag)
    parts = {*tag.split("-")}
    names = {
        found.display_name(),
        found.autonym(),
        langcodes.get(found.language or tag).display_name(),
    }
    parts |= {word for name in names for word in name.split()}
    with contextlib.suppress(LookupError):
        parts.add(found.to_alpha3())
    script = found.script or found.maximize().script
    return frozenset(part.casefold().strip("()") for part in {*parts, script or ""} if part)


def is_region(part: str) -> bool:
    """Whether a word is a region's code, such as `mx`, in small letters or not."""
    import langcodes

    return len(part) == 2 and part.isascii() and langcodes.tag_is_valid(f"und-{part}")
