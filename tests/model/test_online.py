"""Online training of a tiny model: what is sampled, from which policy, against which reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("trl")

from pipelines import PROMPTS, TRAIN, Made

from croco import engines, kept
from croco.arm_settings import Online
from croco.engines import Request
from croco.errors import EngineError
from croco.kept import Sampling
from croco.models import ModelRef
from croco.recipe import PairConfig
from croco.records import Prompt, Step
from croco.reward_settings import RewardConfig
from croco.settings import Resources
from croco.settings import Sampling as SamplingConfig
from croco.stage import seed_of
from croco.training import Job, OnlineJob, Place, load_online
from croco.training_settings import TrainConfig

pytestmark = pytest.mark.model
#: Answers to a prompt: random weights sample special tokens too, and such answers stand in no pair.
N = 16
HOT = SamplingConfig(n=N, max_tokens=5, temperature=2.0, dtype="float32")
PAIR = {"rejected": "min", "filters": {"cut_off": "off"}}
Told = Callable[[int, int, str], None]


def job(policy: ModelRef, start: Path | None = None, **changes: Any) -> OnlineJob:
    own = {"pair": {}, "reward": RewardConfig(kind="fake"), "every": 2} | changes
    train = TrainConfig.model_validate(
        TRAIN | {"batch_size": 2, "epochs": 2} | own.get("train", {})
    )
    return OnlineJob(
        Job(train, policy, (), start=start, seed=7),
        [Prompt(f"p{k}", "en", text) for k, text in enumerate(PROMPTS)],
        Online(every=own["every"]),
        HOT,
        PairConfig.model_validate(PAIR | own["pair"]),
        own["reward"],
    )


def run(online: OnlineJob, out: Path, told: Told = lambda *_: None, **resources: Any) -> list[Step]:
    given = Resources.model_validate({"micro_batch": 2, "device": "cpu", "threads": 1} | resources)
    place = Place(out, out.with_name(f"{out.name}-work"), given, told)
    return load_online("trl")(online, place)


def checkpoint(out: Path, step: int) -> Path:
    return out.with_name(f"{out.name}-work") / "checkpoints" / f"checkpoint-{step}"


@pytest.fixture(scope="module")
def out(tiny_policy: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of four steps, sampled every second one; the last two checkpoints are there."""
    out = tmp_path_factory.mktemp("online") / "out"
    run(job(tiny_policy), out, checkpoint_every=1)
    return out


@pytest.fixture(scope="module")
def samplings(out: Path) -> list[Sampling]:
    return list(kept.read(out))


def curve(out: Path) -> list[Step]:
    from croco.training.log import NAME, Log

    return Log(out / NAME, upto=99, write=False).steps


def test_every_second_step_the_prompts_of_two_are_answered(samplings: list[Sampling]) -> None:
    assert [one.step for one in samplings] == [0, 2, 4, 6]
    for first, second in zip(samplings[::2], samplings[1::2], strict=True):  # an epoch
        keys = [row.key for one in (first, second) for row in one.responses]
        assert sorted(keys) == [(f"p{k}", "en") for k in range(8)]
    for one in samplings:
        assert [row.key for row in one.responses] == [row.key for row in one.rewards]
        for row, scores, pool in zip(one.responses, one.rewards, one.pairs, strict=True):
            assert len(row.texts) == len(scores.rewards) == pool.pool_size == N
            assert row.policy == "tiny@test+online"
            (pair,) = pool.pairs
            assert row.special[pair.chosen.index] == row.special[pair.rejected.index] == 0
            clean = [k for k, inside in enumerate(row.special) if not inside]
            assert pair.chosen.reward == max(scores.rewards[k] for k in clean)
            assert row.texts[pair.chosen.index] == pair.chosen.text


def replayed(policy: ModelRef, adapter: Path | None, one: Sampling) -> list[list[list[int]]]:
    """What an engine of its own samples by the same seeds."""
    engine = engines.load("transformers", policy, HOT, Resources(device="cpu"), adapter)
    asked = {f"p{k}": Prompt(f"p{k}", "en", text) for k, text in enumerate(PROMPTS)}
    requests = [
        Request(
            row.key,
            asked[row.id].chat,
            [seed_of(7, *row.key, "step", one.step, k) for k in range(N)],
            HOT.temperature,
        )
        for row in one.responses
    ]
    (replies,) = engine.generate([requests])
    return [[answer.token_ids for answer in reply.completions] for reply in replies]


