"""Pairs from files of scored responses: what `croco pair` does, as a function.

One pass over the files gives facts about every response, parted by prompt on disk. Then each part in
turn is paired, and only the texts that pairs are made of are read again. Memory does not grow with the
number of prompts (but for 8 bytes a response under `normalise: rank`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from croco.calibration import Calibration, Rewards, fit
from croco.errors import DataError, RecipeError
from croco.languages import checked_tag
from croco.pairing.build import Built, build
from croco.pairing.facts import Facts
from croco.pairing.matching import Matched, match
from croco.pairing.output import Format, Ledger, Tables, folder_for, is_written
from croco.pairing.part import Part
from croco.pairing.prompts import Listed, prompts_of, spool_prompts
from croco.pairing.sources import open_source
from croco.pairing.spool import Places, Spool
from croco.pairing.summary import Counts
from croco.reasoning import KNOWN, Markers
from croco.recipe import PairConfig

#: Told of progress: what is done, units done, units in all, and a word.
Notify = Callable[[str, int, int, str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What `pair_files` is asked for besides how to pair.

    `lang` is the language of rows that name none, `policy` the model to be tuned (whose responses are
    on-policy), `sft` asks for the best response of each pool too, `strict` makes an error of rows that
    cannot be used, of responses to another prompt than their pool's, and of prompts and responses
    without each other. Without `prompted` pairs are made of responses that have no prompt too, under
    none. `markers` open and close reasoning.
    """

    seed: int = 42
    form: Format = "jsonl"
    lang: str | None = None
    policy: str | None = None
    sft: bool = False
    strict: bool = False
    prompted: bool = True
    markers: Markers = KNOWN


def pair_files(
    responses: Sequence[Path],
    out: Path,
    *,
    prompts: Sequence[Path] = (),
    config: PairConfig | None = None,
    options: Options | None = None,
    notify: Notify = lambda *_: None,
) -> dict[str, Any]:
    """Pairs of scored responses in JSON Lines or Parquet, written to a folder; the summary.

    Raises DataError where a file cannot be read, where no response can be used, and for what `strict`
    asks. Nothing is written then.
    """
    config, options = config or PairConfig(), options or Options()
    lang = _checked(options.lang)
    for path in (*responses, *prompts):
        if is_written(path) and path.resolve().parent == out.resolve():
            raise DataError(f"{path} would be written over: write to another folder, or rename it")
    sources = [open_source(path) for path in responses]
    with folder_for(out) as folder:
        parts = folder / "parts"
        parts.mkdir()
        spool = Spool(parts, sources, config.filters, options.markers)
        job = _Job(config, options, folder, spool)
        job.refused.add(spool_prompts(spool, prompts, lang))
        megabytes = max(1, spool.bytes // 10**6)
        job.refused.add(
            spool.fill(lang, lambda done: notify("read", done // 10**6, megabytes, "MB"))
        )
        calibration = fit(config.normalise, job.rewards())
        for k in range(spool.count):
            notify("pair", k, spool.count, "parts")
            job.pair(k, calibration)
        notify("pair", spool.count, spool.count, "parts")
        return job.finish()


def _checked(lang: str | None) -> str | None:
    try:
        return None if lang is None else checked_tag(lang)
    except ValueError as error:
        raise RecipeError(f"--lang: {error}") from error


class _Job:
    """Pairs one part after the other, writes what they give, and counts."""

    def __init__(self, config: PairConfig, options: Options, folder: Path, spool: Spool) -> None:
        self.config = config
        self.options = options
        self.folder = folder
        self.spool = spool
        self.counts = Counts(config, options.policy)
        self.tables = Tables(folder, options.form)
        self.refused = Ledger(folder / "refused.jsonl")
        self.unmatched = Ledger(folder / "unmatched.jsonl")
        self.filtered = Ledger(folder / "filtered.jsonl")
        self.pools: pq.ParquetWriter | None = None

    def rewards(self) -> Iterator[Rewards]:
        """The rewards of every part, as a calibration takes them: of responses that may be used."""
        for k in range(self.spool.count):
            facts, _, _, matched = self._matched(k)
            yield facts.take(matched.agreeing).rewards

    def pair(self, k: int, calibration: Calibration) -> None:
        """Pair the prompts of one part."""
        facts, places, listed, matched = self._matched(k)
        self.counts.prompts += len(listed.prompts)
        self.counts.prompts_twice += listed.repeats
        self.counts.unmatched += matched.lacking
        self.refused.add([*listed.refused, *matched.refused])
        self.unmatched.add(matched.unmatched)
        keep = matched.asked if self.options.prompted else matched.agreeing
        if not keep.size:
            return
        part = Part(facts.take(keep), places.take(keep), listed.prompts, self.spool)
        built = build(part.facts, part.texts, self.config, calibration, self.options.seed)
        self.counts.add(part.facts, built)
        self._write(part, built)

    def _matched(self, k: int) -> tuple[Facts, Places, Listed, Matched]:
        """The responses of a part with their prompts, compared."""
        facts, places = self.spool.part(k)
        listed = prompts_of(self.spool, k)
        files = [str(source.path) for source in self.spool.sources]
        return facts, places, listed, match(facts, places, listed.prompts, files)

    def finish(self) -> dict[str, Any]:
        """Close all files; the summary. DataError where nothing, or not all that must, could be used."""
        for file in (self.tables, self.refused, self.unmatched, self.filtered):
            file.close()
        if self.pools is not None:
            self.pools.close()
        self._refuse()
        summary = self.counts.summary(
            self.refused.counts,
            self.unmatched.counts,
            self.filtered.counts,
            self.spool.reasoning,
        )
        text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
        (self.folder / "summary.json").write_text(text + "\n", encoding="utf-8")
        return summary

    def _refuse(self) -> None:
        wrong = [ledger for ledger in (self.refused, self.unmatched) if ledger.first]
        said = "; ".join(
            f"{_counted(ledger.counts)} (first: {_where(ledger.first)})" for ledger in wrong
        )
        if not self.counts.responses:
            raise DataError(
                f"no response can be used{': ' + said if said else ', the files are empty'}:"
                " mend the files, or give --prompts for prompts and --lang for a language"
            )
        if self.options.strict and said:
            raise DataError(f"{said}: mend them, or leave --strict out to go on without them")

    def _write(self, part: Part, built: Built) -> None:
        many = self.config.scope == "multilingual"
        for lang, row in part.pairs(built, calibrated=self.config.normalise != "none"):
            self.tables.add("pairs" if many else f"pairs-{lang}", row)
        if self.options.sft:
            for lang, row in part.best(built):
                self.tables.add("sft" if many else f"sft-{lang}", row)
        self.filtered.add(part.filtered(built))
        pools = part.pools(built)
        if self.pools is None:
            self.pools = pq.ParquetWriter(self.folder / "pools.parquet", pools.schema)
        self.pools.write_table(pools)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{n} x {reason}" for reason, n in counts.most_common())


def _where(row: dict[str, Any]) -> str:
    """The place of a row that was left out, and what is wrong with it."""
    if "file" in row:
        return f"{row['file']}:{row['line']}" + (f": {row['detail']}" if row["detail"] else "")
    return f"{row['id']} {row['lang']}"
