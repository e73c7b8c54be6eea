"""Which files the digest of named code covers."""

import importlib
import json
from importlib.resources import files

import pytest

from croco import plugins, sources
from croco.errors import RecipeError

FILES = {
    "top.py": "import beside, os, json\nfrom pack import inner\nfrom nowhere_at_all import x\n",
    "beside.py": "def late():\n    import deep\n",
    "deep.py": "import top\n",
    "pack/__init__.py": "",
    "pack/inner.py": "from . import sibling\nfrom .other import thing\n",
    "pack/sibling.py": "",
    "pack/other.py": "thing = 1\n",
    "apart.py": "",
    "data/one.txt": "1",
    "data/more/two.txt": "2",
    "reads.py": "CROCO_READS: list[str] = ['data', 'deep.txt']\n",
    "deep.txt": "3",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return tmp_path


@pytest.mark.parametrize(
    ("module", "covered"),
    [
        ("top", {"top.py", "beside.py", "deep.py", *(n for n in FILES if n.startswith("pack/"))}),
        ("pack.inner", {n for n in FILES if n.startswith("pack/")} - {"pack/__init__.py"}),
        ("apart", {"apart.py"}),
        ("reads", {"reads.py", "data/one.txt", "data/more/two.txt", "deep.txt"}),
    ],
)
def test_the_digest_changes_with_all_that_the_code_is_made_of_and_nothing_else(
    project, module, covered
):
    before = sources.digest(module)
    changed = set()
    for name, text in FILES.items():
        (project / name).write_text(text + "# edited\n")
        if sources.digest(module) != before:
            changed.add(name)
        (project / name).write_text(text)
    assert changed >= covered
    assert changed - covered <= {"pack/__init__.py"}
    assert sources.digest(module) == before


def test_a_moved_project_has_the_same_digest(project, tmp_path_factory, monkeypatch):
    before = sources.digest("top")
    other = tmp_path_factory.mktemp("moved") / "here"
    project.rename(other)
    monkeypatch.syspath_prepend(str(other))
    importlib.invalidate_caches()
    assert sources.digest("top") == before


def test_the_bundled_judge_is_made_of_the_preferences_that_it_is_fitted_to():
    origin = sources._origin("croco.rewards.relevance")
    found = {}
    sources._gather(origin, "croco.rewards.relevance", None, found)
    data = files("croco") / "data" / "preferences-train.jsonl"
    assert {str(path) for path in found} == {str(origin), str(data)}
    assert json.loads(data.read_text(encoding="utf-8").splitlines()[0])["chosen"]


def test_code_that_was_loaded_before_an_edit_is_not_taken_for_the_edited(project):
    (project / "loaded_once.py").write_text("value = 1\n")
    name = "loaded_once:value"
    plugins.expect({name: plugins.source_digest(name)})
    assert plugins.load_class(name, {}, "function") == 1
    (project / "loaded_once.py").write_text("value = 23\n")
    assert plugins.load_class(name, {}, "function") == 1  # still what the identity means
    plugins.expect({name: plugins.source_digest(name)})
    with pytest.raises(RecipeError, match="edited"):
        plugins.load_class(name, {}, "function")
    plugins.expect({})
