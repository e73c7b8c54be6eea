"""What enters an identity, and that nothing is used which was made by another recipe."""

import json

import pytest


def stages_of(home):
    return {path.parent.name: path for path in home.glob("store/*-*/stage.json")}


@pytest.fixture
def sampled(croco, recipes, tmp_path):
    """A home in which the fake recipe was brought to its samples, and a further run of a verb there."""
    command = [recipes / "fake.yaml", "--until", "sample"]
    croco("run", *command, check=0)
    return lambda verb, *more: croco(verb, *command, *more)


def test_an_artifact_of_another_recipe_is_not_taken_for_this_ones(croco, sampled, tmp_path):
    (path,) = (path for name, path in stages_of(tmp_path).items() if name.startswith("sample-"))
    described = json.loads(path.read_text())
    described["recipe"]["config"]["seed"] += 1
    path.write_text(json.dumps(described))
    for done in (sampled("run"), sampled("plan"), croco("status", "fake")):
        assert done.returncode == 2
        assert str(path) in done.stderr
        assert "seed: " in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_damaged_description_is_named(sampled, tmp_path):
    path = next(iter(stages_of(tmp_path).values()))
    path.write_text(path.read_text()[:40])
    done = sampled("run")
    assert done.returncode == 2
    assert str(path) in done.stderr


def test_shards_without_a_description_are_not_taken_for_done(sampled, tmp_path):
    path = next(path for name, path in stages_of(tmp_path).items() if name.startswith("sample-"))
    path.unlink()
    for verb in ("run", "plan"):
        done = sampled(verb)
        assert done.returncode == 2
        assert str(path) in done.stderr
    assert not path.exists()


def test_an_identity_is_long_enough_to_stand_for_its_recipe(sampled, tmp_path):
    assert {len(name.rpartition("-")[2]) for name in stages_of(tmp_path)} == {32}
    assert " sample-" in sampled("plan").stdout


def test_an_older_store_is_refused_untouched_with_what_to_do(croco, recipes, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "format.json").write_text('{"format": 1}')
    for verb in ("run", "plan"):
        done = croco(verb, recipes / "fake.yaml")
        assert done.returncode == 2
        assert "format 1" in done.stderr
        assert "--home" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["store", "format.json"]


def test_links_of_stages_that_the_recipe_no_longer_has_are_removed(croco, recipes, tmp_path):
    def links():
        return {path.name for path in (tmp_path / "runs" / "fake").iterdir() if path.is_symlink()}

    recipe = tmp_path / "recipe.yaml"
    text = (recipes / "fake.yaml").read_text()
    recipe.write_text(text)
    croco("run", recipe, "--until", "train", check=0)
    before = links()
    arm = next(name.partition(".")[0] for name in before if name.endswith(".train"))
    recipe.write_text(text.replace(f"{arm}:", "renamed:"))
    croco("run", recipe, "--until", "sample", check=0)
    after = links()
    assert not any(name.startswith(f"{arm}.") for name in after)
    assert {name for name in before if not name.startswith(f"{arm}.")} <= after


def test_where_an_artifact_was_made_is_in_its_provenance_and_no_secret_is(croco, recipes, tmp_path):
    resources = (
        'resources={"sample": {"batch_size": 3, "threads": 1,'
        ' "server": {"url": "http://me:secret@a.example/v1"}}}'
    )
    command = ["run", recipes / "fake.yaml", "--until", "sample", "--set", resources]
    croco(*command, check=0, OMP_NUM_THREADS="1")
    (path,) = (path for name, path in stages_of(tmp_path).items() if name.startswith("sample-"))
    found = json.loads(path.read_text())["provenance"]
    assert found["resources"]["batch_size"] == 3
    assert found["resources"]["server"]["url"] == "http://a.example/v1"
    assert found["environment"]["OMP_NUM_THREADS"] == "1"
    assert "secret" not in path.read_text()
