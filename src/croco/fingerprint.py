"""What a model's directory holds, in a few digits: its files' names and contents, not where they lie."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

MODEL_SUFFIXES = {".safetensors", ".bin", ".json", ".jinja", ".model", ".txt"}
FULLY_HASHED = 64 * 2**20
SAMPLES, SAMPLE_BYTES = 64, 64 * 1024
#: Bytes at both ends of every tensor.
TENSOR_BYTES = 4096


def fingerprint(path: Path) -> str:
    """`dir:` and 32 digits over a model's files.

    Files up to 64 MiB are hashed in full; larger ones by their size, 64 evenly spaced samples of 64 KiB
    and, of safetensors, the header and both ends of every tensor: training changes a tensor everywhere.
    """
    found = []
    for file in sorted(path.iterdir()):
        if file.suffix in MODEL_SUFFIXES and file.is_file():
            stat = file.stat()
            found.append((file, stat.st_size, stat.st_mtime_ns))
    return _fingerprint(tuple(found))


@lru_cache(maxsize=64)
def _fingerprint(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for file, size, _ in files:
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as stream:
            if size <= FULLY_HASHED:
                digest.update(stream.read())
                continue
            for start, length in _places(file, size):
                stream.seek(start)
                digest.update(stream.read(length))
    return f"dir:{digest.hexdigest()[:32]}"


def _places(file: Path, size: int) -> list[tuple[int, int]]:
    """What is read of a large file: places and numbers of bytes."""
    spread = [(k * (size - SAMPLE_BYTES) // (SAMPLES - 1), SAMPLE_BYTES) for k in range(SAMPLES)]
    if file.suffix != ".safetensors":
        return spread
    try:
        with file.open("rb") as stream:
            start = 8 + int.from_bytes(stream.read(8), "little")
            named = json.loads(stream.read(min(start - 8, FULLY_HASHED)))
        ends = sorted(
            tuple(one["data_offsets"]) for name, one in named.items() if name != "__metadata__"
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return spread  # told where it is loaded
    tensors = [(start + a, min(TENSOR_BYTES, b - a)) for a, b in ends]
    tensors += [(start + max(a, b - TENSOR_BYTES), min(TENSOR_BYTES, b - a)) for a, b in ends]
    return [*spread, (0, start), *tensors]
