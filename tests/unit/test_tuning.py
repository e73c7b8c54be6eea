"""What arms share and what makes their stages new: off-policy answers, and training in rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from croco import pipeline, recipe_file
from croco.errors import RecipeError
from croco.stage import Stage

RECIPES = Path(__file__).parents[2] / "recipes"
TRL: dict[str, Any] = {"train": {"trainer": "trl"}}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory that stands for a model: nothing is loaded to build stages."""
    for name in ("policy", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(f'{{"name": "{name}"}}')
    return tmp_path


def build(folder: Path, arms: dict[str, Any], **changes: Any) -> dict[str, Stage]:
    values = recipe_file.read(RECIPES / "fake.yaml") | {"policy": "policy", "arms": arms}
    sample = {"engine": "transformers", "n": 4, "max_tokens": 20}
    return pipeline.build(
        recipe_file.parse(values | {"sample": sample} | changes, folder / "r.yaml")
    )


def stages(built: dict[str, Stage], arm: str) -> list[str]:
    return [name.removeprefix(f"{arm}.") for name in built if name.startswith(f"{arm}.")]


def changed(one: dict[str, Stage], other: dict[str, Stage]) -> set[str]:
    """The stages of both that are not the same, but the report."""
    both = one.keys() & other.keys() - {"report"}
    return {name for name in both if one[name].identity != other[name].identity}


def test_an_off_policy_arm_has_answers_rewards_and_ids_of_its_own(model: Path) -> None:
    built = build(model, {"own": TRL, "off": TRL | {"responses": {"policy": "other"}}})
    made = ["sample-train", "score", "pair", "encode", "reference", "train", "sample", "language"]
    assert stages(built, "off")[:8] == made
    assert {"sample", "score"} <= built.keys()
    writer, tuned = built["off.sample-train"].config, built["off.train"].config
    assert (
        writer.policy.revision != tuned.policy.revision == built["own.train"].config.policy.revision
    )
    for stage in ("reference", "train"):
        assert built[f"off.{stage}"].inputs["sample"] is built["off.encode"]
    assert built["off.sample-train"].identity != built["sample"].identity
    assert built["off.sample"].config.policy == tuned.policy


def test_answers_of_the_same_model_keep_their_ids_and_what_is_the_same_is_shared(
    model: Path,
) -> None:
    off = TRL | {"responses": {"policy": "policy"}}
    built = build(model, {"own": TRL, "off": off})
    assert "off.encode" not in built
    assert built["off.sample-train"].identity == built["sample"].identity
    assert built["off.train"].identity == built["own.train"].identity
    cooler = {"policy": "policy", "sample": {"temperature": 0.5, "n": 4}}
    other = build(model, {"own": TRL, "off": TRL | {"responses": cooler}})
    assert built["off.sample-train"].identity != other["off.sample-train"].identity
    assert changed(built, other) >= {"off.score", "off.pair", "off.train"}
    assert not {name for name in changed(built, other) if name.startswith("own.")}


def test_answers_that_no_arm_needs_are_not_sampled(model: Path) -> None:
    built = build(model, {"off": TRL | {"responses": {"policy": "other"}}})
    assert not {"sample", "score"} & built.keys()


def rounds(count: int, reference: str = "fixed", **more: Any) -> dict[str, Any]:
    return TRL | {"rounds": {"count": count, "reference": reference}} | more


def test_the_first_round_is_the_arm_without_rounds(model: Path) -> None:
    built = build(model, {"once": TRL, "thrice": rounds(3)})
    for kind in ("pair", "reference", "train"):
        assert built[f"once.{kind}"].identity == built[f"thrice.{kind}-1"].identity
    assert stages(built, "thrice")[:12] == [
        *("pair-1", "reference-1", "train-1"),
        *(f"{kind}-2" for kind in ("sample", "score", "pair", "reference", "train")),
        *(f"{kind}-3" for kind in ("sample", "score", "pair", "reference")),
    ]
    assert built["thrice.sample"].inputs["adapter"] is built["thrice.train-3"]
    assert built["thrice.loss"].inputs["adapter"] is built["thrice.train-3"]


@pytest.mark.parametrize("start", [None, "sft"])
def test_each_round_goes_on_from_the_last_one(model: Path, start: str | None) -> None:
    arms = {"sft": {"train": {"method": "sft"}}}
    built = {
        reference: build(model, arms | {"a": rounds(3, reference, after=start)})
        for reference in ("fixed", "moved")
    }
    for reference, own in built.items():
        begun = own["sft.train"] if start else None
        assert own["a.train-1"].inputs.get("start") is begun
        assert own["a.reference-1"].inputs.get("start") is begun
        for number in (2, 3):
            last = own[f"a.train-{number - 1}"]
            assert own[f"a.sample-{number}"].inputs["adapter"] is last
            assert own[f"a.train-{number}"].inputs["start"] is last
            wanted = begun if reference == "fixed" else last
            assert own[f"a.reference-{number}"].inputs.get("start") is wanted
            read = own[f"a.reference-{number}"]
            assert own[f"a.train-{number}"].inputs["reference"] is read
            assert read.inputs["sample"] is own[f"a.sample-{number}"]


def test_rounds_draw_other_answers_but_hold_out_the_same_prompts(model: Path) -> None:
    built = build(model, {"a": rounds(3)})
    drawn = [built[name].config.seed for name in ("sample", "a.sample-2", "a.sample-3")]
    assert len(set(drawn)) == 3
    assert {built[f"a.train-{number}"].config.seed for number in (1, 2, 3)} == {42}


def test_a_round_more_renews_nothing_before_it(model: Path) -> None:
    two, three = (build(model, {"a": rounds(count)}) for count in (2, 3))
    after = {f"a.{kind}" for kind in ("sample", "language", "judge", "loss")}
    assert changed(two, three) == after
    assert set(three) - set(two) == {
        f"a.{kind}-3" for kind in ("sample", "score", "pair", "reference", "train")
    }


def test_another_reference_renews_what_follows_the_first_round(model: Path) -> None:
    fixed, moved = (build(model, {"a": rounds(2, reference)}) for reference in ("fixed", "moved"))
    after = {f"a.{kind}" for kind in ("sample", "language", "judge", "loss")}
    assert changed(fixed, moved) == after | {"a.reference-2", "a.train-2"}


def test_an_arm_may_go_on_from_the_last_of_rounds(model: Path) -> None:
    built = build(model, {"a": rounds(2), "b": TRL | {"after": "a"}})
    assert built["b.train"].inputs["start"] is built["a.train-2"]


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        ({"responses": {"policy": "fake"}, "rounds": {}}, "cannot be combined"),
        ({"online": {}, "rounds": {}}, "cannot be combined"),
        ({"online": {}, "responses": {"policy": "fake"}}, "cannot be combined"),
        ({"rounds": {"count": 0}}, "greater than or equal to 1"),
        ({"rounds": {"reference": "old"}}, "'fixed' or 'moved'"),
        ({"rounds": {"reference": "fixed"}, "train": {"method": "sft"}}, "SFT has no reference"),
        ({"rounds": {}, "train": {"trainer": "mine:train"}}, "set it to moved"),
        ({"online": {}, "train": {"method": "sft"}}, "online is for"),
        ({"online": {}, "train": {"trainer": "fake"}}, "online is for"),
        ({"online": {}, "train": {"heldout_share": 0.1}}, "known before training"),
        ({"responses": {}}, "key 'arms.a.responses.policy' is missing"),
        ({"responses": {"policy": "fake", "temperature": 1}}, "unknown key"),
    ],
)
def test_what_does_not_go_together_is_refused(arm: dict[str, Any], said: str) -> None:
    values = recipe_file.read(RECIPES / "fake.yaml") | {"arms": {"a": arm}}
    with pytest.raises(RecipeError) as caught:
        recipe_file.parse(yaml.safe_load(yaml.safe_dump(values)), RECIPES / "fake.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_cannot_take_the_adapters_of_rounds(model: Path) -> None:
    served = {
        "sample": {"engine": "openai"},
        "resources": {"sample": {"server": {"url": "http://a"}}},
    }
    evaluate = recipe_file.read(RECIPES / "fake.yaml")["evaluate"] | {"engine": "transformers"}
    with pytest.raises(RecipeError, match="cannot take the adapters that rounds tune"):
        build(model, {"a": rounds(2)}, **served, evaluate=evaluate)


LIVE: dict[str, Any] = {"live": TRL | {"online": {"every": 4, "n": 6}}}


def test_an_online_arm_is_one_training_that_needs_no_answers_beforehand(model: Path) -> None:
    built = build(model, LIVE)
    assert stages(built, "live") == ["train", "sample", "language", "judge", "loss"]
    assert not {"sample", "score"} & built.keys()
    assert list(built["live.train"].inputs) == ["prompts"]
    after = build(
        model, {"sft": {"train": {"method": "sft"}}, "live": LIVE["live"] | {"after": "sft"}}
    )
    assert after["live.train"].inputs["start"] is after["sft.train"]


def test_how_an_online_arm_samples_scores_and_pairs_is_its_identity_and_where_is_not(
    model: Path,
) -> None:
    built = build(model, LIVE)
    where = {"score": {"batch_tokens": 9}, "sample": {"batch_size": 3}, "train": {"threads": 1}}
    placed = build(model, LIVE, resources=where)
    assert changed(built, placed) == set()
    assert placed["live.train"].config.scored.batch_tokens == 9
    assert placed["live.train"].config.sampled.batch_size == 3
    for more in (
        {"online": {"every": 5, "n": 6}},
        {"online": {"every": 4, "n": 7}},
        {"pair": {"rejected": "min"}},
        {"train": {"trainer": "trl", "beta": 0.2}},
    ):
        other = build(model, {"live": LIVE["live"] | more})
        assert changed(built, other) == {f"live.{kind}" for kind in stages(built, "live")}, more
    hotter = {"engine": "transformers", "n": 4, "max_tokens": 20, "temperature": 0.7}
    assert "live.train" in changed(built, build(model, LIVE, sample=hotter))
    assert "live.train" in changed(built, build(model, LIVE, reward={"kind": "fake"}))
    as_recipe = build(model, {"live": TRL | {"online": {"every": 4}}})
    said = build(model, {"live": TRL | {"online": {"every": 4, "n": 4}}})  # the recipe's
    assert changed(as_recipe, said) == set()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resources": {"train": {"processes": 2}}}, "trains in one process"),
        (
            {
                "reward": {"kind": "server", "model": "policy"},
                "resources": {"audit": {"server": {"url": "http://a"}}},
            },
            r"resources\.score\.server\.url",
        ),
    ],
)
def test_what_an_online_arm_cannot_do_is_said_before_anything_runs(
    model: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        build(model, LIVE, **changes)
