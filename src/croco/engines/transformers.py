"""Sampling by transformers: each prompt is read once, its n answers are decoded together.

`generate` of transformers would read the prompt n times, and its samples would depend on one global
random generator. Here every answer has its own stream of uniform numbers, one per token, which picks
the token by the inverse of the cumulative distribution: the same seed gives the same answer on any
device, up to rounding, whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from croco.engines import Chat
from croco.errors import EngineError
from croco.models import ModelRef, fetch
from croco.quiet import quiet
from croco.recipe import Resources, Sampling
from croco.records import Completion


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
        self._sampling = sampling
        self._device = pick_device(resources.device)
        folder = fetch(policy)
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = _load(folder, sampling.dtype, adapter).to(self._device).eval()
        self._ends = _end_tokens(self._model, self._tokenizer)
        self.context_length = int(self._model.config.get_text_config().max_position_embeddings)

    def encode(self, chat: Chat) -> list[int]:
        """The chat template's token ids up to the model's turn, checked for a doubled BOS."""
        if not self._tokenizer.chat_template:
            raise EngineError("the policy has no chat template: use an instruction-tuned model")
        ids = self._tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        check_bos(ids, self._tokenizer)
        return list(ids)

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[list[int]], seeds: Sequence[Sequence[int]]
    ) -> list[list[Completion]]:
        """One completion per seed for each prompt; every prompt has the same number of seeds."""
        n = len(seeds[0])
        flat = [seed for own in seeds for seed in own]
        chosen = self._decode(prompts, n, _uniforms(flat, self._sampling.max_tokens))
        answers = [self._completion(ids) for ids in chosen.tolist()]
        return [answers[start : start + n] for start in range(0, len(answers), n)]

    def _decode(self, prompts: Sequence[list[int]], n: int, uniforms: torch.Tensor) -> torch.Tensor:
        """Token ids (prompts x n, steps); after an end token the row repeats it."""
        ids, mask = _left_padded(prompts, self._ends[0], self._device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=self._model.config)
        logits = self._step(ids, mask, positions, cache).repeat_interleave(n, 0)
        cache.batch_repeat_interleave(n)
        mask, position = mask.repeat_interleave(n, 0), positions[:, -1:].repeat_interleave(n, 0)
        ends = torch.tensor(self._ends, device=self._device)
        done = torch.zeros(len(prompts) * n, dtype=torch.bool, device=self._device)
        steps = []
        for uniform in uniforms.to(self._device).unbind(1):
            token = pick(logits, uniform, self._sampling.temperature, self._sampling.top_p)
            token[done] = ends[0]
            done |= torch.isin(token, ends)
            steps.append(token)
            if len(steps) == uniforms.shape[1] or bool(done.all()):
                break
            position = position + 1
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            logits = self._step(token[:, None], mask, position, cache)
        return torch.stack(steps, 1).cpu()

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

    def _completion(self, ids: list[int]) -> Completion:
        """The ids up to and with the first end token; without one the answer was cut off."""
        end = next((k for k, token in enumerate(ids) if token in self._ends), None)
        kept = ids if end is None else ids[: end + 1]
        text = self._tokenizer.decode(kept, skip_special_tokens=True)
        return Completion(text, kept, "length" if end is None else "stop")


def pick(
    logits: torch.Tensor, uniform: torch.Tensor, temperature: float, top_p: float
) -> torch.Tensor:
    """The token (rows,) at which the cumulative distribution of logits (rows, vocabulary) passes
    `uniform` (rows,); with top_p < 1 only the likeliest tokens that together reach it can be picked.
    """
    probabilities = torch.softmax(logits / temperature, -1)
    if top_p == 1:
        return _inverse(probabilities, uniform)
    ranked, order = probabilities.sort(dim=-1, descending=True, stable=True)
    beyond = ranked.cumsum(-1) - ranked >= top_p
    rank = _inverse(ranked.masked_fill(beyond, 0.0), uniform)
    return order.gather(1, rank[:, None])[:, 0]


def _inverse(probabilities: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    cumulative = probabilities.cumsum(-1)
    goal = uniform[:, None] * cumulative[:, -1:]
    # right=True steps over tokens of probability zero; where rounding makes the goal the whole, the
    # last token with any probability is meant.
    found = torch.searchsorted(cumulative, goal, right=True)[:, 0]
    return torch.minimum(found, (cumulative < cumulative[:, -1:]).sum(-1))


def check_bos(ids: Sequence[int], tokenizer: Any) -> None:
    """EngineError unless the ids begin with exactly one BOS where the tokenizer's own texts do."""
    bos = tokenizer.bos_token_id
    if bos is None:
        return
    leading = next((k for k, token in enumerate(ids) if token != bos), len(ids))
    expected = tokenizer("a")["input_ids"][:1] == [bos]
    if leading > 1 or (expected and leading == 0):
        raise EngineError(
            f"the chat template gives {leading} BOS tokens at the start of a prompt and the model"
            " expects one: mend the model's chat template"
        )


def pick_device(name: str) -> str:
    """`auto` is CUDA, else Apple's GPU, else the CPU."""
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _load(folder: Path, dtype: str, adapter: Path | None) -> Any:
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
        if adapter is None:
            return model
        from peft import PeftModel

        # Not merged: adding a small update to 8-bit mantissas would round part of it away.
        return PeftModel.from_pretrained(model, adapter).to(model.dtype)


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The ids that end an answer; the tokenizer's EOS, which also pads, comes first."""
    declared = model.generation_config.eos_token_id
    more = declared if isinstance(declared, list) else [declared]
    return list(dict.fromkeys(i for i in [tokenizer.eos_token_id, *more] if i is not None))


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
