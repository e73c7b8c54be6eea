"""Held-out prompts from a hub: a small server that speaks the hub's protocol, and its real client."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exits import refused

from croco.datafiles import read_prompts, refer_prompts

DATASET, COMMIT = "CohereLabs/m-ArenaHard-v2.1", "1234567890abcdef" * 2 + "12345678"
HUB = f"hub:{DATASET}@{COMMIT}"
TEXTS = {
    "en": {"a": 'Say "hi" & wave', "b": "What does &amp;lt; mean in HTML?"},
    "fr": {
        "a": "Dites &quot;salut&quot; &amp; saluez",
        "b": "Que veut dire &amp;lt; en l&#39;HTML ?",
    },
    "cy": {"a": "Dywedwch helo", "b": "Beth yw &amp;lt; mewn HTML?"},
}


def arena_folder(folder: Path, languages=TEXTS) -> Path:
    """A folder in the hub's shape."""
    for lang in languages:
        rows = [
            {"question_id": id, "category": "hard_prompt", "prompt": text, "language": lang}
            for id, text in TEXTS[lang].items()
        ]
        (folder / lang).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / lang / "test-00000-of-00001.parquet")
    return folder


class Hub(BaseHTTPRequestHandler):
    """Lists a folder's files and hands them out; `asked` are the paths it was asked for."""

    folder: Path
    asked: list[str]

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer()

    def answer(self, body=True):
        path = self.path.partition("?")[0]
        type(self).asked.append(path)
        files = [p.relative_to(self.folder) for p in self.folder.glob("*/*.parquet")]
        api, resolve = f"/api/datasets/{DATASET}", f"/datasets/{DATASET}/resolve/{COMMIT}/"
        if path == f"{api}/revision/{COMMIT}":
            siblings = [{"rfilename": str(name)} for name in files]
            return self.send({"id": DATASET, "sha": COMMIT, "siblings": siblings}, body)
        if path == f"{api}/tree/{COMMIT}":
            told = [{"type": "file", "path": str(n), "size": 1, "oid": "0"} for n in files]
            return self.send(told, body)
        if path.startswith(resolve) and (file := self.folder / path.removeprefix(resolve)).exists():
            return self.send(file.read_bytes(), body)
        return self.send_error(404)

    def send(self, content, body):
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def hub(tmp_path):
    """The server's environment for the client, and what it was asked for."""
    handler = type("Handler", (Hub,), {"folder": arena_folder(tmp_path / "hub"), "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        yield {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "cache")}, handler.asked
        server.shutdown()


def overrides(*languages):
    held = f"prompts.heldout=['{HUB}']"
    return ("--set", held, "--set", f"languages=[{','.join(languages)}]")


def test_only_the_languages_that_are_needed_are_fetched_and_kept(croco, recipes, hub, tmp_path):
    env, asked = hub
    done = croco("run", recipes / "fake.yaml", *overrides("fr"), "--until", "prompts", **env)
    assert done.returncode == 0, done.stderr
    fetched = {path.split("/")[-2] for path in asked if path.endswith(".parquet")}
    assert fetched == {"en", "fr"}, "English tells which escapes are meant"
    files = tmp_path.glob("runs/fake/prompts-heldout/shard-*.parquet")
    rows = {(r["id"], r["lang"]): r["prompt"] for p in files for r in pq.read_table(p).to_pylist()}
    assert rows == {
        ("a", "fr"): 'Dites "salut" & saluez',
        ("b", "fr"): "Que veut dire &amp;lt; en l'HTML ?",
    }
    asked.clear()
    other = ("--set", "prompts.heldout_limit=1", "--until", "prompts")
    offline = env | {"HF_HUB_OFFLINE": "1"}
    croco("run", recipes / "fake.yaml", *overrides("fr"), *other, check=0, **offline)
    assert asked == []


def test_planning_asks_the_hub_nothing(croco, recipes, hub):
    env, asked = hub
    croco("plan", recipes / "fake.yaml", *overrides("fr"), check=0, **env)
    assert asked == []


def test_a_language_that_the_data_set_lacks_is_named(croco, recipes, hub):
    env, _ = hub
    done = croco("run", recipes / "fake.yaml", *overrides("fr", "ga"), **env)
    refused(done, f"hub:{DATASET}@12345678", "no prompts in 'ga'")
    done = croco("run", recipes / "fake.yaml", *overrides("fr", "ga"), **env, HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert "run once where the hub can be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_network_and_copy_nothing_is_written(croco, recipes, tmp_path):
    env = {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    done = croco("run", recipes / "fake.yaml", *overrides("fr"), **env)
    assert done.returncode == 1
    assert "cannot be had from the hub in en, fr" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", [f"hub:{DATASET}", f"hub:{DATASET}@main"])
def test_a_data_set_without_a_commit_is_refused_with_how_to_pin_it(croco, recipes, name):
    done = croco("plan", recipes / "fake.yaml", "--set", f"prompts.heldout=['{name}']")
    refused(done, "is not pinned", f"huggingface.co/datasets/{DATASET}/commits/main")


def test_a_folder_of_the_same_shape_is_read_alike(tmp_path):
    arena_folder(tmp_path / "arena")
    ref = refer_prompts("arena", tmp_path)
    assert {row.key for row in read_prompts([ref], {"cy"})} == {("a", "cy"), ("b", "cy")}
    assert {row.lang for row in read_prompts([ref])} == {"en", "fr", "cy"}
    before = ref.model_dump(mode="json")
    (tmp_path / "arena" / "fr").rename(tmp_path / "arena" / "ga")
    assert refer_prompts("arena", tmp_path).model_dump(mode="json") != before


def test_the_recipe_of_the_paper_plans_once_it_is_pinned(croco, recipes):
    refused(croco("plan", recipes / "m-arenahard.yaml"), "is not pinned")
    override = ("--set", f"prompts.heldout=['{HUB}']")
    done = croco("plan", recipes / "m-arenahard.yaml", *override, HF_HUB_OFFLINE="1", check=0)
    assert "contamination" in done.stdout
