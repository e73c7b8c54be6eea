"""Why pools give no pair, or no answer to train on: counted, and in words with what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from croco.pairing.build import BARRED, CUT_OFF, EMPTY, WRONG_LANGUAGE
from croco.recipe import Filters
from croco.records import Pairs
from croco.selection import (
    ALONE,
    LONG,
    NO_CHOSEN,
    NO_LOWER,
    NO_REFERENCE,
    NO_REJECTED,
    REASONS,
    SMALL_GAP,
    TIED,
)
from croco.stage import Sealed

#: The columns of `Pairs` rows that tell.
COLUMNS = ("reason", "pool_size", "barred", "top")
#: What keeps answers from being chosen, as it is said of all answers of a pool.
BARS = {
    BARRED[CUT_OFF]: "was cut off{limit}",
    BARRED[EMPTY]: "is empty",
    BARRED[WRONG_LANGUAGE]: "is not in the language that was asked for",
}
#: What to do where all answers of a pool are barred for one reason, and for any other.
UNBAR = {
    BARRED[CUT_OFF]: "{longer}",
    BARRED[EMPTY]: "look at the model's chat template and at {stop}",
    BARRED[WRONG_LANGUAGE]: "take another policy, or relax {wrong_language}",
}
RELAX = "relax {filters}, or {longer}"
#: What to do where a pool gives no pair for a reason.
REMEDIES = {
    REASONS[ALONE]: "{more}",
    REASONS[TIED]: "look at the rewards, and take another reward",
    REASONS[NO_CHOSEN]: RELAX,
    REASONS[NO_REJECTED]: RELAX,
    REASONS[NO_LOWER]: "{more}, or take another reward",
    REASONS[SMALL_GAP]: "lower {min_gap}",
    REASONS[LONG]: "raise {max_length_ratio}",
    REASONS[NO_REFERENCE]: "add English answers, or do not set {normalise} to english",
}


@dataclass(frozen=True, slots=True)
class Words:
    """How settings are called where the user stands: keys of a recipe, or flags of a command.

    `sample` is the section of the recipe that samples, none where nobody knows how answers were sampled,
    `pair` that of the pairing, none for flags; `max_tokens` the limit of an answer, where it is known.
    """

    sample: str = "sample"
    pair: str = "pair"
    max_tokens: int | None = None

    def names(self) -> dict[str, str]:
        """What stands in the place of each setting's name."""
        filters = ("min_gap", "max_length_ratio", "wrong_language", "cut_off")
        own = ("normalise", "prompt_language")
        if self.pair:
            names = {name: f"{self.pair}.filters.{name}" for name in filters}
            names |= {name: f"{self.pair}.{name}" for name in own}
            names |= {"filters": f"{self.pair}.filters", "to": ": "}
        else:
            names = {name: f"--{name.replace('_', '-')}" for name in (*filters, *own)}
            names |= {"filters": "the filters", "to": " "}
        most = self.max_tokens
        counted = f" at {most} token{'' if most == 1 else 's'}"
        names["limit"] = counted if most else " by the token limit"
        return names | self._sampling()

    def _sampling(self) -> dict[str, str]:
        if not self.sample:
            more, longer = "sample more answers per prompt", "sample with a higher token limit"
            return {
                "more": more,
                "longer": longer,
                "stop": "the stop texts",
                "temperature": "temperature",
            }
        return {
            "more": f"raise {self.sample}.n",
            "longer": f"raise {self.sample}.max_tokens",
            "stop": f"{self.sample}.stop",
            "temperature": f"{self.sample}.temperature",
        }

    def say(self, text: str) -> str:
        """A text with the settings' names in it."""
        return text.format(**self.names())


#: As `croco pair` and `croco doctor` on files call settings.
FLAGS = Words("", "")


def of_arm(recipe: Mapping[str, Any], arm: str) -> Words:
    """The keys of a recipe, given as plain values, that an arm's pairs are made by."""
    responses = recipe["arms"][arm].get("responses") or {}
    sampling = responses.get("sample")
    section = f"arms.{arm}.responses.sample" if sampling else "sample"
    return Words(section, f"arms.{arm}.pair", (sampling or recipe["sample"])["max_tokens"])


@dataclass(frozen=True, slots=True)
class Count:
    """Of `pools` pools, how many give nothing, by the cause (a finding and its remedy)."""

    pools: int
    causes: Counter[tuple[str, str]]

    def words(self, words: Words) -> str:
        """The causes in the words of where the user stands, the most frequent first; empty where every
        pool gives something."""
        return "; ".join(
            f"{n} of {self.pools} pools: {words.say(finding)}: {words.say(remedy)}"
            for (finding, remedy), n in self.causes.most_common()
        )


def of_batches(batches: Iterable[pa.RecordBatch], sft: bool = False) -> Count:
    """The count over columns of `Pairs` rows; of SFT pools without an answer that may be chosen."""
    pools, causes = 0, Counter[tuple[str, str]]()
    for batch in batches:
        pools += batch.num_rows
        lacks = pc.is_null(batch["top"]) if sft else pc.not_equal(batch["reason"], "")
        for row in pa.Table.from_batches([batch]).filter(lacks).to_pylist():
            barred = Counter(one["reason"] for one in row["barred"])
            reason = REASONS[NO_CHOSEN] if sft else row["reason"]
            causes[cause_of(reason, row["pool_size"], barred)] += 1
    return Count(pools, causes)


def of_sealed(pairs: Sealed, sft: bool = False) -> Count:
    """The count over a sealed artifact of pairs."""
    shards = range(pairs.shards)
    return of_batches((b for shard in shards for b in pairs.batches(shard, COLUMNS)), sft)


def of_rows(rows: Iterable[Pairs]) -> Count:
    """The count over `Pairs` rows."""
    pools, causes = 0, Counter[tuple[str, str]]()
    for row in rows:
        pools += 1
        if row.reason:
            barred = Counter(one.reason for one in row.barred)
            causes[cause_of(row.reason, row.pool_size, barred)] += 1
    return Count(pools, causes)


def of_table(pools: pa.Table, filters: Filters) -> Count:
    """The count over a table of pools, in which only cut-off and empty answers are counted."""
    causes = Counter[tuple[str, str]]()
    names = ["reason", "pool_size", "cut_off", "empty"]
    for row in pools.select(names).filter(pc.not_equal(pools["reason"], "")).to_pylist():
        known = {
            BARRED[CUT_OFF]: row["cut_off"] if filters.cut_off != "off" else 0,
            BARRED[EMPTY]: row["empty"] if filters.empty != "off" else 0,
        }
        rest = row["pool_size"] - sum(known.values())
        if rest > 0 and filters.wrong_language != "off":
            known[BARRED[WRONG_LANGUAGE]] = rest
        causes[cause_of(row["reason"], row["pool_size"], known)] += 1
    return Count(pools.num_rows, causes)


def cause_of(reason: str, size: int, barred: Mapping[str, Any]) -> tuple[str, str]:
    """A pool's reason as a finding with its remedy: where no answer may be chosen, why that is.

    `barred` counts the answers of the pool that were kept from a side, by the reason.
    """
    if reason != REASONS[NO_CHOSEN]:
        return reason, REMEDIES.get(reason, "look at its answers with 'croco show'")
    why = [name for name, n in barred.items() if n]
    if len(why) == 1 and why[0] in BARS and barred[why[0]] >= size:
        return f"every answer {BARS[why[0]]}", UNBAR[why[0]]
    told = [BARS[name] for name in BARS if name in why]
    return f"every answer {' or '.join(told)}" if told else reason, RELAX
