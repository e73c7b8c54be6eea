"""Training over two machines, real and small: the trajectory of one process."""

import logging
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests" / "model"))
from tuning import examples, run, save_tiny, weights

OWN = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3}
SCRIPT = """
import sys
from pathlib import Path
from tuning import examples, run
run(Path(sys.argv[1]), Path(sys.argv[2]), micro=1, rows=examples(11), resources={"workers": 2}, **%r)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def alone(source, tmp_path_factory):
    """What one process makes."""
    out = tmp_path_factory.mktemp("alone") / "out"
    run(source, out, micro=1, rows=examples(11), **OWN)
    return weights(out)


def same(out, alone):
    assert (out.with_name("out-work") / "job" / "processes").read_text() == "2"
    for name, tensor in weights(out).items():
        torch.testing.assert_close(tensor, alone[name], atol=1e-3, rtol=0)


@pytest.mark.slurm
@pytest.mark.model
def test_two_nodes_of_slurm_train_as_one_process(slurm, source, alone, tmp_path):
    """A launcher on each, started by srun from the job's first node."""
    script, out = tmp_path / "script.py", tmp_path / "out"
    script.write_text(SCRIPT % OWN)
    path = f"PYTHONPATH={ROOT / 'src'}:{ROOT / 'tests' / 'model'}"
    command = f"{path} srun --nodes=1 --ntasks=1 {sys.executable} {script} {source} {out}"
    options = ["--nodes=2", "--ntasks-per-node=1", f"--output={tmp_path}/log", "--wait"]
    slurm.say("sbatch", *options, f"--wrap={command}", check=False)
    assert out.exists(), (tmp_path / "log").read_text() + "".join(
        path.read_text() for path in tmp_path.glob("out-work/processes.log")
    )
    same(out, alone)


@pytest.mark.ray
@pytest.mark.model
def test_ray_train_trains_as_one_process(source, alone, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="the `ray` extra is not installed")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{ROOT / 'tests' / 'model'}")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
        object_store_memory=80 * 2**20,
    )
    told = []
    try:
        out = tmp_path / "out"
        run(
            source,
            out,
            micro=1,
            rows=examples(11),
            resources={"workers": 2},
            told=lambda done, total, _: told.append((done, total)),
            **OWN,
        )
    finally:
        ray.shutdown()
    assert told == [(k, 6) for k in range(1, 7)]
    same(Path(out), alone)
