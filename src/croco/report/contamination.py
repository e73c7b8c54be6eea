"""Which held-out prompts the training prompts give away, for the report and the command line."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from croco.records import MULTIPLE, Overlap
from croco.report.page import Section
from croco.report.parts import Part
from croco.stage import Sealed

#: Pairs that are shown on the page, and named in one sentence.
EXAMPLES, NAMED = 12, 3


def contamination(inputs: Mapping[str, Sealed], recipe: dict[str, Any]) -> Part | None:
    """Counts of contaminated held-out prompts, per language of the texts that are alike, and examples."""
    last = [name for name in inputs if name.partition("-")[0] == "contamination"][-1]
    rows = list(inputs[last].rows())
    total = len({row.id for row in inputs["prompts-heldout"].rows()})
    found = figures(rows, total)
    section = Section("contamination", "Contamination", "contamination.html.jinja", found)
    return Part("contamination", found, section)


def figures(rows: Sequence[Overlap], total: int) -> dict[str, Any]:
    """Pairs of a training and a held-out prompt, the held-out prompts among `total`, and where.

    `languages` counts held-out prompts by the language of the text that is alike and by kind.
    """
    by_lang: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in {(row.id, row.lang, row.kind): row for row in rows}.values():
        by_lang["same id" if row.lang == MULTIPLE else row.lang][row.kind] += 1
    first = {(row.id, row.train_id): row for row in reversed(rows)}
    return {
        "pairs": len({(row.id, row.train_id) for row in rows}),
        "prompts": len({row.id for row in rows}),
        "of": total,
        "languages": {lang: dict(by_lang[lang]) for lang in sorted(by_lang)},
        "examples": [asdict(row) for row in list(first.values())[::-1][:EXAMPLES]],
    }


def in_words(rows: Sequence[Overlap]) -> str:
    """One sentence on what is contaminated, with the first pairs of ids."""
    pairs = list(dict.fromkeys((row.train_id, row.id) for row in rows))
    named = ", ".join(f"{train!r} and {heldout!r}" for train, heldout in pairs[:NAMED])
    more = f" and {len(pairs) - NAMED} more" if len(pairs) > NAMED else ""
    prompts = len({row.id for row in rows})
    return (
        f"{prompts} held-out prompt{'s' if prompts > 1 else ''} can be known from training prompts"
        f" (training and held-out: {named}{more})"
    )
