"""What translation made and what its checks found, per stage and language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from croco.records import Failure, Translation


def translation_counts(
    stage: str, rows: Iterable[Translation], failed: Iterable[Failure]
) -> list[dict[str, Any]]:
    """One dictionary of counts per language; `checks` counts failing rows by the check they failed.

    A row that fails several checks is counted under each of them, and once in `failed`.
    """
    found: dict[str, Counter[str]] = {}
    checks: dict[str, Counter[str]] = {}
    for row in rows:
        own = found.setdefault(row.lang, Counter())
        own["translated" if row.source else "existing"] += 1
        own["second_attempt"] += row.attempts > 1
        own["unknown_words"] += len(row.unknown)
    for failure in failed:
        found.setdefault(failure.lang, Counter())["failed"] += 1
        checks.setdefault(failure.lang, Counter()).update(failure.checks)
    return [
        _counts(stage, lang, found[lang], checks.get(lang, Counter())) for lang in sorted(found)
    ]


def _counts(stage: str, lang: str, found: Counter[str], checks: Counter[str]) -> dict[str, Any]:
    names = ("existing", "translated", "second_attempt", "failed", "unknown_words")
    counts = {name: found[name] for name in names}
    prompts = counts["existing"] + counts["translated"] + counts["failed"]
    ordered = dict(sorted(checks.items()))
    return {"stage": stage, "lang": lang, "prompts": prompts, **counts, "checks": ordered}
