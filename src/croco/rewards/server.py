"""A sequence classifier with one output as reward, on a vLLM server: its raw logit, from token ids.

The server is vLLM with `--runner pooling --convert classify`; its endpoint /classify stands beside /v1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from croco.errors import EngineError
from croco.flow import Flow
from croco.loading import check_classifier
from croco.models import fetch_tokenizer
from croco.records import Candidate
from croco.reward_settings import RewardConfig
from croco.rewards import Scores
from croco.rewards.encoding import encode, padding_of, plain_ids, scored_once
from croco.servers import connect, explained, model_name, server_of
from croco.settings import Resources
from croco.tokens import load_tokenizer


class ServerClassifier:
    """Scores with the /classify endpoint, some answers a request and several requests at a time."""

    def __init__(self, config: RewardConfig, resources: Resources, trained: Path | None) -> None:
        self._server = server_of(resources, "a reward of kind 'server'")
        if config.ref.location and any(Path(config.ref.location).glob("*.safetensors")):
            check_classifier(Path(config.ref.location))
        self._tokenizer = load_tokenizer(config.ref)
        self._limit = config.max_length
        self._pad = padding_of(fetch_tokenizer(config.ref))
        self._size = resources.batch_size
        self._client = connect(self._server)
        self._flow = Flow()
        self._model = self._flow.once(model_name(self._client, self._server, config.ref))
        self._url = self._server.url.rstrip("/").removesuffix("/v1") + "/classify"

    def score(self, candidates: Sequence[Candidate]) -> Scores:
        """The logit of each answer; EngineError where one is too long or the server refuses it."""
        rows = [encode(self._tokenizer, c, self._limit) for c in candidates]
        ids = [plain_ids(row, self._pad) for row in rows]
        return Scores(scored_once(rows, lambda places: self._logits([ids[k] for k in places])))

    def _logits(self, rows: list[list[int]]) -> list[float]:
        parts = range(0, len(rows), self._size)
        found: dict[int, float] = {}
        run = self._flow.run(
            lambda start: self._classify(start, rows[start : start + self._size]),
            parts,
            self._server.concurrency,
        )
        for results in run:
            for result in results:
                found |= result
        return [found[k] for k in range(len(rows))]

    async def _classify(self, start: int, rows: list[list[int]]) -> dict[int, float]:
        """The logits by place; GoneError where the server is gone, EngineError where it refuses."""
        body = {"model": self._model, "input": rows, "use_activation": False}
        try:
            answer: Any = await self._client.post(self._url, cast_to=object, body=body)
            found = {start + int(one["index"]): float(one["probs"][0]) for one in answer["data"]}
            widths = {len(one["probs"]) for one in answer["data"]}
        except Exception as error:
            raise explained(error, self._server) from error
        if sorted(found) != list(range(start, start + len(rows))) or widths != {1}:
            raise EngineError(
                f"the server gave {len(found)} answers of widths {sorted(widths)} for {len(rows)} texts:"
                " serve a classifier with one output"
            )
        return found
