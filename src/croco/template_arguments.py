"""Arguments of chat templates besides the chat, such as `enable_thinking: false`: one that is not read is
refused, since a template would ignore it in silence."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from croco.errors import RecipeError

Arguments = Mapping[str, Any]
NONE: Arguments = {}


def check_arguments(tokenizer: Any, arguments: Arguments) -> None:
    """RecipeError where a chat template does not read an argument, which it would ignore in silence."""
    if not arguments or not isinstance(tokenizer.chat_template, str):
        return
    known = _variables(tokenizer.chat_template)
    unknown = sorted(arguments.keys() - known) if known is not None else []
    if unknown:
        raise RecipeError(
            f"chat_template_kwargs: the model's chat template reads no {unknown[0]!r}: remove it, or look"
            " up the name in the model's card"
        )


@lru_cache(maxsize=16)
def _variables(template: str) -> set[str] | None:
    """The names that a chat template takes from outside; None where it cannot be parsed."""
    from jinja2 import TemplateError, meta
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    environment.add_extension(_generation_tag())
    try:
        return set(meta.find_undeclared_variables(environment.parse(template)))
    except TemplateError:
        return None


def _generation_tag() -> Any:
    """The tag `generation` of chat templates, which says what is trained on: here its inside alone."""
    from jinja2.ext import Extension

    class Generation(Extension):
        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return Generation
