"""What training reads: pairs with the token ids that were sampled, joined by key and place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from croco.records import Key, Pair, References
from croco.stage import Sealed, seed_of
from croco.training import Example


def examples_of(
    pairs: Sealed, samples: Sealed, references: Sealed | None, method: str
) -> list[Example]:
    """The sampled token ids of all pairs; SFT takes the chosen side alone."""
    return [
        example
        for shard in range(pairs.shards)
        for example in shard_examples(pairs, samples, references, shard, method)
    ]


def shard_examples(
    pairs: Sealed, samples: Sealed, references: Sealed | None, shard: int, method: str = "dpo"
) -> list[Example]:
    """The examples of one shard, in the order of its `Pairs` rows and of their pairs."""
    known: dict[Key, References] = (
        {row.key: row for row in references.read(shard)} if references else {}
    )
    made = list(_numbered(pairs, shard))
    wanted: defaultdict[Key, set[int]] = defaultdict(set)
    for (id, _), _, pair in made:
        for side in (pair.chosen, pair.rejected):
            wanted[id, side.lang].add(side.index)
    prompts, answers = _token_ids(samples, shard, wanted)
    examples = []
    for key, place, pair in made:
        id, chosen, rejected = key[0], pair.chosen, pair.rejected
        reference = known.get(key)
        examples.append(
            Example(
                prompts[id, pair.prompt_lang],
                answers[id, chosen.lang, chosen.index],
                answers[id, rejected.lang, rejected.index] if method == "dpo" else [],
                id,
                pair.prompt_lang,
                (reference.chosen[place], reference.rejected[place]) if reference else None,
            )
        )
    return examples


def is_held_out(id: str, share: float, seed: int) -> bool:
    """Whether a prompt is kept out of training, in all its languages and in every process alike."""
    return seed_of(seed, "heldout", id) < share * 2**63


def _numbered(pairs: Sealed, shard: int) -> Iterator[tuple[Key, int, Pair]]:
    """Each pair with the key of its row and its place in it."""
    for row in pairs.read(shard):
        for place, pair in enumerate(row.pairs):
            yield row.key, place, pair


def _token_ids(
    samples: Sealed, shard: int, wanted: Mapping[Key, set[int]]
) -> tuple[dict[Key, list[int]], dict[tuple[str, str, int], list[int]]]:
    """The token ids of some prompts and of some answers to them; the others' are passed over."""
    prompts: dict[Key, list[int]] = {}
    answers: dict[tuple[str, str, int], list[int]] = {}
    for batch in samples.batches(shard, ("id", "lang", "prompt_ids", "token_ids")):
        keys = zip(batch["id"].to_pylist(), batch["lang"].to_pylist(), strict=True)
        for place, key in enumerate(keys):
            if key in wanted:
                prompts[key] = batch["prompt_ids"][place].as_py()
                own = batch["token_ids"][place].values
                answers |= {(*key, k): own[k].as_py() for k in wanted[key]}
    return prompts, answers
