"""Translation by a generating model that answers a template's prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from croco import engines, templates
from croco.engines import Reply, Request
from croco.errors import EngineError, RecipeError
from croco.languages import name_of
from croco.settings import Resources, Translate
from croco.translation import Text, Translated

#: What a template may ask for; languages are English names, `source` and `target` BCP-47 tags.
VALUES = {"text", "source", "target", "source_language", "language"}


class PromptTranslator:
    """Translates with an engine, greedily by default, and at another temperature the second time."""

    varies = True

    def __init__(self, config: Translate, resources: Resources) -> None:
        if config.prompt is None:
            raise RecipeError("the translator 'prompt' needs translate.prompt: give a model")
        self._config = config.prompt
        self._template = templates.read(self._config.file, VALUES)
        sampling = self._config.sampling
        self._engine = engines.load(sampling.engine, self._config.ref, sampling, resources)

    def translate(self, batches: Iterable[list[Text]]) -> Iterator[list[Translated]]:
        """As the engine answers."""
        requests = ([self._request(text) for text in batch] for batch in batches)
        for replies in self._engine.generate(requests):
            yield [self._translated(reply) for reply in replies]

    def _request(self, text: Text) -> Request:
        chat = self._template.chat(
            text=text.text,
            source=text.source,
            target=text.target,
            source_language=name_of(text.source),
            language=name_of(text.target),
        )
        config = self._config
        temperature = config.retry_temperature if text.attempt else config.temperature
        return Request(text, chat, [text.seed], temperature)

    def _translated(self, reply: Reply) -> Translated:
        if reply.error:
            return Translated(reply.request.key, error=reply.error)
        answer = reply.completions[0]
        if answer.finish_reason == "length":
            error = EngineError("the translation was cut off: raise translate.prompt.max_tokens")
            return Translated(reply.request.key, error=error)
        return Translated(reply.request.key, self._template.answer_in(answer.text) or "")
