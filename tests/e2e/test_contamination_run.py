"""Contamination in a run and on the command line: told, shown in the report, and refused with --strict."""

import json

import pytest
import yaml
from exits import refused

SENTENCE = "Explain to a child of seven why the moon seems to follow us when we drive at night"
SPANISH = (
    "Explica a un niño de siete años por qué la luna parece seguirnos cuando viajamos de noche"
)
TRAIN = [
    {"id": "t1", "lang": "en", "prompt": "How do bees find their way home?"},
    {"id": "t1", "lang": "es", "prompt": "¿Cómo encuentran las abejas el camino a casa?"},
    {"id": "t2", "lang": "en", "prompt": "Why does the moon come with us?"},
    {"id": "t2", "lang": "es", "prompt": f"Por favor: {SPANISH}. ¡Gracias!"},
]
HELD = [
    {"id": "h1", "lang": "en", "prompt": SENTENCE},
    {"id": "h1", "lang": "es", "prompt": SPANISH},
    {"id": "h2", "lang": "en", "prompt": "What is a castle?"},
    {"id": "h2", "lang": "es", "prompt": "¿Qué es un castillo?"},
]


@pytest.fixture
def project(tmp_path, recipes):
    """Writes a recipe over two prompt files; gives its path."""

    def write(train=TRAIN, **more):
        for name, rows in (("train", train), ("held", HELD)):
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        values = yaml.safe_load((recipes / "fake.yaml").read_text()) | {
            "languages": ["en", "es"],
            "prompts": {"train": ["train.jsonl"], "heldout": ["held.jsonl"]},
        }
        values["arms"] = {"dpo": values["arms"]["dpo-monolingual"]}
        values["arms"]["dpo"]["train"] |= {"batch_size": 1, "epochs": 20}  # no warning of few steps
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values | more))
        return tmp_path / "recipe.yaml"

    return write


def test_it_is_told_and_shown_and_the_run_goes_on(croco, project, tmp_path):
    done = croco("run", project(), check=0)
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert "1 held-out prompt can be known" in warning
    assert "'t2' and 'h1'" in warning
    assert done.stdout.strip().endswith("index.html")
    found = json.loads((tmp_path / "runs/fake/report/summary.json").read_text())["contamination"]
    assert (found["pairs"], found["prompts"], found["of"]) == (1, 1, 2)
    assert found["languages"] == {"es": {"ngram": 1}}
    assert found["examples"][0]["train_id"] == "t2"
    page = (tmp_path / "runs/fake/report/index.html").read_text()
    assert "1 of 2 held-out prompts can be known from training prompts" in page
    shown = [json.loads(line) for line in croco("show", "fake", "h1", check=0).stdout.splitlines()]
    assert "contamination" in {row["stage"] for row in shown}


@pytest.mark.parametrize("until", [(), ("--until", "sample")])
def test_strict_refuses_before_anything_is_sampled(croco, project, tmp_path, until):
    done = croco("run", project(), "--strict", *until)
    refused(done, "'t2' and 'h1'", "take one of each pair out, or run without --strict")
    assert {p.name.partition("-")[0] for p in tmp_path.glob("store/*-*")} == {
        "prompts",
        "contamination",
    }
    again = croco("run", project(), "--strict", *until)
    assert again.returncode == 2, "what was found once is refused each time"


def test_strict_lets_clean_prompts_pass_and_changes_no_identity(croco, project, tmp_path):
    croco("run", project(TRAIN[:2]), "--strict", check=0)
    assert "nothing to do" in croco("run", project(TRAIN[:2]), check=0).stderr
    lines = croco("plan", project(TRAIN[:2]), check=0).stdout.splitlines()
    assert all(line.startswith("done") for line in lines)


def test_languages_that_the_recipe_does_not_use_are_compared_too(croco, project):
    path = project(languages=["en"], name="english")
    refused(croco("run", path, "--strict"), "'t2' and 'h1'")


