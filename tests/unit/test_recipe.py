from pathlib import Path

import pytest

from croco import pipeline, recipe, recipe_file
from croco.errors import RecipeError

FAKE = Path(__file__).parents[2] / "recipes" / "fake.yaml"


def test_overrides_reach_nested_keys():
    loaded = recipe_file.load(FAKE, ["sample.n=4", "arms.sft-monolingual.train.epochs=2"])
    assert loaded.sample.n == 4
    assert loaded.arms["sft-monolingual"].train.epochs == 2


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sample.temprature=1", "unknown key 'sample.temprature': did you mean 'temperature'?"),
        ("arms.sft-monolingual.train.beta1=1", "did you mean 'beta'?"),
        ("reward.gate.treshold=1", "did you mean 'threshold'?"),
        ("sample.n=many", "key 'sample.n'"),
        ("sample.n=0", "key 'sample.n'"),
        ("languages=[en, xx-nope-zz]", "is not a BCP-47 language tag"),
        ("resources.sampling.batch_size=2", "resources"),
        ("name=../up", "key 'name'"),
        ("reward={kind: classifier}", "needs model or train"),
        ("sample", "not of the form"),
        ("languages=[en, mul]", "stands for many languages"),
        ("arms.base={}", "no arm may be called 'base'"),
        ("reward.function='m:f'", "does not use 'function'"),
        ("prompts.train=[]", "key 'prompts.train'"),
        (
            "evaluate.judge={kind: composite, parts: {quality: {kind: fake}},"
            " gate: {identifier: fake, threshold: 0.5, penalty: 2.0}}",
            "judge by another one",
        ),
        ("folder=/tmp", "unknown key 'folder'"),
        ("evaluate.second_identifier=fake", "name another one, or null for none"),
    ],
)
def test_mistakes_are_one_sentence_that_names_the_key(override, said):
    with pytest.raises(RecipeError) as caught:
        recipe_file.load(FAKE, [override])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- just\n- a list", ""])
def test_a_file_that_is_no_recipe_is_named(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"broken\.yaml"):
        recipe_file.load(path)


def identities(*overrides):
    built = pipeline.build(recipe_file.load(FAKE, overrides))
    return {name: stage.identity for name, stage in built.items()}


def test_where_it_runs_is_never_part_of_an_identity():
    assert identities() == identities("resources.sample.batch_size=3", "resources.train.threads=1")
    assert identities() == identities(
        *("executor.kind=slurm", "executor.slurm.partition=gpu", "executor.ray.address=local"),
        *("resources.sample.workers=4", "resources.sample.gpus=2", "resources.sample.memory=8G"),
        "resources.sample.slurm={time: 2h, setup: [module load rocm], extra: {qos: long}}",
    )


def test_a_changed_field_renews_its_stage_and_what_follows_and_nothing_else():
    before, after = identities(), identities("arms.sft-monolingual.train.epochs=3")
    changed = {name for name in before if before[name] != after[name]}
    arm = {f"sft-monolingual.{kind}" for kind in ("train", "sample", "language", "judge", "loss")}
    assert changed == arm | {"report"}


def test_arms_share_sampling_and_scoring():
    built = pipeline.build(recipe_file.load(FAKE))
    assert len([stage for stage in built.values() if stage.kind == "score"]) == 1
    assert built["dpo-monolingual.pair"].identity == built["sft-monolingual.pair"].identity
    assert built["dpo-monolingual.pair"].identity != built["dpo-multilingual.pair"].identity


def test_a_moved_data_file_keeps_the_identity(tmp_path):
    text = FAKE.read_text().replace("bundled:prompts-train.jsonl", "train.jsonl")
    data = Path(recipe.__file__).parent / "data" / "prompts-train.jsonl"
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_bytes(data.read_bytes())
        (tmp_path / name / "r.yaml").write_text(text)
        found.append(
            pipeline.build(recipe_file.load(tmp_path / name / "r.yaml"))["sample"].identity
        )
    assert found[0] == found[1]


