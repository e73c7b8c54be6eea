"""Templates of prompts for models that translate or judge: YAML files, known by their content.

    version: 1
    messages:
      - {role: user, content: "Translate this {{ source_language }} text into {{ language }}: {{ text }}"}
    answer: '<translation>(.*)</translation>'   # a regular expression with one group; none: all of it
    grades: [1, 10]                             # the least and the highest grade, where it asks for one

`answer` may be several expressions: the first that is found in an answer is read. They run on RE2 (see
`patterns`). `bundled:translate.yaml` and the like are CroCo's own. A change in a file is a new identity.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import pydantic
import yaml
from pydantic import Field

from croco import yamls
from croco.datafiles import FileRef
from croco.errors import RecipeError
from croco.grades import Bounds, grade_in
from croco.patterns import compiled, found_in
from croco.reasoning import answer_of
from croco.settings import Section
from croco.tokens import Chat


class Message(Section):
    """A message; content is text, or parts of text where a model's chat template wants such."""

    role: Literal["system", "user", "assistant"]
    content: str | list[dict[str, str]]


class Template(Section):
    """Messages with `{{ values }}` to fill in, and where in the model's answer the wanted text is."""

    version: int = Field(ge=1)
    messages: list[Message] = Field(min_length=1)
    answer: list[str] | None = None
    grades: Bounds | None = None

    @pydantic.field_validator("answer", mode="before")
    @classmethod
    def _regular(cls, value: Any) -> Any:
        patterns = [value] if isinstance(value, str) else value
        for pattern in patterns if isinstance(patterns, list) else []:
            if isinstance(pattern, str) and (groups := compiled(pattern).groups) != 1:
                raise ValueError(f"{pattern!r} has {groups} groups: mark the answer by one")
        return patterns

    @pydantic.field_validator("grades")
    @classmethod
    def _ascending(cls, bounds: Bounds | None) -> Bounds | None:
        if bounds and not bounds[0] < bounds[1]:
            raise ValueError("give the least grade, then the highest")
        return bounds

    def chat(self, **values: str) -> Chat:
        """The messages with values filled in; values are text, whatever stands in them."""
        return [
            {"role": message.role, "content": _filled(message.content, values)}
            for message in self.messages
        ]

    def answer_in(self, text: str) -> str | None:
        """The wanted part of a model's answer, its last one; None where there is none.

        Where the template asks for a grade it is that, as Python writes numbers.
        """
        if self.grades is None:
            return next(reversed(self.answers_in(text)), None)
        try:
            return f"{self.grade_in(text):g}"
        except ValueError:
            return None

    def answers_in(self, text: str) -> list[str]:
        """All wanted parts of a model's answer, by the first pattern that is found in it.

        Nothing is read from inside reasoning, or where that does not end.
        """
        answer = answer_of(text)
        if self.answer is None:
            return [answer.strip()] if answer.strip() else []
        found = (found_in(pattern, answer) for pattern in self.answer)
        return [part.strip() for part in next(filter(None, found), [])]

    def grade_in(self, text: str) -> float:
        """The grade in a model's answer, the last one; ValueError says why there is none."""
        found = self.answers_in(text)
        if not found:
            raise ValueError(f"{text[-80:]!r} has no grade where the template looks for one")
        return grade_in(found[-1], self.grades)


def read(file: FileRef, names: set[str]) -> Template:
    """The template in a file; RecipeError where it is none, or uses other values than `names`, DataError
    where it was edited since it was referred to."""
    try:
        values = yamls.load(file.unchanged().read_text(encoding="utf-8"))
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