def translated(project, said, train, **more):
    """A recipe over a model that says the same in Spanish of whatever it is to translate."""
    path = project(train)
    (path.parent / "toy.py").write_text(
        "from croco.engines import Reply\n"
        "from croco.records import Completion\n"
        "class Toy:\n"
        "    context_length = None\n"
        "    def __init__(self, policy, sampling, resources, adapter=None): pass\n"
        "    def encode(self, chat): return []\n"
        "    def generate(self, batches):\n"
        "        for batch in batches:\n"
        f"            text = '<translation>{said}</translation>'\n"
        "            yield [Reply(r, [], [Completion(text, [], 'stop')]) for r in batch]\n"
    )
    prompt = {"engine": "toy:Toy", "model": "fake", "template": "bundled:translate.yaml"}
    checks = {"min_length_ratio": 0.0, "max_length_ratio": 99.0, "threshold": 0.0}
    translate = {"translator": "prompt", "prompt": prompt, "checks": checks}
    return project(train, languages=["es"], translate=translate, **more)


def test_prompts_are_compared_as_they_were_written_before_any_is_translated(
    croco, project, tmp_path
):
    train = [{"id": "t9", "lang": "en", "prompt": f"Please help me. {SENTENCE}. Thanks."}]
    done = croco("run", translated(project, "Un texto cualquiera", train), "--strict")
    refused(done, "'t9' and 'h1'")
    assert not list(tmp_path.glob("store/translate-*"))


def test_translations_are_compared_too(croco, project, tmp_path):
    train = [{"id": "t9", "lang": "en", "prompt": "Why does the moon come with us?"}]
    path = translated(project, SPANISH, train)
    refused(croco("run", path, "--strict"), "'t9' and 'h1'")
    assert list(tmp_path.glob("store/translate-*"))
    assert not list(tmp_path.glob("store/sample-*"))
    assert croco("run", path, check=0).stderr.count("warning: ") == 1
    found = json.loads((tmp_path / "runs/fake/report/summary.json").read_text())["contamination"]
    assert found["languages"] == {"es": {"exact": 1}}


def test_the_verb_prints_a_row_for_each_pair(croco, project, tmp_path):
    project()
    done = croco("contamination", "train.jsonl", "--against", "held.jsonl", check=0)
    (row,) = map(json.loads, done.stdout.splitlines())
    assert (row["id"], row["train_id"], row["lang"], row["kind"]) == ("h1", "t2", "es", "ngram")
    assert "warning: 1 held-out prompt" in done.stderr
    strict = croco("contamination", "train.jsonl", "--against", "held.jsonl", "--strict")
    assert strict.returncode == 2
    english = ("--against", "held.jsonl", "--lang", "en")
    assert croco("contamination", "train.jsonl", *english, check=0).stdout == ""
    for tag in ("ES", "spa"):
        asked = ("--against", "held.jsonl", "--lang", tag)
        assert croco("contamination", "train.jsonl", *asked, check=0).stdout == done.stdout
    for tag in ("xx", "de", "not a tag"):  # no prompts: no verdict
        asked = ("--against", "held.jsonl", "--lang", tag)
        refused(croco("contamination", "train.jsonl", *asked), tag)
    both = ("--lang", "en", "--lang", "de", "--against", "held.jsonl")
    refused(croco("contamination", "train.jsonl", *both), "de")
    (tmp_path / "empty.jsonl").write_text("")
    refused(croco("contamination", "train.jsonl", "--against", "empty.jsonl"), "empty.jsonl")
    missing = croco("contamination", "gone.jsonl", "--against", "held.jsonl")
    refused(missing, "gone.jsonl")
    hub = f"hub:owner/name@{'0' * 40}"
    refused(croco("contamination", "train.jsonl", "--against", hub), "say which ones are wanted")


def test_repaired_prompts_are_counted_in_the_report(croco, project, tmp_path):
    train = [*TRAIN[:2], {"id": "t3", "lang": "en", "prompt": "Is it Jo's?"}]
    train += [{"id": "t3", "lang": "es", "prompt": "¿Es &quot;de Jo&quot;?"}]
    croco("run", project(train), check=0)
    found = json.loads((tmp_path / "runs/fake/report/summary.json").read_text())
    assert found["repaired_escapes"] == {"prompts-train": {"es": 1}}
    assert "Repaired prompts" in (tmp_path / "runs/fake/report/index.html").read_text()
