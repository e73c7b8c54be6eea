"""The rows that stages hand to each other, and their Parquet schemas.

Every row that belongs to a prompt has the key `(id, lang)`. The N samples of a prompt are one
`Responses` row and their N rewards one `Rewards` row in the same order, so a join is always by key
and what is still owed is always a set difference.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa

Key = tuple[str, str]

#: The `lang` of a row that stands for all languages of a prompt (ISO 639-2 "multiple languages").
MULTIPLE = "mul"


class Keyed:
    """What rows of a prompt share: the key, an id and a BCP-47 language tag."""

    __slots__ = ()
    id: str
    lang: str

    @property
    def key(self) -> Key:
        """`(id, lang)`."""
        return (self.id, self.lang)


@dataclass(frozen=True, slots=True)
class Prompt(Keyed):
    """One user prompt in one language."""

    id: str
    lang: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Preference(Keyed):
    """A prompt with a better and a worse answer; `flaw` names what is wrong with the worse one."""

    id: str
    lang: str
    prompt: str
    chosen: str
    rejected: str
    flaw: str = ""


@dataclass(frozen=True, slots=True)
class Responses(Keyed):
    """The N samples of one prompt: texts, token ids and finish reasons, all of length N.

    `token_ids` are the sampled ids as they are; they end with the end-of-turn token exactly when
    the finish reason is "stop". `prompt_ids` are the ids the model was given. `policy` is the model
    that wrote them; empty where an older version did not write it down.
    """

    id: str
    lang: str
    prompt_ids: list[int]
    texts: list[str]
    token_ids: list[list[int]]
    finish_reasons: list[str]
    policy: str = ""


@dataclass(frozen=True, slots=True)
class Rewards(Keyed):
    """The N rewards of one `Responses` row, in its order; `parts` are what a composite summed."""

    id: str
    lang: str
    rewards: list[float]
    parts: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a pair: which response it is, its text, reward, finish reason, and who wrote it.

    `index` is its place in the `Responses` row of (the pair's id, `lang`), which has its token ids.
    `score` is the reward that was compared: calibrated where the recipe says so.
    """

    lang: str
    index: int
    text: str
    reward: float
    score: float
    finish_reason: str
    policy: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A chosen and a rejected response under one prompt."""

    prompt_lang: str
    chosen: Side
    rejected: Side


@dataclass(frozen=True, slots=True)
class Barred:
    """A response that a filter kept from being chosen, or from both sides, and why."""

    lang: str
    index: int
    may_be_rejected: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Pairs(Keyed):
    """The pairs of one pool; a pool that gives none says why in `reason`.

    `lang` is the pool's language, or `mul` where the pool spans languages. Mean, deviation, minimum
    and maximum are those of the scores. `fallback` is true where a mean-based target lay below every
    score, so that the strategy fell back to the minimum. `best` counts the texts that share the
    maximum, `repeats` the responses with the text of another, `cut_off` and `empty` what they say.
    `scores` are those of all responses, by language and place, `barred` who was kept from a side.
    `refused` are reasons of pairs that were picked and then refused. `raw` holds the languages of
    chosen and rejected as uncalibrated rewards would have had them, where rewards are calibrated.
    """

    id: str
    lang: str
    pairs: list[Pair]
    pool_size: int
    pool_mean: float
    pool_std: float
    pool_min: float
    pool_max: float
    best: int
    repeats: int
    cut_off: int
    empty: int
    fallback: bool
    reason: str
    scores: list[float]
    barred: list[Barred]
    refused: list[str]
    raw: list[list[str]]


@dataclass(frozen=True, slots=True)
class Verdicts(Keyed):
    """Base and tuned responses to one held-out prompt, as the judge and the identifier saw them.

    `win_rate` is the share of all base-tuned response pairs that tuned wins, ties as half. The lists
    hold one value per response: judge scores, and 1.0 where the response is in the prompt's language.
    """

    id: str
    lang: str
    win_rate: float
    base_scores: list[float]
    tuned_scores: list[float]
    base_fidelity: list[float]
    tuned_fidelity: list[float]
    base_languages: list[str]
    tuned_languages: list[str]


@dataclass(frozen=True, slots=True)
class Step:
    """One logged step of a training run; a value that the method does not have is NaN."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    chosen_logp: float
    rejected_logp: float
    margin: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Audit:
    """A reward model's accuracy on the preference pairs of one language, with a 95 % interval.

    `longer_wins` is what the rule "the longer answer is better" gets on the same pairs.
    """

    lang: str
    flaw: str
    accuracy: float
    ci: list[float]
    longer_wins: float
    mean_margin: float
    n: int


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured figure of an arm against the base, with a 95 % interval of `delta`.

    `lang` is `mul` for the average over languages. `n` counts responses, `prompts` the clusters.
    """

    arm: str
    lang: str
    metric: str
    base: float
    tuned: float
    delta: float
    ci: list[float]
    n: int
    prompts: int


@dataclass(frozen=True, slots=True)
class Failure(Keyed):
    """A row that could not be made: its key and the error, in one line."""

    id: str
    lang: str
    error: str

    @classmethod
    def of(cls, key: Key, error: Exception) -> Failure:
        """The failure of a row by an exception."""
        return cls(*key, " ".join(f"{type(error).__name__}: {error}".split()))


FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled answer: text, token ids (with the end-of-turn token if it stopped), and why it ended."""

    text: str
    token_ids: list[int]
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer to be scored, with the prompt it answers and the language it was asked in."""

    lang: str
    prompt: str
    response: str


def encode(row: Any) -> dict[str, Any]:
    """A row as a plain dictionary that JSON and Parquet can hold."""
    return dataclasses.asdict(row)


def decode(kind: type[Any], values: dict[str, Any]) -> Any:
    """The row that `encode` made `values` of; nested records and maps are rebuilt."""
    hints = typing.get_type_hints(kind)
    return kind(**{name: _decode(hints[name], value) for name, value in values.items()})


def _decode(hint: Any, value: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if value is None:
        return None
    if origin is list:
        return [_decode(args[0], v) for v in value] if dataclasses.is_dataclass(args[0]) else value
    if origin is dict:
        return dict(value)
    return (
        decode(hint, value) if isinstance(hint, type) and dataclasses.is_dataclass(hint) else value
    )


_SCHEMAS: dict[Any, Any] = {}


def schema(kind: type[Any]) -> pa.Schema:
    """The Parquet schema of a record type, read off its annotations."""
    import pyarrow as pa

    if kind not in _SCHEMAS:
        _SCHEMAS[kind] = pa.schema(_fields(kind))
    return _SCHEMAS[kind]


def _fields(kind: type[Any]) -> list[pa.Field]:
    import pyarrow as pa

    hints = typing.get_type_hints(kind)
    return [pa.field(f.name, _arrow(hints[f.name])) for f in dataclasses.fields(kind)]


def _arrow(hint: Any) -> pa.DataType:
    import pyarrow as pa

    plain = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    if hint in plain:
        return plain[hint]
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return pa.list_(_arrow(args[0]))
    if origin is dict:
        return pa.map_(_arrow(args[0]), _arrow(args[1]))
    if origin in (typing.Union, types.UnionType):
        return _arrow(next(a for a in args if a is not type(None)))
    if dataclasses.is_dataclass(hint):
        return pa.struct(_fields(typing.cast(type[Any], hint)))
    raise TypeError(f"no Parquet type for {hint!r}")
