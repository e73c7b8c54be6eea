"""Prompts translated in a run: by Apertium, and by an engine that answers a template."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

needs_apertium = pytest.mark.skipif(
    not Path("/usr/share/apertium/modes/eng-spa.mode").exists(), reason="Apertium is not installed"
)
#: py3langid takes short Galician texts for Portuguese.
APERTIUM = {"translator": "apertium", "checks": {"threshold": 0.02}}
SYSTEM = [{"role": "system", "content": "You are a friendly teacher."}]
PROMPTS = [
    {"id": "1", "lang": "en", "prompt": "Where can I buy bread and milk in this city?"},
    {
        "id": "2",
        "lang": "en",
        "prompt": "How many legs does a spider have? Answer with `int`, {name}.",
    },
    {"id": "2", "lang": "es", "prompt": "¿Cuántas patas tiene una araña?"},
    {
        "id": "3",
        "lang": "en",
        "messages": [
            *SYSTEM,
            {"role": "user", "content": "What is the capital of France?"},
            {"role": "assistant", "content": "The capital of France is Paris."},
            {"role": "user", "content": "And how many people live in that city?"},
        ],
    },
]


@pytest.fixture
def project(tmp_path, recipes):
    """Writes a recipe with a `translate` section; gives its path."""

    def write(translate, prompts=PROMPTS, **more):
        values = yaml.safe_load((recipes / "fake.yaml").read_text())
        held = [row | {"id": f"h{row['id']}"} for row in prompts if "prompt" in row]
        held = [row | {"prompt": f"{row['prompt']} Thank you."} for row in held]
        for name, rows in (("train", prompts), ("held", held)):
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        values |= {
            "languages": ["en", "es", "gl"],
            "prompts": {"train": ["train.jsonl"], "heldout": ["held.jsonl"]},
            "translate": translate,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(values | more))
        return path

    return write


def translated(home, which="train"):
    rows = {}
    for path in sorted(home.glob(f"runs/fake/translate-{which}/shard-*.parquet")):
        rows |= {(row["id"], row["lang"]): row for row in pq.read_table(path).to_pylist()}
    return rows


@needs_apertium
def test_apertium_translates_what_is_missing_and_nothing_else(croco, project, tmp_path):
    croco("run", project(APERTIUM), check=0)
    rows = translated(tmp_path)
    assert set(rows) == {(id, lang) for id in "123" for lang in ("en", "es", "gl")}
    assert rows["1", "en"]["prompt"] == PROMPTS[0]["prompt"]
    assert rows["2", "es"]["prompt"] == PROMPTS[2]["prompt"], "what exists is not translated"
    assert (rows["2", "es"]["source"], rows["2", "es"]["attempts"]) == ("", 0)
    assert "pan" in rows["1", "es"]["prompt"]
    assert (rows["1", "es"]["source"], rows["1", "es"]["attempts"]) == ("en", 1)
    assert "`int`, {name}" in rows["2", "gl"]["prompt"]
    turns = rows["3", "es"]["before"]
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant"]
    assert "Francia" in turns[1]["content"]
    assert "París" in turns[2]["content"]
    assert "ciudad" in rows["3", "es"]["prompt"]
    shown = croco("show", "fake", "3", "--lang", "es", check=0).stdout.splitlines()
    assert len(shown) > 5, "the conversation went all the way"


@needs_apertium
def test_a_failing_translation_stays_owed_with_its_checks_and_the_others_are_kept(
    croco, project, tmp_path
):
    odd = [
        *PROMPTS,
        {"id": "4", "lang": "en", "prompt": "Blorptastic frumious mimsy borogoves outgrabe."},
    ]
    done = croco("run", project(APERTIUM, odd), check=75)
    assert "2 rows failed" in done.stderr
    failed = [
        failure
        for path in tmp_path.glob("store/translate-*/journals/*.jsonl")
        for line in path.read_text().splitlines()
        for failure in json.loads(line)["failures"]
    ]
    assert {(one["id"], one["lang"]) for one in failed} == {("4", "es"), ("4", "gl")}
    assert all("unknown" in one["checks"] for one in failed)
    allowed = croco("run", project(APERTIUM, odd, allow_failed=0.5), check=0)
    assert "index.html" in allowed.stdout
    summary = json.loads((tmp_path / "runs/fake/report/summary.json").read_text())
    spanish = next(
        one
        for one in summary["translation"]
        if (one["lang"], one["stage"]) == ("es", "translate-train")
    )
    assert spanish["checks"]["unknown"] == 1
    assert spanish == {
        "stage": "translate-train",
        "lang": "es",
        "prompts": 4,
        "existing": 1,
        "translated": 2,
        "second_attempt": 0,
        "failed": 1,
        "unknown_words": 0,
        "checks": spanish["checks"],
    }


def test_an_engine_translates_and_what_fails_is_tried_once_more(croco, project, tmp_path):
    """A model that copies its source the first time, and answers well at another temperature."""
    (tmp_path / "toy.py").write_text(
        "from croco.engines import Reply\n"
        "from croco.records import Completion\n"
        "class Toy:\n"
        "    context_length = None\n"
        "    def __init__(self, policy, sampling, resources, adapter=None): pass\n"
        "    def encode(self, chat): return []\n"
        "    def generate(self, batches):\n"
        "        for batch in batches:\n"
        "            yield [Reply(r, [], [self.answer(r)]) for r in batch]\n"
        "    def answer(self, r):\n"
        "        said = r.chat[-1]['content']\n"
        "        text = said.split('<text>')[1].split('</text>')[0].strip()\n"
        "        if r.temperature: text = '¿Dónde puedo comprar el pan y la leche en esta ciudad?'\n"
        "        return Completion(f'Sure! <translation>{text}</translation>', [], 'stop')\n"
    )
    prompt = {"engine": "toy:Toy", "model": "fake", "template": "bundled:translate.yaml"}
    path = project({"translator": "prompt", "prompt": prompt}, PROMPTS[:1], languages=["en", "es"])
    croco("run", path, "--until", "translate", check=0)
    row = translated(tmp_path)["1", "es"]
    assert row["prompt"] == "¿Dónde puedo comprar el pan y la leche en esta ciudad?"
    assert row["attempts"] == 2


def test_a_template_that_asks_for_what_there_is_not_is_refused(croco, project, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "version: 1\nmessages: [{role: user, content: 'To {{ tongue }}: {{ text }}'}]\n"
    )
    prompt = {"engine": "fake", "model": "fake", "template": "mine.yaml"}
    done = croco("run", project({"translator": "prompt", "prompt": prompt}), check=2)
    assert "mine.yaml" in done.stderr
    assert "'tongue' is undefined" in done.stderr


def test_a_changed_template_is_another_identity(croco, project, tmp_path):
    text = "version: 1\nmessages: [{role: user, content: 'Translate: {{ text }}'}]\n"
    prompt = {"engine": "fake", "model": "fake", "template": "mine.yaml"}
    path = project({"translator": "prompt", "prompt": prompt})
    plans = []
    for words in (text, text, text.replace("Translate", "Please translate")):
        (tmp_path / "mine.yaml").write_text(words)
        plans.append(croco("plan", path, check=0).stdout)
    assert plans[0] == plans[1] != plans[2]


def test_a_prompt_without_its_source_is_named(croco, project):
    rows = [{"id": "9", "lang": "es", "prompt": "¿Qué?"}]
    done = croco("run", project(APERTIUM, rows), check=2)
    assert "'9'" in done.stderr
    assert "'en'" in done.stderr
