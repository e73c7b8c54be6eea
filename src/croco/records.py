"""The rows that stages hand to each other (`schemas` has their form in JSON and Parquet).

Every row that belongs to a prompt has the key `(id, lang)`. The N samples of a prompt are one
`Responses` row and their N rewards one `Rewards` row in the same order, so a join is always by key
and what is still owed is always a set difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from croco.reasoning import Markers, separate

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
class Overlap:
    """A held-out prompt `id` that a training prompt gives away, and all languages of both with it.

    `lang` and `train_lang` are the languages of the texts that are alike, `mul` where the ids are the
    same. `kind` is "id", "exact" (the same words), "words" (in another order, or all but one) or "ngram";
    `share` is that of the held-out prompt's words or n-grams.
    """

    id: str
    lang: str
    train_id: str
    train_lang: str
    kind: str
    share: float


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

    `texts` are answers, without the reasoning before them; `whole` are the texts with it, "" where there
    is none (empty where no answer has any), and `reasoning_tokens` its number of tokens. `token_ids` are
    the sampled ids as they are, reasoning included; they end with the end-of-turn token exactly when the
    finish reason is "stop". `prompt_ids` are the ids the model was given. `policy` is the model
    that wrote them; empty where an older version did not write it down. `prompt_tokens` and
    `completion_tokens` are what a server counted for the row, 0 where none did. `special` counts the
    special tokens before the end of each answer, which its text leaves out (empty: nobody looked).
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
    whole: list[str] = field(default_factory=list)
    reasoning_tokens: list[int] = field(default_factory=list)
    special: list[int] = field(default_factory=list)

    def said(self, place: int) -> str:
        """All that the model wrote as one of the samples, reasoning included."""
        return (self.whole and self.whole[place]) or self.texts[place]


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
    `special` counts the responses with special tokens inside, which stand in no pair.
    `untold` counts the responses that passed a language filter since their language cannot be told. `top`
    is the best response that may be chosen, which SFT trains on whether or not there is a pair; None where
    none may.
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
    untold: int = 0
    special: int = 0
    top: Side | None = None


@dataclass(frozen=True, slots=True)
class Encoded(Keyed):
    """One `Responses` row of another model in the token ids of the policy that is tuned on it.

    `token_ids` are in the row's order, empty for a response that is neither in a pair nor the best of its
    pool. `kept` counts those that are the sampled ids as they were.
    """

    id: str
    lang: str
    prompt_ids: list[int]
    token_ids: list[list[int]]
    kept: int


@dataclass(frozen=True, slots=True)
class References(Keyed):
    """The log-probabilities, in nats, that the reference model gives the responses of one `Pairs` row, in
    the order of its pairs, as training reads them; none of a pair that is too long for it."""

    id: str
    lang: str
    chosen: list[float | None]
    rejected: list[float | None]


@dataclass(frozen=True, slots=True)
class Verdicts(Keyed):
    """What a judge said of base and tuned answers to one held-out prompt.

    Comparison k is of base answer `base[k]` and tuned answer `tuned[k]`; `verdicts[k]` are on tuned:
    "win", "tie", "loss", or "none" where the judge gave none even when asked again. There are two of
    them, with base and then with tuned shown first, or one where the judge sees each answer alone.
    `texts` are a model's words in the same order, the scores a reward's per answer, and `retried`
    counts how often verdicts were asked for again. `reasons` say why a verdict is "none" ("empty", "cut
    off", "no label", "contradictory"), "" where it is not; `attempts` is how often a verdict is asked for
    at most, 0 where a judge is not asked.
    """

    id: str
    lang: str
    base: list[int]
    tuned: list[int]
    verdicts: list[list[str]]
    texts: list[list[str]]
    base_scores: list[float]
    tuned_scores: list[float]
    retried: int = 0
    reasons: list[list[str]] = field(default_factory=list)
    attempts: int = 0

    @property
    def complete(self) -> bool:
        """Whether no verdict is missing."""
        return all(verdict != "none" for said in self.verdicts for verdict in said)


@dataclass(frozen=True, slots=True)
class Languages(Keyed):
    """The language that each response of one `Responses` row is in, in its order; `und` for none, and None
    where it cannot be told (`croco.spoken`).

    `lines` is the share of a response's lines that are in the row's language, `words` 1.0 where no
    English word stands in them (`croco.fidelity` has the rules; None where they say nothing). `second`
    are the languages by a second identifier, none where nobody asked one.
    """

    id: str
    lang: str
    languages: list[str | None]
    lines: list[float | None] = field(default_factory=list)
    words: list[float | None] = field(default_factory=list)
    second: list[str | None] = field(default_factory=list)


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
class Audited(Keyed):
    """A preference pair as the audit saw it: what the reward gave to both answers, their lengths in
    characters, whether each is in the pair's language (None: it cannot be told), and what a language gate
    took from each reward (None: it has no gate)."""

    id: str
    lang: str
    flaw: str
    chosen: float
    rejected: float
    chosen_length: int
    rejected_length: int
    chosen_in_language: bool | None
    rejected_in_language: bool | None
    chosen_taken: float | None = None
    rejected_taken: float | None = None

    @property
    def margin(self) -> float:
        """The reward of chosen over that of rejected."""
        return self.chosen - self.rejected


@dataclass(frozen=True, slots=True)
class Benchmarked:
    """One model on one data set of EuroEval: `metric` in points of 100, one score per iteration.

    `radius` is half of EuroEval's own 95 % interval, NaN where it gave none; `failed` counts answers that
    it could not read; `lower_is_better` says that of the metric. A data set without a result has no scores,
    and says why in `reason`.
    """

    lang: str
    dataset: str
    task: str
    metric: str
    scores: list[float]
    score: float
    radius: float
    failed: int
    version: str
    reason: str
    lower_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured figure of an arm against the base, with a 95 % interval of `delta`.

    `lang` is `mul` for the average over languages that were trained, `UNTRAINED` for that over the
    others, which have `trained` false. `n` counts responses, `prompts` the clusters. `languages` are those
    of an average, `lacking` those that were asked for and have no value of this kind.
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
    languages: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)


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
    """One sampled answer: text, token ids (with the end-of-turn token if it stopped), why it ended, and how
    many of the ids before its end are special tokens, which its text leaves out.

    `whole` is the text with the reasoning before the answer, "" where there is none; of the token ids the
    first `reasoning_tokens` are reasoning.
    """

    text: str
    token_ids: list[int]
    finish_reason: FinishReason
    special: int = 0
    whole: str = ""
    reasoning_tokens: int = 0

    def separated(self, markers: Markers) -> Completion:
        """The answer alone as `text`; unchanged where there is no reasoning or it was separated before."""
        found = separate(self.text, markers)
        if self.whole or found.answer == self.text:
            return self
        return replace(self, text=found.answer, whole=self.text)


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
