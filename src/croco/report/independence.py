"""Whether the judge is, or shares parts with, the reward that was optimised."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from croco.models import EMBEDDED


def shared_sources(judge: Mapping[str, Any], reward: Mapping[str, Any]) -> list[str]:
    """The models, functions and identifiers that a judge shares with a reward, each with what it is.

    Both are configurations as a recipe has them. Parts are compared at any depth, gates too, whatever
    their settings: a model that answers another template, or has another weight, is the same model.
    """
    others = dict(_sources(reward))
    return sorted({words for source, words in _sources(judge) if source in others})


def judge_in_words(judge: Mapping[str, Any], reward: Mapping[str, Any]) -> str:
    """Whether tuning could please the judge through what it shares with the reward."""
    shared = shared_sources(judge, reward)
    if not shared:
        return "It shares no model, function or identifier with the reward that was optimised."
    return (
        f"It shares with the reward that was optimised: {', '.join(shared)}. So its win rates count what"
        " tuning did to please the reward, too."
    )


def _sources(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What makes the scores of a reward, and of its parts that have a weight, each also in words."""
    weights = config.get("weights") or {}
    for name, part in (config.get("parts") or {}).items():
        if weights.get(name, 1.0) != 0:
            yield from _sources(part)
    asked = (config.get("prompt") or {}).get("model")
    for model in filter(None, (config.get("model"), asked)):
        yield f"model {_model(model)}", f"the model {_model(model)}"
    identifier = config.get("identifier") or (config.get("gate") or {}).get("identifier")
    if identifier:
        yield f"identifier {identifier}", f"the language identifier {identifier}"
    if config.get("function"):
        yield f"function {config['function']}", f"the function {config['function']}"
    if config.get("train"):
        how = json.dumps(config["train"], sort_keys=True)
        yield f"training {how}", f"the model trained on {config['train']['base']}"
    if config["kind"] == "fake" or ":" in config["kind"]:
        yield f"kind {config['kind']}", f"the reward {config['kind']}"


def _model(name: str) -> str:
    """The model's name without its revision: a short name's hub id, a directory without dots."""
    known = EMBEDDED[name].hub if name in EMBEDDED else name
    return str(PurePath(known.partition("@")[0]))
