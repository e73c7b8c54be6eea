"""Reference: the log-probabilities of pairs under the model that DPO starts from, once for all arms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from croco.errors import EngineError, StopError
from croco.examples import Taken, refuse_foreign_ids, shard_taken, within
from croco.keeping import keep
from croco.models import ModelRef
from croco.records import Failure, Key, References
from croco.settings import Dtype, Resources, Section
from croco.stage import Batch, Context, Outcome, shard_of
from croco.training_settings import Lora, TrainConfig

if TYPE_CHECKING:
    from croco.training.reference import Reference


class Config(Section):
    """The policy, its precision, whether it is trained as a whole or stands in 4 bits, and how much of a
    response training reads: all that the reference depends on, so that arms which train otherwise share it.
    """

    policy: ModelRef
    dtype: Dtype
    whole: bool
    quantized: bool
    max_length: int

    @property
    def train(self) -> TrainConfig:
        """As the trainer is told."""
        lora = None if self.whole else Lora(quantized=self.quantized)
        return TrainConfig(dtype=self.dtype, lora=lora)


def reference(
    config: Config, context: Context, batches: Iterable[Batch]
) -> Iterator[list[Outcome]]:
    """One `References` row per `Pairs` row; one that cannot be read is a Failure, the others are kept.

    The files of the input "start", where there is one, are the tuned policy that is the reference. Raises
    StopError where the answers' token ids are not the policy's.
    """
    start = context.inputs["start"].files if "start" in context.inputs else None
    model: Reference | None = None
    shard, taken = -1, dict[Key, list[Taken]]()
    for batch in batches:
        own = shard_of(batch[0].key[0], context.inputs["pair"].shards)
        if own != shard:
            shard, taken = own, _taken(config, context, own)
        if model is None and any(taken.values()):
            model = _loaded(config, start, context.resources)
        yield _measured(model, batch, taken, config.max_length)


@keep
def _loaded(config: Config, start: Path | None, resources: Resources) -> Reference:
    from croco.training.reference import Reference

    return Reference(config.train, config.policy, start, resources)


def _taken(config: Config, context: Context, shard: int) -> dict[Key, list[Taken]]:
    """What there is to train on in a shard, by the key of its row, in the order of its pairs."""
    pairs, samples = context.inputs["pair"], context.inputs["sample"]
    made = shard_taken(pairs, samples, None, shard)
    refuse_foreign_ids(config.policy, made)
    found: dict[Key, list[Taken]] = {row.key: [] for row in pairs.read(shard)}
    for one in made:
        found[one.key].append(one)
    return found


def _measured(
    model: Reference | None, batch: Batch, taken: dict[Key, list[Taken]], max_length: int
) -> list[Outcome]:
    rows = [within(taken[item.key], max_length) for item in batch]
    try:
        read = [one for row in rows for one in row if one]
        found = iter(model.log_probs(read) if model else ())
        made: list[Outcome] = []
        for item, row in zip(batch, rows, strict=True):
            own = [next(found) if one else (None, None) for one in row]
            if not all(math.isfinite(value) for pair in own for value in pair if value is not None):
                raise EngineError("the log-probability of a response is not a finite number")
            made.append(References(*item.key, [c for c, _ in own], [r for _, r in own]))
        return made
    except StopError:
        raise
    except Exception as error:
        if len(batch) == 1:
            return [Failure.of(batch[0].key, error)]
        # Some row of the batch is at fault: read one by one, it alone is left owed.
        return [one for item in batch for one in _measured(model, [item], taken, max_length)]
