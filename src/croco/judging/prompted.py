"""A model as judge: it is shown two answers to a prompt, in both orders, and says which is better.

The order matters to models: 10 to 15 % of verdicts change when the answers change places. So each
comparison is asked twice, and an answer without a verdict is asked for again, sampled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from croco import engines, templates
from croco.engines import Reply, Request
from croco.errors import NoAnswerError, RecipeError, StopError
from croco.judging.contests import VALUES, Contest, Decision, Verdict
from croco.judging.labels import verdict_in
from croco.languages import name_of
from croco.records import Key
from croco.reward_settings import RewardConfig
from croco.settings import Resources
from croco.stage import seed_of

#: Who is shown first, in the order of a comparison's verdicts.
ORDERS = ("base", "tuned")
#: What a verdict for the answer that is shown as A says of tuned, by who that is.
SAID: dict[tuple[str, str], Verdict] = {
    ("base", "A"): "loss",
    ("base", "B"): "win",
    ("tuned", "A"): "win",
    ("tuned", "B"): "loss",
}

#: A question to the judge: the contest's key, the comparison's place, who comes first.
Question = tuple[Key, int, str]


@dataclass(frozen=True, slots=True)
class _Said:
    """A judge's words to a question: the verdict, or the reason why there is none."""

    verdict: Verdict
    text: str
    reason: str


class PairwiseJudge:
    """The k-th tuned answer against the k-th base answer, in both orders."""

    def __init__(self, config: RewardConfig, resources: Resources) -> None:
        if config.prompt is None:
            raise RecipeError("evaluate.judge: a pairwise judge needs prompt: give model, template")
        self._config = config.prompt
        self._template = templates.read(self._config.file, VALUES)
        sampling = self._config.sampling
        self._engine = engines.load(sampling.engine, self._config.ref, sampling, resources)

    def decide(self, batches: Iterable[list[Contest]]) -> Iterator[list[Decision]]:
        """As the judge answers; contests of which a verdict is missing come last, asked for again."""
        work = _Work(self._config.retries)
        yield from self._ask(work, self._first(work, batches), 0)
        for attempt in range(1, 1 + self._config.retries):
            if again := work.missing(attempt):
                yield from self._ask(work, iter([self._requests(work, again, attempt)]), attempt)

    def _first(self, work: _Work, batches: Iterable[list[Contest]]) -> Iterator[list[Request]]:
        for batch in batches:
            asked = [question for contest in batch for question in work.open(contest)]
            if asked:
                yield self._requests(work, asked, 0)

    def _ask(
        self, work: _Work, requests: Iterator[list[Request]], attempt: int
    ) -> Iterator[list[Decision]]:
        for replies in self._engine.generate(requests):
            ready = [
                decision
                for reply in replies
                if (decision := work.note(reply, self._read(reply), attempt))
            ]
            if ready:
                yield ready

    def _read(self, reply: Reply) -> _Said:
        """What a reply says; nothing is read from a text that was cut off."""
        if isinstance(reply.error, NoAnswerError):
            return _Said("none", "", reply.error.reason)
        if reply.error:
            return _Said("none", "", "")
        answer = reply.completions[0]
        words = answer.whole or answer.text
        if answer.finish_reason == "length":
            return _Said("none", words, "cut off")
        if not answer.text.strip():
            return _Said("none", words, "empty")
        side, reason = verdict_in(self._template.answers_in(answer.text))
        first = reply.request.key[2]
        return _Said(
            "tie" if side == "tie" else SAID.get((first, side or ""), "none"), words, reason
        )

    def _requests(self, work: _Work, questions: list[Question], attempt: int) -> list[Request]:
        config = self._config
        temperature = config.retry_temperature if attempt else config.temperature
        found = []
        for question in questions:
            key, place, first = question
            contest = work.contests[key]
            base, tuned = contest.base[place], contest.tuned[place]
            shown = (base, tuned) if first == "base" else (tuned, base)
            # Each order has a stream of its own, so that a sampled judge answers twice, not once.
            seed = seed_of(contest.seed, place, first, attempt)
            found.append(Request(question, self._chat(contest, *shown), [seed], temperature))
        return found

    def _chat(self, contest: Contest, answer_a: str, answer_b: str) -> list[dict[str, Any]]:
        prompt = contest.prompt
        return self._template.chat(
            prompt=prompt.prompt,
            answer_a=answer_a,
            answer_b=answer_b,
            language=name_of(prompt.lang),
            lang=prompt.lang,
            conversation="\n\n".join(f"{t['role']}: {t['content']}" for t in prompt.chat),
        )


class _Work:
    """Contests under way: what was asked, what was said."""

    def __init__(self, retries: int) -> None:
        self.retries = retries
        self.contests: dict[Key, Contest] = {}
        self.said: dict[Key, dict[tuple[int, str], _Said]] = {}
        self.asked: dict[Key, int] = {}
        self.retried: dict[Key, int] = {}

    def open(self, contest: Contest) -> list[Question]:
        """Take up a contest: its questions, none where they were asked earlier."""
        self.contests[contest.key] = contest
        if contest.earlier:
            self.said[contest.key] = _said_earlier(contest)
            self.retried[contest.key] = contest.earlier.retried
            return []
        places = range(min(len(contest.base), len(contest.tuned)))
        self.said[contest.key], self.asked[contest.key] = {}, len(ORDERS) * len(places)
        return [(contest.key, place, first) for place in places for first in ORDERS]

    def missing(self, attempt: int) -> list[Question]:
        """The questions whose answers held no verdict, of contests that wait for this attempt."""
        found = [
            (key, *question)
            for key, said in self.said.items()
            if attempt >= _asked_before(self.contests[key])
            for question, one in said.items()
            if one.verdict == "none"
        ]
        for key, *_ in found:
            self.retried[key] = self.retried.get(key, 0) + 1
            self.asked[key] = self.asked.get(key, 0) + 1
        return found

    def note(self, reply: Reply, said: _Said, attempt: int) -> Decision | None:
        """Write an answer down: the decision, where it was the last one that was missing."""
        key, place, first = reply.request.key
        if isinstance(reply.error, StopError):
            raise reply.error
        if key not in self.contests:  # it failed already
            return None
        if reply.error and not said.reason:
            return self._close(key, reply.error)
        self.said[key][place, first] = said
        self.asked[key] -= 1
        whole = all(one.verdict != "none" for one in self.said[key].values())
        last = attempt >= self.retries
        return self._close(key) if not self.asked[key] and (whole or last) else None

    def _close(self, key: Key, error: Exception | None = None) -> Decision:
        contest, said = self.contests.pop(key), self.said.pop(key)
        retried = self.retried.get(key, 0)
        if error:
            return Decision(contest, retried=retried, error=error)
        places = sorted({place for place, _ in said})
        rows = [[said[place, first] for first in ORDERS] for place in places]
        return Decision(
            contest,
            [(place, place) for place in places],
            [[one.verdict for one in row] for row in rows],
            [[one.text for one in row] for row in rows],
            retried=retried,
            reasons=[[one.reason for one in row] for row in rows],
        )


def _asked_before(contest: Contest) -> int:
    return contest.earlier.attempts if contest.earlier else 0


def _said_earlier(contest: Contest) -> dict[tuple[int, str], _Said]:
    row = contest.earlier
    if row is None:
        return {}
    return {
        (place, first): _Said(row.verdicts[k][order], row.texts[k][order], row.reasons[k][order])  # type: ignore[arg-type]
        for k, place in enumerate(row.base)
        for order, first in enumerate(ORDERS)
    }
