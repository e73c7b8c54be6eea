"""Parts of a report that a run may have or not: each from the stages' rows to figures and a section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from croco.report.page import Section


@dataclass(frozen=True, slots=True)
class Part:
    """Figures under a key of `summary.json`, which must be JSON without NaN, and a section of the page."""

    key: str
    figures: Any
    section: Section | None = None
