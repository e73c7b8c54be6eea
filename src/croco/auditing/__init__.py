"""How far a reward can be trusted, per language: judged pairs and pools in, plain figures out, no I/O.

`audit` gives all figures of all languages; `trust` says in words what they mean. Figures are plain
JSON values: what is not known is None and says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from croco.auditing.english import agreement, english_of, of_pools
from croco.auditing.figures import of_language
from croco.auditing.trust import remarks, trust
from croco.records import Audited, Rewards

__all__ = ["audit"]


def audit(
    rows: Sequence[Audited], seed: int, pools: Sequence[Rewards] = ()
) -> dict[str, dict[str, Any]]:
    """All figures per language of the pairs and pools, in sorted order.

    `pools` are a run's rewards of its own answers, one row per prompt and language; without them there are
    no figures of pools. Intervals are 95 %,
    over resampled prompts. Raises ValueError where a reward is not finite.
    """
    languages = sorted({row.lang for row in (*rows, *pools)})
    english = english_of(languages)
    found = {}
    for lang in languages:
        spoken = [row for row in rows if row.lang == lang]
        figures = of_language(spoken, seed)
        figures["english"] = agreement(
            spoken, [row for row in rows if row.lang == english], seed, lang == english
        )
        if pools:
            figures["pools"] = of_pools(pools, lang, english, seed)
        found[lang] = figures | trust(figures) | {"remarks": remarks(figures)}
    return found
