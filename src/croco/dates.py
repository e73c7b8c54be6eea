"""The date that chat templates write: one for all, since today's would give other prompts tomorrow."""

from __future__ import annotations

import json
import re
from datetime import datetime
from functools import lru_cache
from typing import Any

from croco.errors import StopError

#: What Llama 3's templates write where nobody tells them the date.
DATE = datetime(2024, 7, 26)
#: How a template asks for today's date.
NOW = "strftime_now"
CALL = re.compile(NOW + r"""\(\s*(?:format\s*=\s*)?(["'])(.*?)\1\s*\)""")
#: Where a template names it without asking: comments, and whether it is there at all.
HARMLESS = re.compile(r"\{#.*?#\}|" + NOW + r"\s+is\s+(?:not\s+)?defined", re.DOTALL)


def writes_date(tokenizer: Any) -> bool:
    """Whether a tokenizer's chat template may write today's date."""
    return NOW in str(tokenizer.chat_template)


def pinned(tokenizer: Any) -> dict[str, Any]:
    """What a tokenizer's chat template is applied with, so that the date that it writes is `DATE`.

    StopError where the template asks for the date in a form that cannot be read.
    """
    if not writes_date(tokenizer):
        return {}
    return {"chat_template": _written(tokenizer.get_chat_template())}


@lru_cache(maxsize=16)
def _written(template: str) -> str:
    """A chat template with the date in the place of questions for it."""
    found = CALL.sub(lambda call: json.dumps(DATE.strftime(call[2])), template)
    if NOW in HARMLESS.sub("", found):
        raise StopError(
            f"the model's chat template writes today's date, by {NOW} without a format in quotes: write a"
            " date into the chat_template.jinja of a local copy of the model, and name that"
        )
    return found
