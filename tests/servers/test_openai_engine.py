"""The openai engine against a real llama.cpp server: answers, faults on the way, and a server that dies."""

import itertools
import json
import threading
import time

import pyarrow.parquet as pq
import pytest
from lab import ANSWERS, QUESTIONS

pytest.importorskip("xllamacpp")
pytest.importorskip("openai")
pytest.importorskip("transformers")
pytestmark = pytest.mark.model

HTML = (200, {"Content-Type": "text/html"}, b"<html>Welcome to the hotel's network</html>")


def sampled(home):
    (path,) = home.glob("runs/served/sample/shard-*.parquet")
    return {row["id"]: row for row in pq.read_table(path).to_pylist()}


def journalled(home):
    lines = [
        json.loads(line)
        for path in home.glob("store/sample-*/journals/*.jsonl")
        for line in path.read_text().splitlines()
    ]
    return [row for line in lines for row in line["rows"]]


def run(croco, path, check, *more, **env):
    return croco("run", path, "--until", "sample", *more, check=check, **env)


def as_json(value):
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def test_every_prompt_gets_its_answers_with_ids_and_counts(croco, recipe, proxy, tmp_path):
    from croco.models import resolve
    from croco.tokens import end_of_turn, load_tokenizer, prompt_ids

    path = recipe(proxy.url, price={"prompt": 100, "completion": 200})
    done = run(croco, path, 0, OPENAI_API_KEY="sk-a-secret")
    rows = sampled(tmp_path)
    assert set(rows) == set(QUESTIONS)
    assert proxy.asked() == len(QUESTIONS), "n answers come of one request"
    tokenizer = load_tokenizer(resolve("smollm2-135m-instruct", tmp_path))
    end = end_of_turn(tokenizer)
    for id, row in rows.items():
        chat = [{"role": "user", "content": QUESTIONS[id]}]
        assert row["prompt_ids"] == prompt_ids(tokenizer, chat)
        assert len(row["texts"]) == len(row["token_ids"]) == 3
        assert row["prompt_tokens"] > 0
        assert row["completion_tokens"] >= 3
        for text, ids, reason in zip(
            row["texts"], row["token_ids"], row["finish_reasons"], strict=True
        ):
            assert (ids[-1] == end) == (reason == "stop")
            assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert "tokens for" in done.stderr
    assert "$" in done.stderr
    assert not any("sk-a-secret" in f.read_text(errors="replace") for f in files(tmp_path))
    assert "nothing to do" in run(croco, path, 0).stderr


def files(home):
    return [path for path in home.rglob("*") if path.is_file()]


def test_where_the_server_gives_fewer_answers_at_once_the_rest_is_asked_for(
    croco, recipe, proxy, tmp_path
):
    """llama.cpp refuses more answers than it decodes at a time, which are 4 here."""
    questions = dict(list(QUESTIONS.items())[:2])
    run(croco, recipe(proxy.url, questions, {"n": 6, "max_tokens": 8}), 0)
    many = sampled(tmp_path)
    assert [len(row["texts"]) for row in many.values()] == [6, 6]
    bodies = [json.loads(body) for _, path, body in proxy.seen if path == ANSWERS]
    assert {body["n"] for body in bodies} == {6, 1}
    seeds = [body["seed"] for body in bodies if body["n"] == 1]
    assert len(set(seeds)) == 12, "every answer has a seed of its own"


def test_answers_one_by_one_are_the_answers_of_one_request(croco, recipe, proxy, tmp_path):
    """The seed of answer k is the first's plus k in both cases."""
    questions = dict(list(QUESTIONS.items())[:2])
    run(croco, recipe(proxy.url, questions), 0)
    together = sampled(tmp_path)

    def one_at_most(number, path, body):
        return (400, {}, b'{"error": {"message": "n must be 1"}}') if body.get("n", 1) > 1 else None

    proxy.fault = one_at_most
    other = tmp_path / "other"
    run(croco, recipe(proxy.url, questions), 0, "--home", other)
    alone = sampled(other)
    assert {id: row["texts"] for id, row in alone.items()} == {
        id: row["texts"] for id, row in together.items()
    }


