"""Sampling from a server that speaks OpenAI's chat protocol: vLLM, llama.cpp, a provider.

A row is one request for n answers. Where the server does not give n at once, the missing ones are asked
for one by one. Answer k has the seed of the row's answer 0 plus k in both cases, and where a row grows:
by that rule vLLM and llama.cpp give the answers of one request their seeds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from croco.completions import completion, opening_of, without_opening
from croco.datafiles import is_text
from croco.dates import DATE, writes_date
from croco.engines import Reply, Request
from croco.errors import EngineError, NoAnswerError, RecipeError, StopError
from croco.flow import Flow
from croco.models import SERVED, ModelRef, fetch_tokenizer
from croco.records import Completion
from croco.servers import connect, explained, model_name, server_of
from croco.settings import Resources, Sampling
from croco.template_arguments import check_arguments
from croco.texts import is_blank
from croco.tokens import (
    Chat,
    answer_ids,
    declared_ends,
    end_ids,
    load_tokenizer,
    prompt_ids,
    spells_control,
)

#: Servers cut the distribution by default (llama.cpp: top_k 40, min_p .05) or as the model's
#: generation_config says (vLLM); these turn that off, and ask vLLM for the sampled ids.
WHOLE_DISTRIBUTION = {
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "return_token_ids": True,
}
#: Rows' seeds are below this, whatever their number of answers: seeds up to 2**31 are known everywhere.
SEEDS = 2**30
#: Where servers put the reasoning that they have separated from an answer.
REASONING = ("reasoning_content", "reasoning")


class OpenAIEngine:
    """Chat completions; token ids are the server's where it gives them, else the policy's tokenizer's."""

    context_length = None

    def __init__(
        self,
        policy: ModelRef,
        sampling: Sampling,
        resources: Resources,
        adapter: Path | None = None,
    ) -> None:
        if adapter:
            raise RecipeError("a server cannot take an adapter: sample by transformers or vllm")
        self._server = server_of(resources, "the engine 'openai'")
        self._sampling = sampling
        self._tokenizer = None if policy.revision == SERVED else load_tokenizer(policy)
        if self._tokenizer:
            check_arguments(self._tokenizer, sampling.chat_template_kwargs)
        self._dated = bool(self._tokenizer) and writes_date(self._tokenizer)
        self._ends = self._end_tokens(policy)
        self._client = connect(self._server)
        self._flow = Flow()
        self._places = asyncio.Semaphore(self._server.concurrency)
        self._one_by_one = False
        self._model = self._flow.once(model_name(self._client, self._server, policy))

    def _end_tokens(self, policy: ModelRef) -> list[int]:
        if self._tokenizer is None:
            return []
        declared = declared_ends(fetch_tokenizer(policy))
        return end_ids(self._tokenizer, declared, f"model {policy.name}")

    def encode(self, chat: Chat) -> list[int]:
        """The ids by the policy's own tokenizer; none where only the server knows the model."""
        if self._tokenizer is None:
            return []
        return prompt_ids(self._tokenizer, chat, self._sampling.chat_template_kwargs)

    def generate(self, batches: Iterable[list[Request]]) -> Iterator[list[Reply]]:
        """As the server answers. Raises GoneError where it is gone, StopError where it wants a key."""
        requests = chain.from_iterable(batches)
        yield from self._flow.run(self._reply, requests, self._server.concurrency)

    async def _reply(self, request: Request) -> Reply:
        try:
            ids = self.encode(request.chat)
            if self._tokenizer and spells_control(self._tokenizer, request.chat):
                raise EngineError(
                    "the prompt spells a special token of the model, which a server reads as one: leave"
                    " it out, or use the engine transformers or vllm"
                )
            found = await self._completions(request)
            return self._checked(request, ids, found)
        except Exception as error:
            meant = explained(error, self._server)
            if isinstance(meant, StopError):
                raise meant from error
            return Reply(request, error=meant)

    async def _completions(self, request: Request) -> list[ChatCompletion]:
        """Completions that have a choice for every seed in all."""
        n, row_seed = len(request.seeds), request.row_seed
        seed = (request.seeds[0] if row_seed is None else row_seed) % SEEDS + request.first
        found = []
        if n > 1 and not self._one_by_one:
            try:
                found = [await self._ask(request, seed, n)]
            except openai.BadRequestError:
                # Too many answers, or something that one answer alone would be refused for as well.
                found = [await self._ask(request, seed, 1)]
            self._one_by_one = len(found[0].choices) < n
        have = sum(len(one.choices) for one in found)
        more = [self._ask(request, seed + k, 1) for k in range(have, n)]
        return found + list(await asyncio.gather(*more))

    async def _ask(self, request: Request, seed: int, n: int) -> ChatCompletion:
        sampling = self._sampling
        extra = sampling.extra
        if extra is None:
            extra = WHOLE_DISTRIBUTION | ({"stop_token_ids": self._ends} if self._ends else {})
        if sampling.chat_template_kwargs:
            extra = extra | {"chat_template_kwargs": sampling.chat_template_kwargs}
        async with self._places:
            answer: Any = await self._client.chat.completions.create(
                model=self._model,
                messages=request.chat,  # type: ignore[arg-type]
                n=n,
                seed=seed,
                temperature=request.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                stop=sampling.stop or openai.omit,
                extra_body=extra,
            )
        if not isinstance(answer, ChatCompletion) or not isinstance(answer.choices, list):
            raise EngineError("the server's answer is not a chat completion: look at its log")
        if not 0 < len(answer.choices) <= n:
            raise EngineError(f"the server gave {len(answer.choices)} answers, not {n}")
        return answer

    def _checked(self, request: Request, ids: list[int], found: list[ChatCompletion]) -> Reply:
        """The reply; StopError where the server's prompt ids are not the policy's own."""
        for answer in found:
            given = getattr(answer, "prompt_token_ids", None)
            if given and ids and given != ids:
                raise StopError(
                    f"the server gave the model {len(given)} prompt tokens and the policy's own chat"
                    f" template gives {len(ids)} others: serve the policy with its own chat template"
                    + (f", its date fixed to {DATE:%d %b %Y}" if self._dated else "")
                )
            if self._dated and not given:
                raise StopError(
                    "the policy's chat template writes today's date, and the server does not tell the"
                    f" prompt's token ids, so the date cannot be checked to be {DATE:%d %b %Y}: use a"
                    " vLLM server or another engine"
                )
            ids = ids or list(given or [])
        completions = [
            self._completion(ids, choice) for answer in found for choice in answer.choices
        ]
        usage = [answer.usage for answer in found if answer.usage]
        counted = sum(one.completion_tokens or 0 for one in usage)
        return Reply(
            request,
            ids,
            completions,
            prompt_tokens=sum(one.prompt_tokens or 0 for one in usage),
            # llama.cpp counts one answer of n: where the ids are known, they tell better.
            completion_tokens=max(counted, sum(len(one.token_ids) for one in completions)),
        )

    def _completion(self, asked: list[int], choice: Any) -> Completion:
        """A choice as an answer; EngineError where it is none, NoAnswerError where its text is missing."""
        reason, reasoning = choice.finish_reason, _reasoning(choice)
        text = _content(choice, reasoning, self._sampling.max_tokens)
        if reason not in ("stop", "length"):
            raise EngineError(f"the server ended an answer by {reason!r}, not at its end or limit")
        if not isinstance(text, str) or not all(map(is_text, (text, reasoning))):
            raise EngineError("an answer of the server's is no text, or holds half a character")
        own, ids = self._sampling, getattr(choice, "token_ids", None)
        if ids and self._tokenizer:
            return completion(
                self._tokenizer, asked, list(ids), reason, self._ends, own.stop, own.markers
            )
        found = Completion(text, list(ids or []), reason).separated(own.markers)
        if reasoning and own.markers:
            opening, closing = own.markers[0]
            whole = f"{opening}\n{reasoning.strip()}\n{closing}\n\n{text.lstrip()}"
            found = replace(found, whole=whole)
        return self._encoded(asked, found) if self._tokenizer else found

    def _encoded(self, asked: list[int], found: Completion) -> Completion:
        """An answer with token ids by the policy's own tokenizer, since the server gives none."""
        if self._tokenizer is None:
            return found
        own, finished = self._sampling, found.finish_reason == "stop"
        written = found.whole or found.text
        opening = opening_of(self._tokenizer, asked, own.markers)
        markers = own.markers if found.whole else ()
        ids = answer_ids(self._tokenizer, without_opening(written, opening), finished, markers)
        again = completion(
            self._tokenizer, asked, ids, found.finish_reason, self._ends, (), own.markers
        )
        count = again.reasoning_tokens if found.whole else 0
        return replace(found, token_ids=ids, reasoning_tokens=count, special=again.special)


