"""Offline translation by rules, with Debian's Apertium: one pipeline of programs per language pair."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import subprocess
import time
import weakref
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from croco.errors import EngineError, RecipeError
from croco.settings import Resources, Translate
from croco.translation import Text, Translated
from croco.translation.apertium_stream import translated

MODES = Path("/usr/share/apertium/modes")
#: Seconds for one line.
TIMEOUT = 30.0
#: What select promises that a pipe takes without blocking (POSIX's PIPE_BUF).
CHUNK = 4096


class Apertium:
    """Translates with Apertium's programs; `close` ends them, and so do the object's end and exit."""

    varies = False

    def __init__(self, config: Translate, resources: Resources) -> None:
        self._pipelines: dict[tuple[str, str], Pipeline] = {}

    def translate(self, batches: Iterable[list[Text]]) -> Iterator[list[Translated]]:
        """A batch's results in its order; RecipeError where no mode is installed for a pair."""
        for batch in batches:
            yield [self._one(text) for text in batch]

    def close(self) -> None:
        """End all programs."""
        for pipeline in self._pipelines.values():
            pipeline.close()
        self._pipelines.clear()

    def _one(self, text: Text) -> Translated:
        pair = (text.source, text.target)
        if pair not in self._pipelines:
            self._pipelines[pair] = Pipeline(programs(find_mode(*pair)))
        try:
            return Translated(text, *translated(text.text, self._pipelines[pair].ask))
        except EngineError as error:
            # What is still in the pipes would answer the next text.
            self._pipelines.pop(pair).close()
            return Translated(text, error=error)
        except BaseException:
            self._pipelines.pop(pair).close()
            raise


class Pipeline:
    """Programs that run side by side, each reading what the one before it writes."""

    def __init__(self, commands: list[list[str]]) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        # Also at exit; the object itself must not be held by it.
        self.close = weakref.finalize(self, _end, self._processes)
        source: int = subprocess.PIPE
        for command in commands:
            process = subprocess.Popen(
                command,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is ours to answer
            )
            _close_last_output(self._processes)
            self._processes.append(process)
            source = _output(process)

    @property
    def pids(self) -> list[int]:
        """The programs' process ids."""
        return [process.pid for process in self._processes]

    def ask(self, stream: str) -> str:
        """What comes out for a stream; EngineError where nothing comes, or the programs have ended."""
        end = time.monotonic() + TIMEOUT
        try:
            return self._exchange(stream.encode() + b"\0", end).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise EngineError(f"Apertium cannot translate this text: {error}") from error

    def _exchange(self, data: bytes, end: float) -> bytes:
        """Bytes up to a NUL for bytes with a NUL, read while they are written: pipes are small."""
        stdin = self._processes[0].stdin
        assert stdin is not None  # noqa: S101
        into, out = stdin.fileno(), _output(self._processes[-1])
        got = bytearray()
        while not got.endswith(b"\0"):
            left = max(0.0, end - time.monotonic())
            readable, writable, _ = select.select([out], [into] if data else [], [], left)
            if not (readable or writable):
                raise TimeoutError(f"its programs gave no answer in {TIMEOUT:g} s")
            if writable:
                data = data[os.write(into, data[:CHUNK]) :]
            if readable:
                chunk = os.read(out, 65536)
                if not chunk:
                    raise BrokenPipeError("its programs have ended")
                got += chunk
        return bytes(got[:-1])


def find_mode(source: str, target: str) -> Path:
    """The file of Apertium's mode for a pair of BCP-47 tags; RecipeError with what to install."""
    pairs = list(product(_names(source), _names(target)))
    for one, other in pairs:
        path = MODES / f"{one}-{other}.mode"
        if path.is_file():
            return path
    package = f"apertium-{_codes(source)[0]}-{_codes(target)[0]}"
    raise RecipeError(
        f"no mode of Apertium that translates {source} to {target} is in {MODES}: install one, such "
        f"as `apt install {package}` (`apt-cache search apertium` lists those there are)"
    )


def programs(mode: Path) -> list[list[str]]:
    """A mode's commands, told to end each answer at a NUL (-z); RecipeError where one is missing."""
    lexer = shlex.shlex(mode.read_text(encoding="utf-8"), posix=True, punctuation_chars="|")
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    for word in lexer:
        if word == "|":
            commands.append([])
        elif word not in ("$2", "$3"):  # flags for tracing
            commands[-1].append("-g" if word == "$1" else word)
    for command in commands:
        if not shutil.which(command[0]):
            package = f"apertium-{mode.stem.partition('_')[0]}"
            raise RecipeError(
                f"Apertium's program {command[0]!r}, which {mode} needs, is missing: "
                f"run `apt install apertium {package}`"
            )
    return [[command[0], "-z", *command[1:]] for command in commands]


def _names(tag: str) -> list[str]:
    """What Apertium may call a language, its variants (`cat_valencia`) and regions first."""
    import langcodes

    language = langcodes.get(tag)
    kinds = [*(language.variants or []), *([language.territory] if language.territory else [])]
    codes = _codes(tag)
    return [*(f"{code}_{kind}" for kind in kinds for code in codes), *codes]


def _codes(tag: str) -> list[str]:
    """A language's codes of three and of two letters, where it has them."""
    import langcodes

    language = langcodes.get(tag)
    try:
        return list(dict.fromkeys([language.to_alpha3(), language.language or tag]))
    except LookupError:
        return [language.language or tag]


def _output(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None  # noqa: S101
    return process.stdout.fileno()


def _close_last_output(processes: list[subprocess.Popen[bytes]]) -> None:
    """Leave the last program's output to the one that reads it, so that it hears of that one's end."""
    if processes and processes[-1].stdout:
        processes[-1].stdout.close()


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Kill the programs and wait for each, so that none is left, dead or alive."""
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
