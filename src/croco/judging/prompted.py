"""A model as judge: it is shown two answers to a prompt, in both orders, and says which is better.

The order matters to models: 10 to 15 % of verdicts change when the answers change places. So each
comparison is asked twice, and an answer without a verdict is asked for once more, sampled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from croco import engines, templates
from croco.engines import Reply, Request
from croco.errors import RecipeError, StopError
from croco.judging.contests import VALUES, Contest, Decision, Verdict
from croco.judging.labels import side_of
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
        work = _Work()
        yield from self._ask(work, self._first(work, batches), 0)
        if again := work.unclear():
            yield from self._ask(work, iter([self._requests(work, again, 1)]), 1)

    def _first(self, work: _Work, batches: Iterable[list[Contest]]) -> Iterator[list[Request]]:
        for batch in batches:
            yield self._requests(work, [q for contest in batch for q in work.open(contest)], 0)

    def _ask(
        self, work: _Work, requests: Iterator[list[Request]], attempt: int
    ) -> Iterator[list[Decision]]:
        for replies in self._engine.generate(requests):
            ready = [
                decision
                for reply in replies
                if (decision := work.note(reply, self._side(reply), last=attempt > 0))
            ]
            if ready:
                yield ready

    def _side(self, reply: Reply) -> str | None:
        if reply.error or not reply.completions:
            return None
        return side_of(self._template.answers_in(reply.completions[0].text))

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

    def __init__(self) -> None:
        self.contests: dict[Key, Contest] = {}
        self.said: dict[Key, dict[tuple[int, str], tuple[Verdict, str]]] = {}
        self.asked: dict[Key, int] = {}
        self.retried: dict[Key, int] = {}

    def open(self, contest: Contest) -> list[Question]:
        """Take up a contest: its questions."""
        places = range(min(len(contest.base), len(contest.tuned)))
        self.contests[contest.key] = contest
        self.said[contest.key], self.asked[contest.key] = {}, len(ORDERS) * len(places)
        return [(contest.key, place, first) for place in places for first in ORDERS]

    def unclear(self) -> list[Question]:
        """The questions whose answers held no verdict, of contests that wait for them."""
        found = [
            (key, *question)
            for key, said in self.said.items()
            for question, (verdict, _) in said.items()
            if verdict == "none"
        ]
        for key, *_ in found:
            self.retried[key] = self.retried.get(key, 0) + 1
            self.asked[key] = self.retried[key]
        return found

    def note(self, reply: Reply, side: str | None, last: bool) -> Decision | None:
        """Write an answer down: the decision, where it was the last one that was missing."""
        key, place, first = reply.request.key
        if isinstance(reply.error, StopError):
            raise reply.error
        if key not in self.contests:  # it failed already
            return None
        if reply.error:
            return self._close(key, reply.error)
        text = reply.completions[0].text
        verdict: Verdict = "tie" if side == "tie" else SAID.get((first, side or ""), "none")
        self.said[key][place, first] = (verdict, text)
        self.asked[key] -= 1
        whole = all(verdict != "none" for verdict, _ in self.said[key].values())
        return self._close(key) if not self.asked[key] and (whole or last) else None

    def _close(self, key: Key, error: Exception | None = None) -> Decision:
        contest, said = self.contests.pop(key), self.said.pop(key)
        retried = self.retried.get(key, 0)
        if error:
            return Decision(contest, retried=retried, error=error)
        places = sorted({place for place, _ in said})
        return Decision(
            contest,
            [(place, place) for place in places],
            [[said[place, first][0] for first in ORDERS] for place in places],
            [[said[place, first][1] for first in ORDERS] for place in places],
            retried=retried,
        )
