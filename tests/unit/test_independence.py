"""What a judge shares with the reward: at any depth, whatever the settings around it."""

from __future__ import annotations

import pytest

from croco.report.independence import judge_in_words, shared_sources
from croco.reward_settings import RewardConfig

CLASSIFIER = {"kind": "classifier", "model": "org/reward@main"}
JUDGED_BY = {"engine": "fake", "model": "org/large", "template": "one.yaml"}
PROMPT = {"kind": "prompt", "prompt": JUDGED_BY}
FUNCTION = {"kind": "function", "function": "mine:judge"}
SPOKEN = {"kind": "language", "identifier": "heliport"}
TRAINED = {"kind": "classifier", "train": {"base": "multilingual-e5-small", "files": ["a.jsonl"]}}
GATE = {"identifier": "heliport"}


def parts(**own):
    return {"kind": "composite", "parts": own}


def full(config):
    return RewardConfig.model_validate(config).model_dump(mode="json")


@pytest.mark.parametrize(
    ("judge", "reward", "shared"),
    [
        (CLASSIFIER, parts(quality=CLASSIFIER, other=FUNCTION), 1),
        (parts(quality=CLASSIFIER), CLASSIFIER | {"max_length": 99}, 1),
        (CLASSIFIER | {"kind": "vllm", "model": "org/reward"}, CLASSIFIER, 1),
        (parts(deep=parts(deeper=FUNCTION)), parts(a=FUNCTION, b=CLASSIFIER), 1),
        (parts(a=FUNCTION, b=CLASSIFIER), parts(c=CLASSIFIER, d=FUNCTION), 2),
        ({"kind": "pairwise", "prompt": JUDGED_BY | {"template": "two.yaml"}}, PROMPT, 1),
        (parts(a=FUNCTION) | {"gate": GATE}, parts(a=CLASSIFIER) | {"gate": GATE}, 1),
        (parts(a=FUNCTION) | {"gate": GATE}, parts(a=CLASSIFIER, b=SPOKEN), 1),
        (TRAINED, parts(quality=TRAINED), 1),
        ({"kind": "fake"}, parts(a={"kind": "fake"}), 1),
        (FUNCTION, CLASSIFIER, 0),
        (FUNCTION, {"kind": "function", "function": "mine:reward"}, 0),
        (
            parts(a=FUNCTION) | {"gate": {"identifier": "py3langid"}},
            parts(a=CLASSIFIER) | {"gate": GATE},
            0,
        ),
        (CLASSIFIER, parts(a=CLASSIFIER, b=FUNCTION) | {"weights": {"a": 0.0}}, 0),
        (CLASSIFIER, PROMPT, 0),
    ],
)
def test_what_is_shared_is_found(judge, reward, shared):
    sides = full(judge), full(reward)
    assert len(shared_sources(*sides)) == shared
    assert ("shares no" in judge_in_words(*sides)) == (shared == 0)


def test_short_names_and_directories_are_one_model_under_several_names(tmp_path):
    short, long = (
        {"kind": "classifier", "model": name}
        for name in ("multilingual-e5-small", "intfloat/multilingual-e5-small@1")
    )
    assert shared_sources(full(short), full(long))
    assert shared_sources(
        full({"kind": "classifier", "model": "./models/one"}),
        full({"kind": "classifier", "model": "models/one/"}),
    )
