"""Language identification: which language the answers to held-out prompts are in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from croco.errors import StopError
from croco.languages import LanguageIdentifier, load_identifier
from croco.records import Failure, Languages
from croco.settings import Section
from croco.stage import Batch, Context, Item, Outcome


class Config(Section):
    """The identifier, and the digest of the user's code where it is theirs."""

    identifier: str
    code: dict[str, str]


def language(config: Config, context: Context, batches: Iterable[Batch]) -> Iterator[list[Outcome]]:
    """One `Languages` row per `Responses` row; the identifier is loaded at the first batch."""
    for batch in batches:
        identifier = load_identifier(config.identifier)
        yield [_outcome(item, identifier) for item in batch]


def _outcome(item: Item, identifier: LanguageIdentifier) -> Outcome:
    try:
        rankings = identifier.identify(item.rows["sample"].texts)
        return Languages(*item.key, [ranking[0][0] for ranking in rankings])
    except StopError:
        raise
    except Exception as error:
        return Failure.of(item.key, error)