def test_a_busy_server_is_waited_for_as_long_as_it_says(croco, recipe, proxy, tmp_path):
    def busy(number, path, body):
        if path != ANSWERS or proxy.asked() > 4:
            return None
        return 429, {"Retry-After": "2"}, b'{"error": {"message": "slow down"}}'

    proxy.fault = busy
    run(croco, recipe(proxy.url, dict(list(QUESTIONS.items())[:1])), 0)
    times = [when for when, path, _ in proxy.seen if path == ANSWERS]
    assert len(times) == 5
    assert all(later - sooner >= 1.9 for sooner, later in itertools.pairwise(times))


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, "drop"])
def test_what_may_pass_is_tried_again(croco, recipe, proxy, tmp_path, status):
    def first(number, path, body):
        if path != ANSWERS or proxy.asked() > 1:
            return None
        return status if status == "drop" else (status, {}, b"{}")

    proxy.fault = first
    run(croco, recipe(proxy.url, dict(list(QUESTIONS.items())[:1])), 0)
    assert proxy.asked() == 2
    assert len(sampled(tmp_path)["a"]["texts"]) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_stays_busy_stops_the_run_and_fails_no_row(
    croco, recipe, proxy, tmp_path, status
):
    def busy(number, path, body):
        return (status, {"Retry-After": "0"}, b"{}") if path == ANSWERS else None

    proxy.fault = busy
    path = recipe(proxy.url, retries=1, concurrency=1)
    assert f"busy or down ({status}" in run(croco, path, 75).stderr
    assert proxy.asked() == 2, "the first request and its retry"
    proxy.fault = lambda *_: None
    run(croco, path, 0)
    assert set(sampled(tmp_path)) == set(QUESTIONS)


def test_a_server_that_stays_silent_stops_the_run(croco, recipe, proxy, tmp_path):
    proxy.fault = lambda number, path, body: time.sleep(3) if path == ANSWERS else None
    path = recipe(proxy.url, retries=0, concurrency=1, timeout=1)
    assert "gave no answer in 1 s" in run(croco, path, 75).stderr
    assert not journalled(tmp_path)


CHOICE = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (HTML, "not a chat completion"),
        (as_json([1, 2]), "not"),
        (as_json({"hello": 1}), "not a chat completion"),
        (as_json({"choices": []}), "gave 0 answers"),
        (as_json({"choices": [CHOICE] * 9}), "gave 9 answers"),
        (as_json({"choices": [{"index": 0}]}), "not what was asked"),
        (
            as_json({"choices": [CHOICE | {"finish_reason": "content_filter"}] * 3}),
            "content_filter",
        ),
        (
            as_json({"choices": [CHOICE | {"message": {"content": "\ud800"}}] * 3}),
            "half a character",
        ),
        (as_json({"choices": [CHOICE | {"message": {"content": [5]}}] * 3}), "no text"),
        ((200, {"Content-Type": "application/json"}, b'{"choices": ['), "not"),
        ((400, {}, b'{"error": {"message": "too long, sorry"}}'), "too long, sorry"),
        ((404, {}, b'{"error": {"message": "no such model"}}'), "no such model"),
    ],
)
def test_garbage_fails_its_row_with_the_reason_and_never_the_run(
    croco, recipe, proxy, tmp_path, answer, reason
):
    def garbage(number, path, body):
        wanted = path == ANSWERS and "spider" in body["messages"][-1]["content"]
        return answer if wanted else None

    proxy.fault = garbage
    path = recipe(proxy.url)
    done = run(croco, path, 75)
    assert "1 rows failed" in done.stderr
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    kept = {row["id"]: row for row in journalled(tmp_path)}
    assert set(kept) == set(QUESTIONS) - {"f"}
    proxy.fault = lambda *_: None
    run(croco, path, 0)
    rows = sampled(tmp_path)
    assert set(rows) == set(QUESTIONS)
    assert all(rows[id]["texts"] == row["texts"] for id, row in kept.items())


