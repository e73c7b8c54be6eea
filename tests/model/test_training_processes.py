"""Two processes on CPUs (gloo) train as one with the same effective batch."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from tuning import examples, run, save_tiny, weights

from croco.errors import EngineError
from croco.settings import Resources
from croco.training.launch import processes

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("method", ["dpo", "sft"])
def test_two_processes_give_the_trajectory_of_one(
    source: Path, tmp_path: Path, method: str
) -> None:
    """Eleven examples in batches of four: the last step of an epoch has three, and one process two."""
    own = {"epochs": 4, "batch_size": 4, "learning_rate": 1e-3, "rows": examples(11, method)}
    told: list[tuple[int, int]] = []
    two = run(
        source,
        tmp_path / "two",
        method,
        micro=1,
        told=lambda done, total, _: told.append((done, total)),
        resources={"processes": 2},
        **own,
    )
    one = run(source, tmp_path / "one", method, micro=1, **own)
    assert told == [(k, 12) for k in range(1, 13)]
    assert len(two) == len(one) == 12
    for mine, its in zip(two, one, strict=True):
        assert mine.loss == pytest.approx(its.loss, abs=1e-4)
        assert mine.chosen_logp == pytest.approx(its.chosen_logp, abs=1e-3)
        assert mine.learning_rate == its.learning_rate
    for name, tensor in weights(tmp_path / "two").items():
        torch.testing.assert_close(tensor, weights(tmp_path / "one")[name], atol=1e-3, rtol=0)
    assert (tmp_path / "two-work" / "job" / "processes").read_text() == "2"


def test_a_mistake_in_a_process_is_told_in_its_own_sentence(source: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="padding_free is for SFT") as told:
        run(source, tmp_path / "out", resources={"processes": 2, "padding_free": True})
    assert "Traceback" not in str(told.value)


def test_a_config_file_that_starts_fewer_processes_is_told(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accelerate starts one process on a CPU, whatever its config file says, and says nothing."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    config = tmp_path / "accelerate.yaml"
    config.write_text("distributed_type: 'NO'\nnum_processes: 2\nnum_machines: 1\n")
    with pytest.raises(EngineError, match="1 processes were started to train and not 2"):
        run(source, tmp_path / "out", resources={"accelerate": str(config)})


def test_a_config_file_for_cpus_is_followed(tmp_path: Path) -> None:
    config = tmp_path / "accelerate.yaml"
    config.write_text("use_cpu: true\nnum_processes: 3\n")
    own = processes(Resources(accelerate=str(config)))
    assert (own.count, own.launcher) == (3, "torch.distributed.run")
    assert own.options[-1] == "3"
    many = processes(Resources(accelerate=str(config), processes=2))
    assert many.count == 2
    config.write_text("distributed_type: FSDP\nnum_processes: 8\n")
    own = processes(Resources(accelerate=str(config)))
    assert (own.count, own.options) == (8, ["--config_file", str(config)])