def test_the_number_of_shards_is_part_of_every_sharded_identity():
    three, four = identities("shards=3"), identities("shards=4")
    assert {name for name in three if three[name] == four[name]} == {"audit"}


def test_an_override_reaches_one_arm_alone_where_arms_share_an_anchor():
    quickstart = FAKE.with_name("quickstart.yaml")
    loaded = recipe_file.load(quickstart, ["arms.dpo-monolingual.train.lora.r=8"])
    assert loaded.arms["dpo-monolingual"].train.lora.r == 8
    assert loaded.arms["sft-monolingual"].train.lora.r == 16


def test_a_renamed_preference_file_keeps_the_identities(tmp_path):
    text = FAKE.with_name("quickstart.yaml").read_text()
    data = Path(recipe.__file__).parent / "data" / "preferences-train.jsonl"
    found = []
    for name in ("one.jsonl", "two.jsonl"):
        (tmp_path / name).write_bytes(data.read_bytes())
        (tmp_path / "r.yaml").write_text(text.replace("bundled:preferences-train.jsonl", name))
        built = pipeline.build(recipe_file.load(tmp_path / "r.yaml"))
        found.append({n: s.identity for n, s in built.items() if n != "report"})
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("sample.engine", "Engine"),
        ("evaluate.identifier", "I"),
        ("evaluate.second_identifier", "J"),
        ("arms.sft-monolingual.train.trainer", "train"),
    ],
)
def test_an_edit_of_the_users_code_is_a_new_identity(tmp_path, monkeypatch, key, name):
    monkeypatch.chdir(tmp_path)
    found = []
    for text in ("x = 1", "x = 2"):
        (tmp_path / f"edited_{name}.py").write_text(text)
        found.append(identities(f"{key}=edited_{name}:{name}")["report"])
    assert found[0] != found[1]


@pytest.mark.parametrize(
    "override",
    [
        "reward.kind=composit",
        "evaluate.identifier=helliport",
        "evaluate.second_identifier=py3langit",
        "arms.sft-monolingual.train.trainer=trlx",
    ],
)
def test_a_misspelt_name_is_told_before_anything_runs(override):
    with pytest.raises(RecipeError, match="did you mean"):
        identities(override)


def test_a_relative_model_directory_starts_at_the_recipe(tmp_path):
    for name, content in (("a", "1"), ("b", "2")):
        (tmp_path / name / "rm").mkdir(parents=True)
        (tmp_path / name / "rm" / "config.json").write_text(content)
        text = FAKE.read_text().replace(
            "quality: {kind: fake}", "quality: {kind: classifier, model: rm}"
        )
        (tmp_path / name / "r.yaml").write_text(text)
    built = [pipeline.build(recipe_file.load(tmp_path / name / "r.yaml"))["score"] for name in "ab"]
    assert [stage.config.reward.parts["quality"].ref.location for stage in built] == [
        str(tmp_path / name / "rm") for name in "ab"
    ]
    assert built[0].identity != built[1].identity


@pytest.mark.parametrize(
    ("overrides", "second"),
    [
        (["evaluate.identifier=heliport"], "py3langid"),
        (["evaluate.identifier=py3langid"], "heliport"),
        (["evaluate.identifier=fake"], None),
        (["evaluate.identifier=heliport", "evaluate.second_identifier=null"], None),
        (["evaluate.second_identifier=heliport"], "heliport"),
    ],
)
def test_the_second_identifier_is_the_other_one_unless_it_is_named(overrides, second):
    loaded = recipe_file.load(FAKE, overrides)
    assert loaded.evaluate.second_identifier == second
    # As saved with a run, where every key is written out.
    assert recipe.Recipe(**loaded.model_dump(mode="json")).evaluate.second_identifier == second


def test_another_identifier_renews_languages_and_report_alone():
    before, after = identities(), identities("evaluate.second_identifier=py3langid")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in before if name.endswith(".language")} | {"report"}
