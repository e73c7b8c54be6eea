"""Servers that speak OpenAI's protocol: the official client, which model they have, and what went wrong.

The client itself tries again, with growing pauses, after 408, 409, 429, 5xx and dropped connections, and
waits as long as a Retry-After header says.
"""

from __future__ import annotations

import os
from typing import Any

import openai

from croco.errors import CrocoError, EngineError, GoneError, RecipeError, StopError
from croco.models import SERVED, ModelRef
from croco.settings import Resources, Server


def server_of(resources: Resources, what: str) -> Server:
    """The server that a stage's resources name; RecipeError where they name none."""
    if resources.server is None:
        raise RecipeError(f"{what} needs a server: give its url in resources.STAGE.server")
    return resources.server


def connect(server: Server) -> openai.AsyncOpenAI:
    """A client; its key comes from the environment, and a server without keys needs none."""
    return openai.AsyncOpenAI(
        base_url=server.url,
        api_key=os.environ.get(server.key) or "none",
        max_retries=server.retries,
        timeout=server.timeout,
    )


async def model_name(client: openai.AsyncOpenAI, server: Server, model: ModelRef) -> str:
    """The name under which a server has a model: the recipe's, or the only one that it serves.

    Raises RecipeError where it serves several and none by the model's own name.
    """
    if server.model or model.revision == SERVED:
        return server.model or model.name
    try:
        names = [one.id for one in (await client.models.list()).data]
    except Exception as error:
        raise explained(error, server) from error
    if len(names) == 1 or model.name in names:
        return names[0] if len(names) == 1 else model.name
    raise RecipeError(
        f"the server at {server.url} serves {', '.join(names) or 'nothing'}: say which of them is"
        f" {model.name!r} in resources.STAGE.server.model"
    )


#: What no request is at fault for: too many of them, and gateways without a server behind.
DOWN = (429, 502, 503, 504)


def explained(error: Exception, server: Server) -> CrocoError:
    """What an error of the client means: a request's own fault, or a StopError that is no row's fault."""
    if isinstance(error, CrocoError):
        return error
    if isinstance(error, openai.APITimeoutError):
        return GoneError(
            f"the server at {server.url} gave no answer in {server.timeout:g} s: look at it, or raise"
            " server.timeout, and run again; what was done is kept"
        )
    if isinstance(error, openai.APIConnectionError):
        return GoneError(
            f"the server at {server.url} does not answer ({error.__cause__ or error}): start it and run"
            " again; what was done is kept"
        )
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return StopError(
            f"the server at {server.url} refuses the key ({error.status_code}): put a valid one into the"
            f" environment variable {server.key}"
        )
    if isinstance(error, openai.APIStatusError) and error.status_code in DOWN:
        return GoneError(
            f"the server at {server.url} stays busy or down ({error.status_code}, {message_of(error)}):"
            " run again later; what was done is kept"
        )
    if isinstance(error, openai.APIStatusError):
        return EngineError(f"the server refused it ({error.status_code}): {message_of(error)}")
    return EngineError(
        f"the server's answer is not what was asked for ({type(error).__name__}: {error})"
    )


def message_of(error: openai.APIStatusError) -> str:
    """The server's own words."""
    body: Any = error.body
    said = body.get("message") if isinstance(body, dict) else None
    return str(said or error.message)[:500]