def test_the_answers_are_those_of_the_policy_of_the_moment(
    out: Path, tiny_policy: ModelRef, samplings: list[Sampling]
) -> None:
    first, last = samplings[0], samplings[-1]
    assert replayed(tiny_policy, None, first) == [row.token_ids for row in first.responses]
    sampled = [row.token_ids for row in last.responses]
    assert replayed(tiny_policy, checkpoint(out, 6), last) == sampled
    assert replayed(tiny_policy, None, last) != sampled


def log_prob(model: Any, prompt: list[int], ids: list[int]) -> float:
    with torch.no_grad():
        logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
    return float(logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None]).sum())


def gaps(model: Any, one: Sampling) -> dict[str, float]:
    """By how much a model prefers the chosen answer of each pair, in nats."""
    rows = {row.key: row for row in one.responses}
    found = {}
    for pool in one.pairs:
        row, (pair,) = rows[pool.key], pool.pairs
        chosen, rejected = (row.token_ids[s.index] for s in (pair.chosen, pair.rejected))
        found[pool.id] = log_prob(model, row.prompt_ids, chosen) - log_prob(
            model, row.prompt_ids, rejected
        )
    return found


def test_the_reference_is_the_policy_before_training(
    out: Path, tiny_policy: ModelRef, samplings: list[Sampling]
) -> None:
    steps = curve(out)
    assert steps[0].loss == pytest.approx(math.log(2), abs=1e-5)
    assert steps[0].margin == pytest.approx(0, abs=1e-4)
    base = transformers.AutoModelForCausalLM.from_pretrained(
        tiny_policy.location, dtype=torch.float32
    )
    for one in samplings:  # margins are beta (0.1) times the gap over the reference's
        own = steps[one.step : one.step + 2]
        policy = sum(step.chosen_logp - step.rejected_logp for step in own) / 2
        known = policy - sum(step.margin for step in own) / 2 / 0.1
        assert known == pytest.approx(sum(gaps(base, one).values()) / 4, abs=2e-3)


@pytest.mark.parametrize("lora", [TRAIN["lora"], None])
def test_where_training_goes_on_its_start_is_the_reference(
    tiny_policy: ModelRef, out: Path, tmp_path: Path, lora: Any
) -> None:
    """An adapter, or a whole model, of which a copy is read."""
    start = out
    if lora is None:
        start = tmp_path / "start"
        model = transformers.AutoModelForCausalLM.from_pretrained(tiny_policy.location)
        with torch.no_grad():
            model.model.layers[0].mlp.down_proj.weight.mul_(1.5)
        model.save_pretrained(start)
    online = job(tiny_policy, start, train={"lora": lora, "epochs": 1, "learning_rate": 1e-3})
    steps = run(online, tmp_path / "more")
    assert steps[0].loss == pytest.approx(math.log(2), abs=1e-4)
    assert abs(steps[-1].margin) > 1e-3
    first = next(kept.read(tmp_path / "more"))
    assert replayed(tiny_policy, None, first) != [row.token_ids for row in first.responses]


class _StopError(Exception):
    """As if the process had been killed."""


@pytest.mark.parametrize(("at", "begun"), [(1, 0), (5, 4), (8, 6)])
def test_a_killed_training_ends_as_an_undisturbed_one(
    tiny_policy: ModelRef, out: Path, tmp_path: Path, at: int, begun: int
) -> None:
    done: list[int] = []

    def told(step: int, total: int, text: str) -> None:
        if text.startswith("loss"):
            done.append(step)
            if step == at and len(done) == at:
                raise _StopError

    again = tmp_path / "again"
    with pytest.raises(_StopError):
        run(job(tiny_policy), again, told, checkpoint_every=1)
    run(job(tiny_policy), again, told, checkpoint_every=1)
    assert done == [*range(1, at + 1), *range(begun + 1, 9)]
    assert curve(again) == curve(out)
    for name in ("adapter_model.safetensors", *(f"online/{kind}.parquet" for kind in kept.TABLES)):
        assert (again / name).read_bytes() == (out / name).read_bytes(), name


