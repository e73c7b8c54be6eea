"""A part of the user's responses with their prompts: the rows that are written about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from croco.arrays import Ints
from croco.asked import NONE
from croco.pairing.build import BARRED, Built
from croco.pairing.facts import Facts
from croco.pairing.prompts import Prompts
from croco.pairing.rows import pool_columns
from croco.pairing.spool import Places, Spool
from croco.pairing.values import extras_of, prompt_of, text_of
from croco.reasoning import answer_of

#: Responses whose whole rows are in memory at a time.
FETCHED = 4096


@dataclass(frozen=True, slots=True)
class Response:
    """A response as its file has it: its place among the facts, its row, and its place in that row."""

    place: int
    values: dict[str, Any]
    item: int

    @property
    def message(self) -> list[dict[str, str]]:
        """The response as TRL takes it, reasoning included: it is what the model wrote."""
        return [{"role": "assistant", "content": text_of(self.values, self.item)}]


@dataclass(frozen=True, slots=True)
class Part:
    """Facts about responses, where they are, and the prompts that files of their own hold."""

    facts: Facts
    places: Places
    known_prompts: Prompts
    spool: Spool

    def texts(self, rows: Ints) -> list[str]:
        """The answers of some responses, without their reasoning."""
        markers = self.spool.markers
        return [answer_of(text_of(one.values, one.item), markers) for one in self._responses(rows)]

    def pairs(self, built: Built, *, calibrated: bool) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each pair's prompt language and row."""
        found, facts = built.selection, self.facts
        sides = zip(self._responses(found.chosen), self._responses(found.rejected), strict=True)
        for k, (chosen, rejected) in enumerate(sides):
            lang = int(built.prompt_lang[k])
            asked = chosen if facts.lang[chosen.place] == lang else rejected
            id, prompt_lang = facts.ids[facts.prompt[chosen.place]], facts.langs[lang]
            row = {
                "prompt": self._prompt(id, prompt_lang, asked),
                "chosen": chosen.message,
                "rejected": rejected.message,
                "id": id,
                "prompt_lang": prompt_lang,
                "chosen_lang": facts.langs[facts.lang[chosen.place]],
                "rejected_lang": facts.langs[facts.lang[rejected.place]],
                "chosen_reward": float(facts.reward[chosen.place]),
                "rejected_reward": float(facts.reward[rejected.place]),
                "pool_size": int(found.pools.size[found.pool[k]]),
            }
            for side, one in (("chosen", chosen), ("rejected", rejected)):
                if calibrated:
                    row[f"{side}_calibrated_reward"] = float(built.score[one.place])
                extras = extras_of(one.values, one.item)
                row |= {f"{side}_{name}": value for name, value in extras.items()}
            yield prompt_lang, row

    def best(self, built: Built) -> Iterator[tuple[str, dict[str, Any]]]:
        """The language and row of the best response of each pool, as SFT takes it."""
        facts = self.facts
        for one in self._responses(built.best()):
            id, lang = facts.ids[facts.prompt[one.place]], facts.langs[facts.lang[one.place]]
            yield (
                lang,
                extras_of(one.values, one.item)
                | {
                    "prompt": self._prompt(id, lang, one),
                    "completion": one.message,
                    "id": id,
                    "lang": lang,
                    "reward": float(facts.reward[one.place]),
                },
            )

    def filtered(self, built: Built) -> Iterator[dict[str, Any]]:
        """The responses that a filter kept from a side, with the reason and where they are."""
        facts, places = self.facts, self.places
        for k in np.flatnonzero(built.barred).tolist():
            yield {
                "reason": BARRED[built.barred[k]],
                "may_be_rejected": bool(built.may_be_rejected[k]),
                "id": facts.ids[facts.prompt[k]],
                "lang": facts.langs[facts.lang[k]],
                "reward": float(facts.reward[k]),
                "file": str(self.spool.sources[places.file[k]].path),
                "line": int(places.line[k]),
                "item": int(places.item[k]),
            }

    def pools(self, built: Built) -> pa.Table:
        """What is known of each pool, with its pairs' count."""
        made = np.bincount(built.selection.pool, minlength=len(built.keys))
        return pa.table({**pool_columns(self.facts, built), "pairs": made})

    def _responses(self, rows: Ints) -> Iterator[Response]:
        """Some responses as their files have them, a few at a time."""
        for start in range(0, len(rows), FETCHED):
            some = rows[start : start + FETCHED]
            places = self.places.take(some)
            found = zip(some.tolist(), self.spool.fetch(places), places.item.tolist(), strict=True)
            yield from (Response(*one) for one in found)

    def _prompt(self, id: str, lang: str, asked: Response) -> list[dict[str, str]]:
        """The prompt of a file of prompts, or else the one in the response's own row."""
        if (id, lang) in self.known_prompts:
            return self.known_prompts[id, lang].messages
        return prompt_of(asked.values) if self.places.asked[asked.place] != NONE else []
