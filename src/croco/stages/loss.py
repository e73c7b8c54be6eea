"""Loss: how likely a policy, with or without an adapter, finds sentences in many languages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from croco import likelihood, models
from croco.datafiles import FileRef, read_sentences
from croco.errors import DataError, EngineError, StopError
from croco.likelihood import Likelihood
from croco.models import ModelRef
from croco.records import Failure, Loss, Sentence
from croco.settings import Dtype, Section
from croco.stage import Batch, Context, Outcome


class SentencesConfig(Section):
    """Files by content, and how many ids to take."""

    files: list[FileRef]
    limit: int | None

    def check(self) -> None:
        """DataError where a file has a bad line, or there is no sentence."""
        read(self)


class Config(Section):
    """The policy, the name of what reads with it, and the precision of its weights."""

    policy: ModelRef
    likelihood: str
    dtype: Dtype


def sentences(config: SentencesConfig, context: Context) -> list[Sentence]:
    """The stage: what `read` gives."""
    return read(config)


def read(config: SentencesConfig) -> list[Sentence]:
    """The sentences of the first `limit` ids in sorted order, in every language that has them."""
    rows = read_sentences(config.files)
    if not rows:
        names = ", ".join(file.label for file in config.files)
        raise DataError(f"{names}: no sentences: add some or remove evaluate.sentences")
    ids = set(sorted({row.id for row in rows})[: config.limit])
    return [row for row in rows if row.id in ids]


def loss(config: Config, context: Context, batches: Iterable[Batch]) -> Iterator[list[Outcome]]:
    """One `Loss` row per sentence; one that cannot be read is a Failure, the others are kept.

    The files of the input "adapter", where there is one, are put on the policy.
    """
    adapter = context.inputs["adapter"].files if "adapter" in context.inputs else None
    policy, adapter = models.tuned(config.policy, adapter)
    model: Likelihood | None = None
    for batch in batches:
        model = model or likelihood.load(
            config.likelihood, policy, config.dtype, context.resources, adapter
        )
        yield _losses(model, batch)


def _losses(model: Likelihood, batch: Batch) -> list[Outcome]:
    try:
        found = model.measure([item.rows["sentences"].text for item in batch])
        rows: list[Outcome] = [
            Loss(*item.key, own.nats, own.tokens, own.bytes)
            for item, own in zip(batch, found, strict=True)
        ]
        if not all(math.isfinite(own.nats) for own in found):
            raise EngineError("its loss is not a finite number")
        return rows
    except StopError:
        raise
    except Exception as error:
        if len(batch) == 1:
            return [Failure.of(batch[0].key, error)]
        # Some sentence of the batch is at fault: read one by one, it alone is left owed.
        return [outcome for item in batch for outcome in _losses(model, [item])]
