"""The rows that stages hand to each other (`schemas` has their form in JSON and Parquet).

Every row that belongs to a prompt has the key `(id, lang)`. The N samples of a prompt are one
`Responses` row and their N rewards one `Rewards` row in the same order, so a join is always by key
and what is still owed is always a set difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Key = tuple[str, str]

#: The `lang` of a row that stands for all languages of a prompt (ISO 639-2 "multiple languages").
MULTIPLE = "mul"
#: The `lang` of an average over languages that were not trained (`mul` is then over those that were).
UNTRAINED = "mul-x-unseen"


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
class Turn:
    """One message of a conversation: system, user or assistant."""

    role: str
    content: str


def chat_of(before: Sequence[Turn], prompt: str) -> list[dict[str, str]]:
    """Messages as chat templates take them: what came before, then the user's prompt."""
    turns = [*before, Turn("user", prompt)]
    return [{"role": turn.role, "content": turn.content} for turn in turns]


@dataclass(frozen=True, slots=True)
class Prompt(Keyed):
    """One user prompt in one language, and the turns `before` it, a system prompt among them."""

    id: str
    lang: str
    prompt: str
    before: list[Turn] = field(default_factory=list)

    @property
    def chat(self) -> list[dict[str, str]]:
        """The messages to answer."""
        return chat_of(self.before, self.prompt)


@dataclass(frozen=True, slots=True)
class Draft(Keyed):
    """A prompt that is wanted in `lang` and written in `source`: to be translated where they differ."""

    id: str
    lang: str
    prompt: str
    before: list[Turn]
    source: str


@dataclass(frozen=True, slots=True)
class Translation(Prompt):
    """A prompt with how it came to be: its `source` language ("" where it existed), the unknown words
    in it and how often it was tried. Marks of unknown words are taken out of its text."""

    source: str = ""
    unknown: list[str] = field(default_factory=list)
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Sentence(Keyed):
    """A text whose loss is taken; sentences of one id say the same in several languages."""

    id: str
    lang: str
    text: str


@dataclass(frozen=True, slots=True)
class Loss(Keyed):
    """A sentence's negative log-likelihood in nats, of so many tokens that stand for so many bytes."""

    id: str
    lang: str
    nats: float
    tokens: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Preference(Keyed):
    """A prompt with a better and a worse answer; `flaw` names what is wrong with the worse one."""

    id: str
    lang: str
    prompt: str
    chosen: str
    rejected: str
    flaw: str = ""
    before: list[Turn] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Responses(Keyed):
    """The N samples of one prompt: texts, token ids and finish reasons, all of length N.

    `token_ids` are the sampled ids as they are; they end with the end-of-turn token exactly when
    the finish reason is "stop". `prompt_ids` are the ids the model was given. `policy` is the model
    that wrote them; empty where an older version did not write it down. `prompt_tokens` and
    `completion_tokens` are what a server counted for the row, 0 where none did.
    """

    id: str
    lang: str
    prompt_ids: list[int]
    texts: list[str]
    token_ids: list[list[int]]
    finish_reasons: list[str]
    policy: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


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

    `lang` is `mul` for the average over languages that were trained, `UNTRAINED` for that over the
    others, which have `trained` false. `n` counts responses, `prompts` the clusters.
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
    trained: bool = True


@dataclass(frozen=True, slots=True)
class Failure(Keyed):
    """A row that could not be made: its key, the error in one line, and the checks it failed."""

    id: str
    lang: str
    error: str
    checks: list[str] = field(default_factory=list)

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
    before: list[Turn] = field(default_factory=list)

    @property
    def chat(self) -> list[dict[str, str]]:
        """The messages that the response answers."""
        return chat_of(self.before, self.prompt)