def of_some(prompt: str, response: str, lang: str) -> float:
    """A reward that tells the answers to prompts with a `w` apart, and no others."""
    return len(set(response)) * ("w" in prompt) * 1.0


def nothing(prompt: str, response: str, lang: str) -> float:
    return 0.0


def bad(prompt: str, response: str, lang: str) -> float:
    return math.nan


def rewarded(name: str) -> RewardConfig:
    return RewardConfig(kind="function", function=f"test_online:{name}")


def test_pairs_are_spread_over_the_steps_and_a_step_without_any_changes_nothing(
    tiny_policy: ModelRef, tmp_path: Path
) -> None:
    online = job(tiny_policy, reward=rewarded("of_some"), every=3, train={"epochs": 1})
    steps = run(online, tmp_path / "few", checkpoint_every=1)
    samplings = list(kept.read(tmp_path / "few"))
    found = [sum(len(pool.pairs) for pool in one.pairs) for one in samplings]
    assert sum(found) == 3  # w1 w2 w3, w9 no, w4
    assert {pool.reason for one in samplings for pool in one.pairs if not pool.pairs} != {""}
    empty = [math.isnan(step.loss) for step in steps]
    spread = [
        [k * n // count for k in range(count + 1)] for n, count in zip(found, (3, 1), strict=True)
    ]
    wanted = [one == other for ends in spread for one, other in pairwise(ends)]
    assert empty == wanted
    assert True in empty


def test_a_reward_that_tells_nothing_apart_is_said(tiny_policy: ModelRef, tmp_path: Path) -> None:
    online = job(tiny_policy, reward=rewarded("nothing"))
    with pytest.raises(EngineError, match="no sampling gave a pair"):
        run(online, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_reward_that_is_no_number_stops_training(tiny_policy: ModelRef, tmp_path: Path) -> None:
    online = job(tiny_policy, reward=rewarded("bad"))
    with pytest.raises(EngineError, match="must give a finite number"):
        run(online, tmp_path / "bad")


def test_pools_may_span_languages(tiny_policy: ModelRef, tmp_path: Path) -> None:
    import dataclasses

    online = job(tiny_policy, pair={"scope": "multilingual"}, train={"epochs": 1}, every=4)
    both = [Prompt(one.id, lang, one.prompt) for one in online.prompts for lang in ("en", "es")]
    run(dataclasses.replace(online, prompts=both), tmp_path / "both")
    (one,) = kept.read(tmp_path / "both")
    assert [row.key for row in one.pairs] == [(f"p{k}", "mul") for k in range(8)]
    assert {row.pool_size for row in one.pairs} == {2 * N}
    assert len(one.responses) == 16


def test_an_arm_of_a_run_is_trained_online_and_reported(
    croco, tiny_policy: ModelRef, tmp_path: Path
) -> None:
    import json

    arm = {"pair": PAIR, "train": TRAIN, "online": {"every": 1, "n": N}}
    made = Made(tmp_path, tiny_policy, {"live": arm})
    assert not {"sample", "score", "live.pair"} & made.stages.keys()
    made.until("report")
    files = made.artifact("report").files
    page = " ".join((files / "index.html").read_text().split())
    assert (
        "live was tuned on the policy&#39;s own answers in training, sampled every 1 steps" in page
    )
    assert json.loads((files / "summary.json").read_text())["training"]["live"]["examples"] == 8
    sampled = list(kept.read(made.artifact("live.train").files))
    assert len(sampled) == 2
    assert sampled[0].pairs[0].pairs[0].chosen.text.split()[0] in page
    signed = sampled[0].responses[0].policy
    assert signed.endswith("+online")
    told = json.loads(croco("doctor", "tiny", "--json", home=tmp_path, check=0).stdout)
    assert told[0]["on_policy"] == {"policy": signed, "chosen": 1, "rejected": 1}