def test_a_prompt_that_is_too_long_for_the_server_fails_alone(croco, recipe, llama, tmp_path):
    done = run(croco, recipe(llama.url, QUESTIONS | {"long": "word " * 500}), 75)
    assert "1 rows failed" in done.stderr
    assert "context" in done.stderr
    assert len(journalled(tmp_path)) == len(QUESTIONS)


def test_a_refused_key_stops_the_run_at_once(croco, recipe, proxy):
    proxy.fault = lambda *_: (401, {}, b'{"error": {"message": "Incorrect API key: sk-12345"}}')
    done = run(croco, recipe(proxy.url, key="MY_KEY", model="m"), 1, MY_KEY="sk-12345")
    assert "MY_KEY" in done.stderr
    assert "sk-12345" not in done.stderr
    assert proxy.asked() <= 2 * 3


def test_a_server_that_is_not_there_leaves_the_rows_owed(croco, recipe):
    done = run(croco, recipe("http://127.0.0.1:9/v1", retries=1), 75)
    assert "does not answer" in done.stderr
    assert "start it and run again" in done.stderr


def test_the_engine_says_where_the_servers_address_is_missing(croco, recipe):
    path = recipe("http://127.0.0.1:9/v1")
    done = run(croco, path, 2, "--set", "resources.sample={}")
    assert "resources.sample.server.url" in done.stderr


def test_a_server_killed_in_mid_run_loses_nothing(croco, recipe, llama, proxy, tmp_path):
    """Killed after some answers: the run ends with what it has; started again, it asks for the rest."""

    def die(number, path, body):
        if proxy.asked() == 4:
            llama.kill()
        return None if proxy.asked() < 4 else "drop"

    proxy.fault = die
    path = recipe(proxy.url, retries=1, concurrency=1)
    try:
        done = run(croco, path, 75)
    finally:
        proxy.fault = lambda *_: None
        llama.start()
    assert "does not answer" in done.stderr
    kept = {row["id"]: row["texts"] for row in journalled(tmp_path)}
    assert len(kept) == 3
    before = proxy.asked()
    run(croco, path, 0)
    rows = {id: row["texts"] for id, row in sampled(tmp_path).items()}
    assert set(rows) == set(QUESTIONS)
    assert rows | kept == rows, "what was kept is as it was"
    assert proxy.asked() - before == len(QUESTIONS) - 3, "nothing is asked for twice"


def test_a_server_that_comes_back_soon_is_waited_for(croco, recipe, llama, proxy, tmp_path):
    restarted = threading.Event()

    def back():
        time.sleep(2)
        llama.start()
        restarted.set()

    def die(number, path, body):
        if proxy.asked() == 3 and not restarted.is_set():
            llama.kill()
            threading.Thread(target=back).start()
        return "drop" if llama.process.poll() is not None else None

    proxy.fault = die
    run(croco, recipe(proxy.url, concurrency=1), 0)
    assert restarted.wait(60)
    assert set(sampled(tmp_path)) == set(QUESTIONS)


def test_a_row_that_grew_has_the_answers_of_a_fresh_one(croco, recipe, proxy, tmp_path):
    questions = dict(list(QUESTIONS.items())[:2])
    path, other = recipe(proxy.url, questions), tmp_path / "other"
    for n, home in ((2, tmp_path), (4, tmp_path), (4, other)):
        run(croco, path, 0, "--set", f"sample.n={n}", "--home", home)
    grown, fresh = sampled(tmp_path), sampled(other)
    asked = [json.loads(body) for _, where, body in proxy.seen if where == ANSWERS]
    assert sorted(body["n"] for body in asked) == [2, 2, 2, 2, 4, 4]
    for id, row in fresh.items():
        for column in ("texts", "token_ids", "finish_reasons", "prompt_ids"):
            assert grown[id][column] == row[column]
    run(croco, path, 0, "--set", "sample.n=1")
    for id, row in sampled(tmp_path).items():
        assert len(row["texts"]) == 1
        assert row["prompt_tokens"] == grown[id]["prompt_tokens"] > 0
        assert 0 < row["completion_tokens"] < grown[id]["completion_tokens"]
