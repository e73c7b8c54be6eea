"""Why pools give no pair: counted, in words of where the user stands, with what to do."""

import json
import logging
from types import SimpleNamespace

import pytest
import yaml

from croco.pairing.doctor import FEW, OVERALL
from croco.pairing.reasons import FLAGS, Words, cause_of, of_arm
from croco.pairing.verdicts import verdicts
from croco.recipe import PairConfig
from croco.records import Rewards
from croco.reward_settings import RewardConfig
from croco.selection import ALONE, LONG, NO_CHOSEN, REASONS, SMALL_GAP, TIED
from croco.stages.suspicious import Seen

CUT, EMPTY = "cut off by the token limit", "empty"


@pytest.mark.parametrize(
    ("code", "barred", "said"),
    [
        (NO_CHOSEN, {CUT: 4}, ["cut off at 16 tokens", "raise sample.max_tokens"]),
        (NO_CHOSEN, {EMPTY: 4}, ["every answer is empty", "sample.stop"]),
        (NO_CHOSEN, {EMPTY: 1, CUT: 3}, ["cut off", "empty", "arms.a.pair.filters"]),
        (NO_CHOSEN, {"not in the language that was asked for": 4}, ["filters.wrong_language"]),
        (ALONE, {}, ["raise sample.n"]),
        (TIED, {}, ["reward"]),
        (SMALL_GAP, {}, ["arms.a.pair.filters.min_gap"]),
        (LONG, {CUT: 1}, ["arms.a.pair.filters.max_length_ratio"]),
    ],
)
def test_a_reason_is_told_with_what_to_do(code, barred, said):
    words = Words("sample", "arms.a.pair", 16)
    text = ": ".join(words.say(part) for part in cause_of(REASONS[code], 4, barred))
    assert all(part in text for part in said)
    flags = ": ".join(FLAGS.say(part) for part in cause_of(REASONS[code], 4, barred))
    assert "arms." not in flags
    assert "sample.n" not in flags


def test_the_words_are_those_of_the_section_that_samples():
    own = {"max_tokens": 7}
    recipe = {"sample": {"max_tokens": 9}, "arms": {"a": {"responses": {"sample": own}}, "b": {}}}
    assert of_arm(recipe, "a").say("{longer}") == "raise arms.a.responses.sample.max_tokens"
    assert of_arm(recipe, "b").say("{longer}{limit}") == "raise sample.max_tokens at 9 tokens"


def variant(recipes, tmp_path, **changed):
    values = yaml.safe_load((recipes / "fake.yaml").read_text())
    arms = values["arms"]
    values["arms"] = {name: arms[name] for name in ("dpo-monolingual", "sft-monolingual")}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values | {"languages": ["en", "es"]} | changed, sort_keys=False))
    return path


@pytest.mark.parametrize("arm", ["dpo-monolingual", "sft-monolingual"])
def test_run_status_plan_and_doctor_know_why_no_pool_gave_a_pair(croco, recipes, tmp_path, arm):
    path = variant(recipes, tmp_path, sample={"engine": "fake", "n": 4, "max_tokens": 2})
    values = yaml.safe_load(path.read_text())
    values["arms"] = {arm: values["arms"][arm]}
    values["prompts"]["train_limit"] = 1
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    why = "2 of 2 pools: every answer was cut off at 2 tokens: raise sample.max_tokens"
    assert why in croco("run", path, check=1).stderr.splitlines()[-1]
    assert why in croco("run", path, check=1).stderr.splitlines()[-1]
    assert why in croco("status", "fake", check=0).stderr
    assert why in croco("plan", path, check=0).stderr
    [found] = json.loads(croco("doctor", "fake", "--json", check=0).stdout)
    [verdict] = found["verdicts"]
    assert verdict["level"] == "bad"
    assert verdict["remedy"] == why


def test_pairs_that_are_all_held_out_are_told_so(croco, recipes, tmp_path):
    path = variant(recipes, tmp_path)
    own = "arms={dpo: {train: {trainer: fake, heldout_share: 0.99}}}"
    done = croco("run", path, "--set", own, "--set", "prompts.train_limit=2", check=1)
    assert "train.heldout_share" in done.stderr.splitlines()[-1]


def shown(kind, rewards, kinds=None, **parts):
    """Look at rewards, four a row, and at parts of them, whose kinds are given by name."""
    seen = Seen(SimpleNamespace(kind=kind, parts=kinds), 1)
    for k in range(0, len(rewards), 4):
        own = {name: values[k : k + 4] for name, values in parts.items()}
        seen.add([Rewards(str(k), "en", rewards[k : k + 4], own)])
    seen.end()


