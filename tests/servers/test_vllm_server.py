"""A real vLLM server on loopback: chat completions, a classifier's rewards, and a server that dies."""

import json
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from lab import QUESTIONS, Proxy, Server, free_port

pytest.importorskip("vllm")
pytest.importorskip("openai")

from croco import engines, models, rewards
from croco.engines import Request
from croco.errors import EngineError
from croco.records import Candidate
from croco.reward_settings import RewardConfig
from croco.settings import Resources, Sampling
from croco.settings import Server as ServerSettings
from croco.tokens import load_tokenizer, prompt_ids

pytestmark = pytest.mark.model
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}


def vllm_server(folder, log, *options):
    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--enforce-eager", "--max-num-seqs", "16", *options]
    return Server(command, port, log, 300, **ENVIRONMENT)


@pytest.fixture(scope="module")
def policy():
    return models.resolve("smollm2-135m-instruct", Path())


@pytest.fixture(scope="module")
def chat_server(policy, tmp_path_factory):
    log = tmp_path_factory.mktemp("chat") / "log"
    server = vllm_server(
        models.fetch(policy), log, "--max-model-len", "256", "--served-model-name", "smol"
    )
    try:
        yield server.start()
    finally:
        server.kill()


def sampled(home):
    (path,) = home.glob("runs/served/sample/shard-*.parquet")
    return {row["id"]: row for row in pq.read_table(path).to_pylist()}


def engine_for(policy, server, **sampling):
    settings = Sampling(engine="openai", n=3, max_tokens=16, **sampling)
    resources = Resources(server=ServerSettings(url=server.url))
    return engines.load("openai", policy, settings, resources)


def answers(engine, request):
    ((reply,),) = list(engine.generate([[request]]))
    assert reply.error is None
    return reply, [(one.text, one.token_ids) for one in reply.completions]


def test_answers_have_the_servers_own_ids(chat_server, policy):
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi!"}]
    engine = engine_for(policy, chat_server)
    reply, found = answers(engine, Request(0, chat, [7, 8, 9], 1.0))
    tokenizer = load_tokenizer(policy)
    assert reply.prompt_ids == prompt_ids(tokenizer, chat)
    for text, ids in found:
        assert text == tokenizer.decode(ids, skip_special_tokens=True)
    assert reply.completion_tokens == sum(len(ids) for _, ids in found)
    _, again = answers(engine, Request(0, chat, [7, 8, 9], 1.0))
    alone = [answers(engine, Request(0, chat, [seed], 1.0))[1][0] for seed in (7, 8, 9)]
    assert found == again == alone, "answer k has the first's seed plus k"


def test_a_prompt_too_long_fails_its_row_with_the_servers_words(chat_server, policy):
    long = Request("long", [{"role": "user", "content": "word " * 400}], [1, 2, 3])
    fine = Request("fine", [{"role": "user", "content": "Hi!"}], [1, 2, 3])
    replies = [
        reply for part in engine_for(policy, chat_server).generate([[long, fine]]) for reply in part
    ]
    errors = {reply.request.key: reply.error for reply in replies}
    assert errors["fine"] is None
    assert isinstance(errors["long"], EngineError)
    assert "256" in str(errors["long"])


def test_a_server_that_dies_and_comes_back_loses_nothing(croco, recipe, chat_server, tmp_path):
    """Killed after some answers: the run ends with work owed, and the next asks only for the rest."""
    proxy = Proxy(chat_server.port)
    killed = threading.Event()

    def kill(number, path, body):
        if proxy.asked() == 4 and not killed.is_set():
            killed.set()
            chat_server.kill()

    proxy.fault = kill
    sample = {"n": 2, "max_tokens": 12}
    path = recipe(proxy.url, sample=sample, retries=1, concurrency=1)
    until = ("run", path, "--until", "sample")
    try:
        done = croco(*until, check=75)
        assert "server" in done.stderr
        kept = journalled(tmp_path)
        assert len(kept) == 3
        chat_server.start()
        before = proxy.asked()
        croco(*until, check=0)
        assert proxy.asked() - before == len(QUESTIONS) - 3, "nothing is asked twice"
    finally:
        proxy.close()
    rows = sampled(tmp_path)
    assert set(rows) == set(QUESTIONS)
    assert kept.items() <= {id: row["texts"] for id, row in rows.items()}.items()


