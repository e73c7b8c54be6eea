"""Language identification: which language answers to held-out prompts, and their lines, are in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from croco.errors import StopError
from croco.fidelity import judge_lines, response_languages
from croco.languages import LanguageIdentifier, load_identifier
from croco.records import Failure, Languages
from croco.settings import Section
from croco.stage import Batch, Context, Item, Outcome


class Config(Section):
    """The identifier, a second one for checks, and digests of the user's code."""

    identifier: str
    second: str | None
    code: dict[str, str]


def language(config: Config, context: Context, batches: Iterable[Batch]) -> Iterator[list[Outcome]]:
    """One `Languages` row per `Responses` row; identifiers are loaded at the first batch."""
    for batch in batches:
        first = load_identifier(config.identifier)
        second = load_identifier(config.second) if config.second else None
        yield [_outcome(item, first, second) for item in batch]


def _outcome(item: Item, first: LanguageIdentifier, second: LanguageIdentifier | None) -> Outcome:
    try:
        texts = item.rows["sample"].texts
        judged = judge_lines(texts, item.key[1], first)
        return Languages(
            *item.key,
            response_languages(texts, first),
            [one.lines for one in judged],
            [one.words for one in judged],
            response_languages(texts, second) if second else [],
        )
    except StopError:
        raise
    except Exception as error:
        return Failure.of(item.key, error)
