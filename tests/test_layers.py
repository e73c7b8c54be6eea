"""Who may know whom, kept by reading the imports; and what a light import must not load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "croco"

#: From the ground up; a module may import from lower layers and from its own.
LAYERS = [
    {
        "errors",
        "records",
        "reasoning",
        "patterns",
        "grades",
        "schemas",
        "packages",
        "yamls",
        "plugins",
        "sources",
        "quiet",
        "arrays",
        "memory",
        "keeping",
        "sealing",
        "kept",
    },
    {"strategies", "selection", "calibration", "stats", "intervals", "length", "wording"},
    {"contamination"},
    {"comparing"},
    {"paired"},
    {
        "prose",
        "asked",
        "texts",
        "words",
        "spoken",
        "languages",
        "identifiers",
        "fingerprint",
        "models",
        "conversion",
        "e5",
        "dates",
        "tokens",
        "control",
        "completions",
        "template_arguments",
        "loading",
        "merging",
    },
    {"arena", "promptsets", "remote"},
    {
        "settings",
        "executor_settings",
        "reward_settings",
        "training_settings",
        "arm_settings",
        "evaluation_settings",
        "benchmark_settings",
        "datafiles",
        "templates",
        "answers",
    },
    {"recipe", "recipe_file"},
    {"stage", "rounds", "seen"},
    {"store", "describing", "journal", "pace", "provenance", "runs"},
    {"pairing"},
    {"flow", "servers"},
    {
        "fidelity",
        "metrics",
        "auditing",
        "engines",
        "likelihood",
        "rewards",
        "translation",
        "training",
        "euroeval",
        "report",
    },
    {"judging", "examples"},
    {"stages"},
    {"building"},
    {"evaluating", "forgetting"},
    {"comparison", "arms", "tuning"},
    {"pipeline"},
    {"runner", "rowwork", "plan", "promptcount"},
    {"cost"},
    {"executors", "checks"},
    {
        "cli",
        "cli_pair",
        "cli_doctor",
        "cli_compare",
        "cli_audit",
        "cli_contamination",
        "cli_checks",
        "cli_cluster",
        "cli_reward",
        "cli_export",
        "progress",
        "scaffold",
        "__main__",
    },
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
HEAVY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "accelerate",
    "safetensors",
    "ray",
    "submitit",
}
MAY_BE_HEAVY = (
    "engines",
    "likelihood",
    "rewards",
    "training",
    "conversion",
    "e5",
    "quiet",
    "tokens",
    "loading",
    "merging",
    "memory",
    "executors",
    "checks",
)


def modules():
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts != ("__init__",):
            yield path, parts


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("path", "parts"), list(modules()), ids=lambda v: "/".join(v) if isinstance(v, tuple) else ""
)
def test_imports_point_down(path, parts):
    for name in imports(ast.parse(path.read_text())):
        if name.startswith("croco.") and (target := name.split(".")[1]) in RANK:
            assert RANK[target] <= RANK[parts[0]], f"{'/'.join(parts)} must not import {name}"
        if name.split(".")[0] in HEAVY:
            assert parts[0] in MAY_BE_HEAVY, f"{'/'.join(parts)} must not import {name}"


def test_stages_do_not_know_each_others_engines_or_the_store():
    forbidden = (
        "croco.store",
        "croco.runner",
        "croco.engines.",
        "croco.likelihood.",
        "croco.rewards.",
        "croco.training.",
    )
    for path in SOURCE.glob("stages/*.py"):
        tree = ast.parse(path.read_text())
        for name in imports(tree):
            concrete = name.startswith(forbidden) and name.rpartition(".")[2][0].islower()
            allowed = name in ("croco.training.reward.train_reward",)
            assert allowed or not concrete, f"{path.name} must not import {name}"


@pytest.mark.parametrize(
    "code",
    ["import croco", "import croco.cli, croco.pipeline, croco.plan, croco.executors.local"],
)
def test_light_imports_load_no_torch(code):
    heavy = sorted(HEAVY | {"matplotlib", "scipy"})
    check = f"{code}; import sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
