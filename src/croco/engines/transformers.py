"""Sampling by transformers: each prompt is read once, its n answers are decoded together.

`generate` of transformers would read the prompt n times, and its samples would depend on one global
random generator. Here every answer has its own stream of uniform numbers, one per token, which picks
the token by the inverse of the cumulative distribution: the same seed gives the same answer on any
device, up to rounding, whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, DynamicCache

from croco import loading
from croco.completions import completion
from croco.engines import Reply, Request
from croco.errors import EngineError, StopError
from croco.memory import Halving
from croco.models import ModelRef, fetch
from croco.records import Completion, FinishReason
from croco.settings import Resources, Sampling
from croco.template_arguments import check_arguments
from croco.tokens import (
    Chat,
    answer_text,
    check_vocabulary,
    end_ids,
    prompt_ids,
)


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer to be: whose it is, the prompt's ids, its seed and temperature."""

    request: int
    prompt_ids: list[int]
    seed: int
    temperature: float


class TransformersEngine:
    """A causal language model on one device, with an optional PEFT adapter."""

    def __init__(
        self,
        policy: ModelRef,
        sampling: Sampling,
        resources: Resources,
        adapter: Path | None = None,
    ) -> None:
        if resources.threads:
            torch.set_num_threads(resources.threads)
        folder = fetch(policy)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = load_model(folder, sampling.dtype, adapter).to(pick_device(resources.device))
        self._take(model.eval(), tokenizer, sampling, f"model {policy.name}")

    @classmethod
    def around(cls, model: Any, tokenizer: Any, sampling: Sampling) -> TransformersEngine:
        """An engine over a model that is in memory, such as one in training, wherever it is.

        Who trains it sees to `eval` and `train`. What it computes can be used in training again.
        """
        engine = cls.__new__(cls)
        engine._take(model, tokenizer, sampling, "the model")
        engine._without_gradients = torch.no_grad
        return engine

    def _take(self, model: Any, tokenizer: Any, sampling: Sampling, what: str) -> None:
        self._model, self._tokenizer, self._sampling = model, tokenizer, sampling
        self._device = str(model.device)
        config = model.config.get_text_config()
        check_vocabulary(tokenizer, config.vocab_size, what)
        check_arguments(tokenizer, sampling.chat_template_kwargs)
        self._ends = end_ids(tokenizer, model.generation_config.eos_token_id, what)
        # A stop text has at most a token per byte: an answer's last tokens show whether it is there.
        self._window = 1 + max((len(stop.encode()) for stop in sampling.stop), default=0)
        self._halving = Halving("lower resources.sample.batch_size or sample.max_tokens")
        self._without_gradients: Any = torch.inference_mode
        self.context_length: int | None = int(config.max_position_embeddings)

    def encode(self, chat: Chat) -> list[int]:
        """The chat template's token ids up to the model's turn, checked for a doubled BOS."""
        return prompt_ids(self._tokenizer, chat, self._sampling.chat_template_kwargs)

    def generate(self, batches: Iterable[list[Request]]) -> Iterator[list[Reply]]:
        """Batch by batch; a request that cannot be encoded alone is an error."""
        for batch in batches:
            yield self._replies(batch)

    def _replies(self, batch: list[Request]) -> list[Reply]:
        prompts: list[list[int]] = []
        failed: dict[int, Exception] = {}
        for k, request in enumerate(batch):
            try:
                prompts.append(self.encode(request.chat))
            except StopError:
                raise
            except EngineError as error:
                prompts.append([])
                failed[k] = error
        answers = [
            _Answer(k, prompts[k], seed, request.temperature)
            for k, request in enumerate(batch)
            for seed in request.seeds
            if k not in failed
        ]
        found: list[list[Completion]] = [[] for _ in batch]
        for answer, made in zip(answers, self._halving(self._decode, answers), strict=True):
            found[answer.request].append(made)
        return [
            Reply(request, prompts[k], found[k], error=failed.get(k))
            for k, request in enumerate(batch)
        ]

    def _decode(self, answers: Sequence[_Answer]) -> list[Completion]:
        """A completion for each answer. Answers to one prompt stand together: it is read once."""
        if not answers:
            return []
        temperatures = torch.tensor([a.temperature for a in answers], device=self._device)
        uniforms = _uniforms([a.seed for a in answers], self._sampling.max_tokens)
        runs = [list(own) for _, own in groupby(answers, key=lambda answer: answer.request)]
        prompts = [own[0].prompt_ids for own in runs]
        counts = torch.tensor([len(own) for own in runs], device=self._device)
        with self._without_gradients():
            chosen = self._steps(prompts, counts, uniforms, temperatures)
        return [
            self._completion(answer.prompt_ids, ids)
            for answer, ids in zip(answers, chosen.tolist(), strict=True)
        ]

    def _steps(
        self,
        prompts: Sequence[list[int]],
        counts: torch.Tensor,
        uniforms: torch.Tensor,
        temperatures: torch.Tensor,
    ) -> torch.Tensor:
        """Token ids (answers, steps); after an end token the row repeats it."""
        ids, mask = _left_padded(prompts, self._ends[0], self._device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=self._model.config)
        logits = self._step(ids, mask, positions, cache)
        row_of = torch.arange(len(prompts), device=self._device).repeat_interleave(counts)
        cache.batch_select_indices(row_of)
        logits, mask, position = logits[row_of], mask[row_of], positions[row_of, -1:]
        ends = torch.tensor(self._ends, device=self._device)
        done = torch.zeros(len(row_of), dtype=torch.bool, device=self._device)
        steps: list[torch.Tensor] = []
        for uniform in uniforms.to(self._device).unbind(1):
            token = pick(logits, uniform, temperatures, self._sampling.top_p)
            token[done] = ends[0]
            steps.append(token)
            done |= torch.isin(token, ends)
            if self._sampling.stop:
                done |= self._stopped(torch.stack(steps[-self._window :], 1))
            if len(steps) == uniforms.shape[1] or bool(done.all()):
                break
            position = position + 1
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            logits = self._step(token[:, None], mask, position, cache)
        return torch.stack(steps, 1).cpu()

    def _stopped(self, tails: torch.Tensor) -> torch.Tensor:
        """Which rows of last tokens (answers, window) have a stop text in them."""
        found = [
            any(stop in self._decoded(ids) for stop in self._sampling.stop)
            for ids in tails.tolist()
        ]
        return torch.tensor(found, device=self._device)

    def _step(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: DynamicCache
    ) -> torch.Tensor:
        output = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits

    def _completion(self, asked: list[int], ids: list[int]) -> Completion:
        """The ids up to and with the first end token or stop text; without one it was cut off."""
        end = next((k for k, token in enumerate(ids) if token in self._ends), None)
        kept, own = (ids, ids) if end is None else (ids[: end + 1], ids[:end])
        stopped, stops = end is not None, self._sampling.stop
        if any(stop in self._decoded(own) for stop in stops):
            stopped, kept = True, kept[: self._upto_stop(own)]
        reason: FinishReason = "stop" if stopped else "length"
        markers = self._sampling.markers
        return completion(self._tokenizer, asked, kept, reason, self._ends, stops, markers)

    def _upto_stop(self, ids: list[int]) -> int:
        """How many ids it takes until a stop text is there."""
        return next(
            k
            for k in range(1, len(ids) + 1)
            if any(stop in self._decoded(ids[:k]) for stop in self._sampling.stop)
        )

    def _decoded(self, ids: list[int]) -> str:
        return answer_text(self._tokenizer, ids, markers=self._sampling.markers)