def journalled(home):
    lines = [
        json.loads(line)
        for path in home.glob("store/sample-*/journals/*.jsonl")
        for line in path.read_text().splitlines()
    ]
    return {row["id"]: row["texts"] for line in lines for row in line["rows"]}


@pytest.fixture(scope="module")
def reward_server(reward_model, tmp_path_factory):
    options = ("--runner", "pooling", "--convert", "classify", "--max-model-len", "512")
    server = vllm_server(reward_model, tmp_path_factory.mktemp("rewards") / "log", *options)
    try:
        yield server.start()
    finally:
        server.kill()


def candidates():
    words = "rain bread Spain seven blue you it is and never".split()
    return [
        Candidate("en", "Why " + " ".join(words[: k % 7]) + "?", " ".join(words * (k % 5))[: 9 * k])
        for k in range(20)
    ]


def scorer_for(kind, folder, url=None, **server):
    resources = Resources(batch_size=3, server=ServerSettings(url=url, **server) if url else None)
    return rewards.load(RewardConfig(kind=kind, model=str(folder)), resources)


def test_rewards_over_http_are_those_of_transformers(reward_server, reward_model):
    found = scorer_for("server", reward_model, reward_server.url).score(candidates()).rewards
    expected = scorer_for("classifier", reward_model).score(candidates()).rewards
    assert found == pytest.approx(expected, abs=1e-3)
    assert max(found) - min(found) > 0.1


def test_a_busy_or_broken_classifier_is_asked_again_and_garbage_refused(
    reward_server, reward_model
):
    proxy = Proxy(reward_server.port)
    try:
        faults = [(429, {"Retry-After": "1"}, b"{}"), "drop", (503, {}, b"{}")]
        proxy.fault = lambda *_: faults.pop() if faults else None
        scorer = scorer_for("server", reward_model, proxy.url)
        expected = scorer_for("server", reward_model, reward_server.url).score(candidates()).rewards
        assert scorer.score(candidates()).rewards == expected
        for garbage in (b"<html>", b"[1]", b'{"data": []}', b'{"data": [{"index": 0}]}'):
            proxy.fault = lambda *_, body=garbage: (200, {"Content-Type": "application/json"}, body)
            with pytest.raises(EngineError):
                scorer.score(candidates())
    finally:
        proxy.close()


def test_a_classifier_that_dies_in_a_run_leaves_its_rows_owed(
    croco, recipe, reward_server, reward_model, tmp_path
):
    proxy = Proxy(reward_server.port)
    scored = lambda: sum(path == "/classify" for _, path, _ in proxy.seen)  # noqa: E731
    killed = threading.Event()

    def kill(number, path, body):
        if scored() == 3 and not killed.is_set():
            killed.set()
            reward_server.kill()

    proxy.fault = kill
    path = recipe(
        "",
        sample={"engine": "fake", "n": 2},
        reward={"kind": "server", "model": str(reward_model)},
        resources={
            "score": {"batch_size": 1, "server": {"url": proxy.url, "retries": 1, "concurrency": 1}}
        },
    )
    until = ("run", path, "--until", "score")
    try:
        croco(*until, check=75)
        reward_server.start()
        before = scored()
        croco(*until, check=0)
        assert scored() - before < 2 * len(QUESTIONS)
    finally:
        proxy.close()
    (shard,) = tmp_path.glob("runs/served/score/shard-*.parquet")
    rows = pq.read_table(shard).to_pylist()
    assert {row["id"] for row in rows} == set(QUESTIONS)
