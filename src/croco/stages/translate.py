"""Translation: prompts into the recipe's languages, each checked; what fails is tried once more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from croco import templates, translation
from croco.errors import StopError
from croco.languages import load_identifier
from croco.prose import tells as tells_language
from croco.records import Draft, Failure, Key, Translation, Turn
from croco.settings import Checks, Section, Translate
from croco.stage import Batch, Context, Outcome, seed_of
from croco.translation import Text, Translated, Translator
from croco.translation.checks import failed_checks, wrong_language
from croco.translation.prompted import VALUES
from croco.translation.spans import prose


class Config(Section):
    """How to translate, bound to its model and template, the seed, and digests of the user's code."""

    translate: Translate
    seed: int
    code: dict[str, str]

    def check(self) -> None:
        """RecipeError where the template is none."""
        if self.translate.prompt:
            templates.read(self.translate.prompt.file, VALUES)


def translate(
    config: Config, context: Context, batches: Iterable[Batch]
) -> Iterator[list[Outcome]]:
    """One `Translation` per draft, as they are ready; drafts in their own language stay as they are.

    A translation that fails a check is tried again where another attempt may differ, `retries` times, and
    is a Failure with the checks' names after that.
    """
    work = _Work(config)
    yield from work.attempt(context, work.texts(batches), 0)
    number = 0
    while work.failed:
        number, failed, work.failed = number + 1, work.failed, []
        again = [[text for key in failed for text in work.parts(key, number)]]
        yield from work.attempt(context, iter(again), number)


class _Work:
    """Drafts in the making: a conversation's turns are texts of their own, and are put together again."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.retries = config.translate.prompt.retries if config.translate.prompt else 1
        self.drafts: dict[Key, Draft] = {}
        self.found: dict[Key, dict[int, Translated]] = {}
        self.whole: list[Outcome] = []
        self.failed: list[Key] = []
        self.translator: Translator | None = None

    def texts(self, batches: Iterable[Batch]) -> Iterator[list[Text]]:
        """The texts to translate of each batch; drafts that need none are ready at once."""
        for batch in batches:
            drafts: list[Draft] = [item.rows["drafts"] for item in batch]
            for draft in drafts:
                if draft.lang == draft.source:
                    self.whole.append(Translation(draft.id, draft.lang, draft.prompt, draft.before))
                else:
                    self.drafts[draft.key] = draft
            owed = [d.key for d in drafts if d.key in self.drafts]
            if owed:
                yield [text for key in owed for text in self.parts(key, 0)]

    def parts(self, key: Key, attempt: int) -> list[Text]:
        """A draft's texts: its earlier turns, then its prompt."""
        draft = self.drafts[key]
        self.found[key] = {}
        texts = [*(turn.content for turn in draft.before), draft.prompt]
        return [
            Text(
                (key, place),
                draft.source,
                draft.lang,
                text,
                seed_of(self.config.seed, *key, place, attempt),
                attempt,
            )
            for place, text in enumerate(texts)
        ]

    def attempt(
        self, context: Context, texts: Iterator[list[Text]], number: int
    ) -> Iterator[list[Outcome]]:
        """The outcomes of an attempt, without those to be tried again."""
        first = next(texts, None)
        if first is not None:
            if self.translator is None:
                self.translator = translation.load(self.config.translate, context.resources)
            again = self.translator.varies and number < self.retries
            for results in self.translator.translate(chain([first], texts)):
                yield [*self._ready(), *self._outcomes(results, number, again)]
        yield self._ready()

    def _ready(self) -> list[Outcome]:
        ready, self.whole = self.whole, []
        return ready

    def _outcomes(self, results: list[Translated], number: int, again: bool) -> Iterator[Outcome]:
        for result in results:
            key, place = result.of.key
            if isinstance(result.error, StopError):
                raise result.error
            parts = self.found[key]
            parts[place] = result
            if len(parts) <= len(self.drafts[key].before):
                continue
            outcome = self._outcome(key, [parts[k] for k in sorted(parts)], number + 1)
            if isinstance(outcome, Failure) and again:
                self.failed.append(key)
            else:
                yield outcome

    def _outcome(self, key: Key, parts: list[Translated], attempts: int) -> Outcome:
        draft = self.drafts[key]
        checks = self.config.translate.checks
        rankings, whole = _rankings(checks, parts)
        failed = {"language": whole} if whole else {}
        for part, ranking in zip(parts, rankings, strict=True):
            failed = {**self._failed(part, ranking), **failed}
        if failed:
            said = "; ".join(failed.values())
            return Failure(*key, f"the translation cannot be used: {said}", list(failed))
        turns = [
            Turn(turn.role, part.text) for turn, part in zip(draft.before, parts, strict=False)
        ]
        unknown = [word for part in parts for word in part.unknown]
        return Translation(*key, parts[-1].text, turns, draft.source, unknown, attempts)

    def _failed(self, part: Translated, ranking: list[tuple[str, float]]) -> dict[str, str]:
        """The checks that a text fails, with reasons; `error` where it was not translated at all."""
        if part.error:
            return {"error": str(part.error)}
        checks = self.config.translate.checks
        of = part.of
        return failed_checks(
            checks, of.text, part.text, of.source, of.target, ranking, len(part.unknown)
        )


def _rankings(
    checks: Checks, parts: Sequence[Translated]
) -> tuple[list[list[tuple[str, float]]], str]:
    """The languages of each turn, and why all of them together are in the wrong one, if they are.

    A turn that is too short to tell its language has those of the whole conversation.
    """
    identifier = load_identifier(checks.identifier)
    tells = getattr(identifier, "tells", tells_language)
    whole = "\n".join(part.text for part in parts)
    first, *rankings = identifier.identify(
        [prose(text) for text in (whole, *(p.text for p in parts))]
    )
    told = [tells(part.text) for part in parts]
    found = [own if known else first for own, known in zip(rankings, told, strict=True)]
    together = "" if any(told) else wrong_language(checks, whole, parts[0].of.target, first)
    return found, together
