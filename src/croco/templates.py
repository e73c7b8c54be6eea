"""Templates of prompts for models that translate or judge: YAML files, known by their content.

    version: 1
    messages:
      - {role: user, content: "Translate this {{ source_language }} text into {{ language }}: {{ text }}"}
    answer: '<translation>(.*)</translation>'   # a regular expression with one group; none: all of it

`bundled:translate.yaml` and the like are CroCo's own. A change in a file is a new identity.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import Field

from croco.datafiles import FileRef
from croco.errors import RecipeError
from croco.settings import Section
from croco.tokens import Chat


def _regular(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression ({error})") from error
    if groups != 1:
        raise ValueError(f"{pattern!r} has {groups} groups: mark the answer by one")
    return pattern


class Message(Section):
    """A message; content is text, or parts of text where a model's chat template wants such."""

    role: Literal["system", "user", "assistant"]
    content: str | list[dict[str, str]]


class Template(Section):
    """Messages with `{{ values }}` to fill in, and where in the model's answer the wanted text is."""

    version: int = Field(ge=1)
    messages: list[Message] = Field(min_length=1)
    answer: Annotated[str, pydantic.AfterValidator(_regular)] | None = None

    def chat(self, **values: str) -> Chat:
        """The messages with values filled in; values are text, whatever stands in them."""
        return [
            {"role": message.role, "content": _filled(message.content, values)}
            for message in self.messages
        ]

    def answer_in(self, text: str) -> str | None:
        """The wanted part of a model's answer, its last one; None where there is none."""
        return next(reversed(self.answers_in(text)), None)

    def answers_in(self, text: str) -> list[str]:
        """All wanted parts of a model's answer, as they stand in it."""
        found = re.findall(self.answer, text, re.DOTALL) if self.answer else [text]
        return [part.strip() for part in found if part.strip() or self.answer]


def read(file: FileRef, names: set[str]) -> Template:
    """The template in a file; RecipeError where it is none, or uses other values than `names`."""
    try:
        values = yaml.safe_load(file.path.read_text(encoding="utf-8"))
        template = Template(**values)
        template.chat(**dict.fromkeys(names, ""))
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        raise RecipeError(
            f"{file.label}: not a template in YAML ({_first(error)}): mend it"
        ) from error
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise RecipeError(f"{file.label}: key {key!r}: {problem['msg']}") from error
    except _jinja().TemplateError as error:
        raise RecipeError(
            f"{file.label}: {_first(error)}: the values here are {', '.join(sorted(names))}"
        ) from error
    return template


def _filled(content: Any, values: dict[str, str]) -> Any:
    if isinstance(content, str):
        return _compiled(content).render(**values)
    return [{key: _filled(text, values) for key, text in part.items()} for part in content]


@lru_cache(maxsize=64)
def _compiled(text: str) -> Any:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=_jinja().StrictUndefined)
    return environment.from_string(text)


def _jinja() -> Any:
    import jinja2

    return jinja2


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
