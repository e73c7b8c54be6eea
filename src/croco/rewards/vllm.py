"""A sequence classifier with one output as reward, read by vLLM: its raw logit, from token ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vllm
from transformers import AutoConfig, AutoTokenizer

from croco.engines.vllm import engine_options, not_started
from croco.errors import RecipeError, StopError
from croco.loading import check_classifier
from croco.models import fetch
from croco.records import Candidate
from croco.reward_settings import RewardConfig
from croco.rewards import Scores
from croco.rewards.encoding import encode, padding_of, plain_ids, scored_once
from croco.settings import Resources
from croco.tokens import check_vocabulary


class VllmClassifier:
    """Scores with vLLM's pooling runner, without the activation that it puts on by default; the model is
    `trained`, or else `config.model`."""

    def __init__(self, config: RewardConfig, resources: Resources, trained: Path | None) -> None:
        if resources.data_parallel > 1:
            raise RecipeError(
                "a reward of kind 'vllm' runs one copy of the model: remove resources.score.data_parallel"
            )
        folder = trained or fetch(config.ref)
        check_classifier(folder)
        options = engine_options(folder, resources)
        try:
            self._engine: Any = vllm.LLM(
                **options,
                runner="pooling",
                convert="classify",
                dtype=config.dtype or _stored(folder),
            )
        except Exception as error:
            raise not_started(error) from error
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        started = self._engine.llm_engine.model_config
        check_vocabulary(self._tokenizer, int(started.get_vocab_size()), "the reward model")
        self._limit = min(config.max_length, int(started.max_model_len))
        self._pad = padding_of(folder)

    def score(self, candidates: Sequence[Candidate]) -> Scores:
        """The logit of each answer; EngineError where one is too long or the logit is not finite."""
        rows = [encode(self._tokenizer, c, self._limit) for c in candidates]
        ids = [plain_ids(row, self._pad) for row in rows]
        return Scores(scored_once(rows, lambda places: self._logits([ids[k] for k in places])))

    def _logits(self, rows: list[list[int]]) -> list[float]:
        outputs = self._engine.classify(
            [{"prompt_token_ids": ids} for ids in rows],
            pooling_params=vllm.PoolingParams(use_activation=False),
            use_tqdm=False,
        )
        widths = {len(one.outputs.probs) for one in outputs}
        if widths - {1}:
            raise StopError(
                f"the reward model has {max(widths)} outputs: take a classifier with one output"
            )
        return [float(one.outputs.probs[0]) for one in outputs]


def _stored(folder: Path) -> str:
    """The precision of the stored weights, in which kind `classifier` scores; vLLM's own choice for float32
    is half of that."""
    return str(AutoConfig.from_pretrained(folder).dtype or "float32").removeprefix("torch.")
