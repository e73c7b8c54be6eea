"""BCP-47 tags and their names, and language identification behind one protocol."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from croco.plugins import load_class

IDENTIFIERS = {
    "py3langid": "croco.identifiers:Py3Langid",
    "heliport": "croco.identifiers:Heliport",
    "fake": "croco.identifiers:FakeIdentifier",
}


class LanguageIdentifier(Protocol):
    """Tells the language of texts."""

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
    return langcodes.standardize_tag(tag)


def same_language(one: str, other: str) -> bool:
    """Whether two tags name one language, regions aside; Norwegian Bokmål and Nynorsk are Norwegian."""
    return _language(one) == _language(other)


@lru_cache(maxsize=4096)
def _language(tag: str) -> str:
    primary = tag.replace("_", "-").split("-")[0].lower()
    return {"nb": "no", "nn": "no"}.get(primary, primary)