def _reasoning(choice: Any) -> str:
    """The reasoning that a server has put apart from an answer."""
    found = (getattr(choice.message, name, None) for name in REASONING if choice.message)
    return next((one for one in found if isinstance(one, str) and one.strip()), "")


def _content(choice: Any, reasoning: str, limit: int) -> Any:
    """A choice's text; NoAnswerError says what there is in its place: reasoning, a refusal, a call of a
    tool, nothing."""
    message = getattr(choice, "message", None)
    if message is None:
        raise NoAnswerError(
            "the server's answer is not what was asked for: a choice has no message", "empty"
        )
    content, refusal = getattr(message, "content", None), getattr(message, "refusal", None)
    tools = getattr(message, "tool_calls", None)
    blank = isinstance(content, str) and is_blank(content)
    if content is not None and not (blank and (reasoning or refusal or tools)):
        return content
    said = " but a call of a tool" if tools else ""
    said = f" but a refusal: {str(refusal)[:200]!r}" if refusal else said
    if reasoning:
        said = f" but {len(reasoning)} characters of reasoning"
    if choice.finish_reason == "length":
        raise NoAnswerError(
            f"the server gave no answer within {limit} tokens{said}: raise max_tokens, or turn reasoning"
            " off by chat_template_kwargs",
            "cut off",
        )
    raise NoAnswerError(
        f"the server gave no answer (content is {content!r}, finish reason"
        f" {choice.finish_reason!r}){said}",
        "empty",
    )
