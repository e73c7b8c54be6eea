"""Sampling by vLLM in this process's own engine: rows go in as token ids and come out as they finish.

Every answer is a request with a seed of its own; vLLM reads their common prompt once. vLLM's asynchronous
engine is used since only that one runs several copies of a model (`data_parallel`).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import weakref
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from croco.completions import completion
from croco.engines import Reply, Request
from croco.errors import EngineError, StopError
from croco.flow import Flow
from croco.loading import check_adapter
from croco.models import ModelRef, fetch
from croco.records import Completion
from croco.settings import Resources, Sampling
from croco.template_arguments import check_arguments
from croco.tokens import (
    Chat,
    check_vocabulary,
    declared_ends,
    end_ids,
    load_tokenizer,
    prompt_ids,
)

os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # its log would stand on our stdout and stderr

import vllm
import vllm.exceptions
import vllm.platforms
from vllm.lora.request import LoRARequest

#: The ranks that vLLM has LoRA kernels for.
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
#: vLLM's words for a request that it cannot answer: ValueError, until it had classes of its own.
REFUSALS = (ValueError, getattr(vllm.exceptions, "VLLMClientError", ValueError))
REMEDY = (
    "lower resources.STAGE.max_context or max_sequences, set memory_share, or spread the model by"
    " tensor_parallel (on a CPU, the environment's VLLM_CPU_KVCACHE_SPACE is the cache's size in GiB)"
)


class VllmEngine:
    """A causal language model in vLLM, with an optional LoRA adapter put on at run time."""

    def __init__(
        self,
        policy: ModelRef,
        sampling: Sampling,
        resources: Resources,
        adapter: Path | None = None,
    ) -> None:
        self._sampling = sampling
        self._tokenizer = load_tokenizer(policy)
        check_arguments(self._tokenizer, sampling.chat_template_kwargs)
        declared = declared_ends(fetch(policy))
        self._ends = end_ids(self._tokenizer, declared, f"model {policy.name}")
        if adapter:
            check_adapter(fetch(policy), adapter)
        self._lora = LoRARequest("adapter", 1, str(adapter.resolve())) if adapter else None
        options = {"dtype": sampling.dtype, **_adapter_options(adapter)}
        arguments = vllm.AsyncEngineArgs(**engine_options(fetch(policy), resources), **options)
        try:
            self._engine: Any = vllm.AsyncLLMEngine.from_engine_args(arguments)
        except Exception as error:
            raise not_started(error) from error
        weakref.finalize(self, _stop, self._engine)
        config = self._engine.vllm_config
        self.context_length = int(config.model_config.max_model_len)
        vocabulary = config.model_config.get_vocab_size()
        check_vocabulary(self._tokenizer, vocabulary, f"model {policy.name}")
        copies = resources.data_parallel
        self._room = copies * int(config.scheduler_config.max_num_seqs)
        self._numbers = itertools.count()
        self._flow = Flow()

    def encode(self, chat: Chat) -> list[int]:
        """The chat template's token ids up to the model's turn, checked for a doubled BOS."""
        return prompt_ids(self._tokenizer, chat, self._sampling.chat_template_kwargs)

    def generate(self, batches: Iterable[list[Request]]) -> Iterator[list[Reply]]:
        """As rows finish; twice as many answers are asked for as are decoded at a time."""
        stream = iter(batches)
        first = next(stream, [])
        answers = max((len(request.seeds) for request in first), default=1)
        requests = chain(first, chain.from_iterable(stream))
        yield from self._flow.run(self._reply, requests, 1 + 2 * self._room // answers)

    async def _reply(self, request: Request) -> Reply:
        try:
            ids = self.encode(request.chat)
            answers = [self._answer(ids, seed, request.temperature) for seed in request.seeds]
            return Reply(request, ids, list(await asyncio.gather(*answers)))
        except StopError:
            raise
        except EngineError as error:
            return Reply(request, error=error)
        except REFUSALS as error:
            return Reply(request, error=EngineError(f"vLLM refuses the request: {error}"))
        except Exception as error:
            raise StopError(f"vLLM stopped ({type(error).__name__}: {error}): {REMEDY}") from error

    async def _answer(self, ids: list[int], seed: int, temperature: float) -> Completion:
        sampling = vllm.SamplingParams(
            seed=seed,
            temperature=temperature,
            top_p=self._sampling.top_p,
            max_tokens=self._sampling.max_tokens,
            stop=self._sampling.stop,
            stop_token_ids=self._ends,
            output_kind=vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )
        prompt = {"prompt_token_ids": ids}
        number = str(next(self._numbers))
        stream = self._engine.generate(prompt, sampling, number, lora_request=self._lora)
        found = [output async for output in stream][-1].outputs[0]
        if found.finish_reason not in ("stop", "length"):
            raise EngineError(f"vLLM ended an answer by {found.finish_reason!r}")
        made, reason, own = list(found.token_ids), found.finish_reason, self._sampling
        # vLLM's own text may leave out a last character, where only some bytes of the next were sampled.
        return completion(self._tokenizer, ids, made, reason, self._ends, own.stop, own.markers)


def _stop(engine: Any) -> None:
    engine.shutdown()
    engine.shutdown = int  # `__del__` calls it once more, when vLLM's modules may be gone already


def engine_options(folder: Path, resources: Resources) -> dict[str, Any]:
    """vLLM's names for what `resources` say, and the model; what they do not say is vLLM's to choose."""
    chosen = {
        "gpu_memory_utilization": resources.memory_share,
        "max_num_seqs": resources.max_sequences,
        "max_model_len": resources.max_context,
    }
    return {
        "model": str(folder),
        "tensor_parallel_size": resources.tensor_parallel,
        "data_parallel_size": resources.data_parallel,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        # Compiling takes longer than it saves on the small models that one runs on a CPU.
        "enforce_eager": vllm.platforms.current_platform.is_cpu(),
        **{name: value for name, value in chosen.items() if value is not None},
    }


def not_started(error: Exception) -> StopError:
    """What to say where vLLM does not start: its own first words, and what helps against full memory."""
    words = str(error).splitlines() or [type(error).__name__]
    return StopError(f"vLLM does not start ({words[0]}): {REMEDY}")


def _adapter_options(adapter: Path | None) -> dict[str, Any]:
    if adapter is None:
        return {}
    rank = json.loads((adapter / "adapter_config.json").read_text())["r"]
    fitting = [known for known in RANKS if known >= rank]
    if not fitting:
        raise StopError(f"the adapter has rank {rank}, over the {RANKS[-1]} that vLLM takes")
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": fitting[0]}
