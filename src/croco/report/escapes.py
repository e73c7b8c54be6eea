"""How many prompts had HTML escapes taken back, for the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from croco.arena import REPAIRED
from croco.report.page import Section
from croco.report.parts import Part
from croco.stage import Sealed


def escapes(inputs: Mapping[str, Sealed], recipe: dict[str, Any]) -> Part | None:
    """Prompts with repaired HTML escapes per stage and language; no part where there are none."""
    found = {
        name: counts
        for name, sealed in inputs.items()
        if name.startswith("prompts-")
        and (counts := json.loads((sealed.files / REPAIRED).read_text(encoding="utf-8")))
    }
    if not found:
        return None
    section = Section("escapes", "Repaired prompts", "escapes.html.jinja", {"stages": found})
    return Part("repaired_escapes", found, section)
