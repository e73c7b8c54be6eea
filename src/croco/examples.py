"""What training reads: pairs with the token ids that were sampled, joined by key and place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from textwrap import shorten

from croco.errors import StopError
from croco.models import ModelRef
from croco.records import Key, Pair, Pairs, References
from croco.stage import Sealed, seed_of
from croco.tokens import answer_text, load_tokenizer
from croco.training import Example
from croco.training.lengths import cut

#: Examples whose token ids are compared with their texts.
CHECKED = 32


#: Why a pair that pairing made is not trained on, where rows failed that the run goes on without.
NO_IDS = "the policy's tokenizer failed on one of its answers, or on their prompt"
NO_REFERENCE = "the reference failed on its answers"


@dataclass(frozen=True, slots=True)
class Taken:
    """A pair and its row's key, with the example that is made of it, or the `reason` why there is none."""

    key: Key
    pair: Pair
    example: Example | None
    reason: str = ""

    @property
    def left_out(self) -> tuple[str, str, str]:
        """The prompt's id and language, and the reason."""
        return self.key[0], self.pair.prompt_lang, self.reason


def examples_of(
    pairs: Sealed, samples: Sealed, references: Sealed | None, method: str
) -> list[Example]:
    """The sampled token ids of all pairs; for SFT, of the best answer of every pool."""
    every = taken_of(pairs, samples, references, method)
    return [one.example for one in every if one.example]


def taken_of(pairs: Sealed, samples: Sealed, references: Sealed | None, method: str) -> list[Taken]:
    """All that there is to train on, with what of it is left out since a row of its inputs failed."""
    return [
        one
        for shard in range(pairs.shards)
        for one in shard_taken(pairs, samples, references, shard, method)
    ]


def shard_taken(
    pairs: Sealed, samples: Sealed, references: Sealed | None, shard: int, method: str = "dpo"
) -> list[Taken]:
    """That of one shard, in the order of its `Pairs` rows and of their pairs (`trained_on`)."""
    known = {row.key: row for row in references.read(shard)} if references else None
    made = list(_numbered(pairs, shard, method))
    wanted: defaultdict[Key, set[int]] = defaultdict(set)
    for (id, _), _, pair in made:
        for side in (pair.chosen, pair.rejected):
            wanted[id, side.lang].add(side.index)
    prompts, answers = _token_ids(samples, shard, wanted)
    found = []
    for key, place, pair in made:
        asked = prompts.get((key[0], pair.prompt_lang))
        sides = [pair.chosen] if method == "sft" else [pair.chosen, pair.rejected]
        ids = [answers.get((key[0], side.lang, side.index)) for side in sides]
        found.append(_taken(key, pair, asked, ids, place, known))
    return found


def _taken(
    key: Key,
    pair: Pair,
    asked: list[int] | None,
    ids: list[list[int] | None],
    place: int,
    known: Mapping[Key, References] | None,
) -> Taken:
    """A pair's example of the ids of its prompt and sides; the reference's row has it at a place."""
    whole = [one for one in ids if one is not None]
    if asked is None or len(whole) < len(ids):
        return Taken(key, pair, None, NO_IDS)
    if known is not None and key not in known:
        return Taken(key, pair, None, NO_REFERENCE)
    reference = _known(known[key], place) if known else None
    rejected = whole[1] if len(whole) > 1 else []
    return Taken(key, pair, Example(asked, whole[0], rejected, key[0], pair.prompt_lang, reference))


def within(taken: Iterable[Taken], max_length: int) -> list[Example | None]:
    """The examples as training reads them; none where there is none, or one is too long for it."""
    return [one.example and cut(one.example, max_length)[0] for one in taken]


def refuse_foreign_ids(policy: ModelRef, taken: Iterable[Taken]) -> None:
    """`refuse_foreign` of what there is to train on."""
    made = [(one.pair, one.example) for one in taken if one.example]
    refuse_foreign(policy, [pair for pair, _ in made], [example for _, example in made])


def refuse_foreign(policy: ModelRef, pairs: Iterable[Pair], examples: Sequence[Example]) -> None:
    """StopError where most token ids of the first examples are not the policy's for their texts.

    `pairs` are those that the examples were made of. A server that samples by another tokenizer gives
    such ids, and training on them would be training on noise.
    """
    if not examples:
        return
    tokenizer, wrong, sides = load_tokenizer(policy), [], 0
    for pair, example in islice(zip(pairs, examples, strict=False), CHECKED):
        for side, ids in zip((pair.chosen, pair.rejected), example.sides, strict=False):
            sides += 1
            read = answer_text(tokenizer, ids).strip()
            # Reasoning may stand before it, and a stop text may have cut it off.
            if side.text.strip() not in read:
                wrong.append((side.text, read))
    if len(wrong) > sides / 2:
        text, read = (shorten(one, 40, placeholder="...") for one in wrong[0])
        raise StopError(
            f"the answers' token ids are not those of policy {policy.name!r}, whose tokenizer reads"
            f" {text!r} as {read!r}: sample by the policy itself, or name the model that answered as"
            " arms.ARM.responses.policy"
        )


def _known(reference: References, place: int) -> tuple[float, float] | None:
    """A pair's log-probabilities under the reference; none of one that is too long for training."""
    chosen, rejected = reference.chosen[place], reference.rejected[place]
    return None if chosen is None or rejected is None else (chosen, rejected)


def is_held_out(id: str, share: float, seed: int) -> bool:
    """Whether a prompt is kept out of training, in all its languages and in every process alike."""
    return seed_of(seed, "heldout", id) < share * 2**63


def trained_on(row: Pairs, method: str) -> list[Pair]:
    """What a pool gives to train on: its pairs, or for SFT the best answer, under the prompt it answers.

    That is there without a pair too; as no other side is read, it stands on both.
    """
    if method == "dpo":
        return row.pairs
    return [Pair(row.top.lang, row.top, row.top)] if row.top else []


def _numbered(pairs: Sealed, shard: int, method: str) -> Iterator[tuple[Key, int, Pair]]:
    """Each pair with the key of its row and its place in it."""
    for row in pairs.read(shard):
        for place, pair in enumerate(trained_on(row, method)):
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
