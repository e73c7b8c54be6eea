"""EuroEval's command line, and the folder that stands for a model in it; pure but for links."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from croco.errors import EngineError

#: Runs in EuroEval's environment, which has no CroCo.
LAUNCH = Path(__file__).with_name("launch.py")
#: The name that EuroEval gives its results, in the folder where it is started.
RESULTS = "euroeval_benchmark_results.jsonl"


def command(
    python: Path,
    model: Path,
    datasets: Sequence[str],
    iterations: int,
    split: str,
    cache: Path,
    device: str = "auto",
    memory_share: float | None = None,
    extra: Sequence[str] = (),
) -> list[str]:
    """The command that benchmarks the model or adapter in the folder `model` on some data sets.

    `device` is "auto", "cuda:N" (see `surroundings`) or one that EuroEval knows.
    """
    line = [str(python), "-P", str(LAUNCH), "--model", str(model)]
    for name in datasets:
        line += ["--dataset", name]
    line += ["--num-iterations", str(iterations)]
    line += ["--evaluate-test-split" if split == "test" else "--evaluate-val-split"]
    line += ["--no-progress-bar", "--cache-dir", str(cache)]
    if device != "auto" and not device.startswith("cuda:"):
        line += ["--device", device]
    if memory_share is not None:
        line += ["--gpu-memory-utilization", str(memory_share)]
    return [*line, *extra]


def surroundings(device: str) -> dict[str, str]:
    """Environment variables of the command: one line of output at a time, and the device of "cuda:N"."""
    chosen = {"CUDA_VISIBLE_DEVICES": device[5:]} if device.startswith("cuda:") else {}
    return {"PYTHONUNBUFFERED": "1"} | chosen


def stand_in(base: Path, adapter: Path | None, out: Path) -> Path:
    """A folder `out` of links to a model, or to an adapter that names `base` as its base model.

    EuroEval keeps a local model's answers in the model's own folder. It is given this one, so that nothing
    is written into the store or a cache, and no answers of an earlier model at the same place are taken
    for this one's. An adapter is not merged; only its `base_model_name_or_path` is made the folder that
    `base` is in, at the very revision that it was tuned on.
    """
    source = adapter or base
    out.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        link = out / file.name
        if file.is_file() and not link.is_symlink() and not (adapter and file.name == CONFIG):
            link.symlink_to(file.resolve())
    if adapter:
        (out / CONFIG).write_text(json.dumps(_on(base, adapter / CONFIG)), encoding="utf-8")
    return out


CONFIG = "adapter_config.json"


def _on(base: Path, config: Path) -> dict[str, object]:
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EngineError(
            f"{config} cannot be read: the adapter is not whole, train again"
        ) from error
    return dict(values) | {"base_model_name_or_path": str(base.resolve())}