@pytest.mark.parametrize(
    ("kind", "rewards", "said"),
    [
        ("fake", [2.0] * 8, ["2"]),
        ("classifier", [0.1, 0.9] * 4, ["[0, 1]"]),
        ("classifier", [0.1, 1.1] * 4, []),
        ("classifier", [0.1, 0.9], []),
        ("function", [0.1, 0.9] * 4, []),
    ],
)
def test_rewards_that_cannot_be_meant_are_warned_of(caplog, kind, rewards, said):
    caplog.set_level(logging.WARNING, "croco")
    shown(kind, rewards)
    assert len(caplog.records) == len(said)
    assert all(part in caplog.text for part in said)


def test_a_composites_parts_are_looked_at(caplog):
    caplog.set_level(logging.WARNING, "croco")
    kinds = {
        "good": RewardConfig(kind="classifier", model="a/b"),
        "flat": RewardConfig(kind="fake"),
    }
    shown("composite", [5.0, 6.0] * 4, kinds, good=[0.1, 0.9] * 4, flat=[3.0] * 8)
    assert [one.getMessage().count("'good'") for one in caplog.records] == [1, 0]
    assert "'flat'" in caplog.text


def test_a_run_warns_of_a_reward_that_is_always_the_same(croco, recipes, tmp_path):
    (tmp_path / "flat.py").write_text("def score(*args, **more):\n    return 1.0\n")
    reward = {"kind": "function", "function": "flat:score"}
    path = variant(recipes, tmp_path, reward=reward)
    done = croco("run", path, "--until", "score", "--set", "prompts.train_limit=2", check=0)
    assert "give no pair" in done.stderr


def diagnosis(pairs, place=FLAGS, settings=None, pools=None, **figures):
    """A diagnosis with some figures that are all bad."""
    own = {"pairs": pairs, "chosen_cut_off": 0.5, "only_rejected_in_language": 0.5} | figures
    own |= {"longer_is_chosen": {"share": 0.9, "ci": [0.85, 0.95]}}
    own |= {"prompt_not_in_chosens_language": 0.9}
    if pools:
        own |= {"pools": pools, "without_pair": pools - pairs, "target_below_minimum": 0.9}
    base = PairConfig().model_dump(mode="json")
    filters = base["filters"] | (settings or {}).get("filters", {})
    return {
        "languages": {"en": own, OVERALL: own},
        "settings": base | (settings or {}) | {"filters": filters},
        "matrix": {},
        "place": {"sample": place.sample, "pair": place.pair},
        "no_pair": "",
    }


@pytest.mark.parametrize("pairs", [0, 2, FEW - 1])
def test_of_fewer_than_30_pairs_nothing_is_called_bad(pairs):
    assert [one.level for one in verdicts(diagnosis(pairs))] == ["few"]


def test_from_30_pairs_on_there_are_verdicts():
    assert {one.level for one in verdicts(diagnosis(FEW))} == {"bad"}
    assert "few" not in {one.level for one in verdicts(diagnosis(FEW, pools=40))}


def test_what_is_known_of_many_pools_is_said_whatever_pairs_they_gave():
    found = verdicts(diagnosis(2, pools=40))
    assert [one.level for one in found] == ["bad", "bad", "few"]


def test_advice_is_in_the_words_of_where_the_user_stands():
    flags = " ".join(one.remedy for one in verdicts(diagnosis(FEW)))
    assert "--max-length-ratio" in flags
    assert "--wrong-language only-as-rejected" in flags
    keys = " ".join(one.remedy for one in verdicts(diagnosis(FEW, Words("sample", "arms.a.pair"))))
    assert "--" not in keys
    assert "arms.a.pair.filters.wrong_language: only-as-rejected" in keys
    assert "raise sample.max_tokens" in keys


def test_advice_is_never_to_undo_what_was_set():
    filters = {"cut_off": "off", "wrong_language": "drop", "max_length_ratio": 2.0}
    settings = {"filters": filters, "prompt_language": "rejected", "rejected": "q1"}
    found = verdicts(diagnosis(FEW, Words(), settings, pools=40))
    said = " ".join(one.remedy for one in found)
    for undone in ("only-as-rejected", "wrong_language: drop", "set pair.", ": chosen"):
        assert undone not in said
    assert not any("mean - 2 std" in one.finding for one in found)
    assert "None" not in " ".join(one.remedy + one.finding for one in found)