def pick(
    logits: torch.Tensor, uniform: torch.Tensor, temperature: torch.Tensor, top_p: float
) -> torch.Tensor:
    """The token (rows,) at which the cumulative distribution of logits (rows, vocabulary) passes
    `uniform` (rows,); with top_p < 1 only the likeliest tokens that together reach it can be picked.
    A row of temperature (rows,) 0 takes the likeliest token.
    """
    greedy = temperature == 0
    probabilities = torch.softmax(logits / torch.where(greedy, 1.0, temperature)[:, None], -1)
    if top_p == 1:
        picked = _inverse(probabilities, uniform)
    else:
        ranked, order = probabilities.sort(dim=-1, descending=True, stable=True)
        beyond = ranked.cumsum(-1) - ranked >= top_p
        rank = _inverse(ranked.masked_fill(beyond, 0.0), uniform)
        picked = order.gather(1, rank[:, None])[:, 0]
    return torch.where(greedy, logits.argmax(-1), picked) if bool(greedy.any()) else picked


def _inverse(probabilities: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    cumulative = probabilities.cumsum(-1)
    goal = uniform[:, None] * cumulative[:, -1:]
    # right=True steps over tokens of probability zero; where rounding makes the goal the whole, the
    # last token with any probability is meant.
    found = torch.searchsorted(cumulative, goal, right=True)[:, 0]
    return torch.minimum(found, (cumulative < cumulative[:, -1:]).sum(-1))


def pick_device(name: str) -> str:
    """`auto` is CUDA, else Apple's GPU, else the CPU."""
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_model(folder: Path, dtype: str, adapter: Path | None) -> Any:
    """A causal language model, with the adapter of a directory put on where there is one."""
    model = loading.causal(folder, dtype=getattr(torch, dtype))
    # Not merged: adding a small update to 8-bit mantissas would round part of it away.
    return loading.put_on(model, adapter).to(model.dtype) if adapter else model


def _uniforms(seeds: Sequence[int], length: int) -> torch.Tensor:
    """Uniform numbers in [0, 1), a stream of `length` for every seed."""
    streams = [np.random.Generator(np.random.Philox(key=seed)).random(length) for seed in seeds]
    return torch.from_numpy(np.stack(streams)).float()


def _left_padded(
    prompts: Sequence[list[int]], pad: int, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(ids) for ids in prompts)
    ids = [[pad] * (width - len(own)) + own for own in prompts]
    mask = [[0] * (width - len(own)) + [1] * len(own) for own in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
