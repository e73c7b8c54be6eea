"""Prompt sets with one folder per language, here or on the Hugging Face hub, as m-ArenaHard has them.

`en/test-00000-of-00001.parquet` is English: the folder's name is the language of its rows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from croco.errors import DataError, EngineError, RecipeError
from croco.languages import checked_tag

HUB = "hub:"
COMMIT = re.compile(r"[0-9a-f]{40}")
#: The end of a file's name that says of how many it is one: `-00000-of-00002.parquet`.
PART = re.compile(r"-of-(\d+)$")
SUFFIXES = {".parquet", ".jsonl"}


@dataclass(frozen=True, slots=True)
class Located:
    """A file to read, what errors call it, and the language of its rows where its folder says that."""

    path: Path
    label: str
    lang: str = ""


def _digest(folder: Path) -> str:
    """The SHA-256 over a folder's files: their languages, names and contents."""
    digest = hashlib.sha256()
    for lang, file in sorted(_by_language(folder)):
        own = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{lang}\0{file.name}\0{own}\0".encode())
    return digest.hexdigest()


class FolderRef(BaseModel):
    """A folder with one folder per language: the digest of all its files, and where it lies."""

    model_config = ConfigDict(frozen=True)

    folder_sha256: str
    path: Path = Field(exclude=True)
    label: str = Field(exclude=True)

    @classmethod
    def of(cls, path: Path, label: str) -> FolderRef:
        """The reference to a folder; RecipeError where it has no files in folders named by languages."""
        if not any(_by_language(path)):
            raise RecipeError(
                f"data folder {label!r} has no Parquet or JSONL files in folders named by languages,"
                " such as en/test.parquet: name a file, or a folder that has"
            )
        return cls(folder_sha256=_digest(path), path=path, label=label)

    def located(self, languages: Collection[str] | None) -> list[Located]:
        """The files of some languages, or of all; DataError where any was edited since."""
        if _digest(self.path) != self.folder_sha256:
            raise DataError(f"{self.label} was edited since the run began: start the run again")
        return _located(self.path, self.label, languages)


class HubRef(BaseModel):
    """A data set of the hub at a commit; both are the identity, so nothing is fetched to know it."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    commit: str

    @classmethod
    def of(cls, name: str) -> HubRef:
        """What `hub:owner/name@commit` means; RecipeError where it names no data set or no commit."""
        dataset, _, commit = name.removeprefix(HUB).partition("@")
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", dataset):
            raise RecipeError(f"{name!r} is no hub data set: write hub:owner/name@commit")
        if not COMMIT.fullmatch(commit):
            what = f"{commit!r} is no commit" if commit else "it names no commit"
            raise RecipeError(
                f"{name!r} is not pinned, since {what}: write {HUB}{dataset}@ and the 40 digits of one"
                f" from https://huggingface.co/datasets/{dataset}/commits/main"
            )
        return cls(dataset=dataset, commit=commit)

    @property
    def label(self) -> str:
        """What errors call it."""
        return f"{HUB}{self.dataset}@{self.commit[:8]}"

    def located(self, languages: Collection[str] | None) -> list[Located]:
        """The Parquet files of some languages, fetched where they are not in the cache.

        A language that the data set does not have gives no file. Raises EngineError where that cannot
        be told, since the hub cannot be reached, and RecipeError where no languages are named.
        """
        if languages is None:
            raise RecipeError(f"{self.label} has many languages: say which ones are wanted")
        folder = self._cached(languages)
        if folder is None or not all(_is_whole(folder, lang) for lang in languages):
            folder = self._fetched(languages)
        return _located(folder, self.label, languages)

    def _cached(self, wanted: Collection[str]) -> Path | None:
        """The copy in the client's cache; newer clients refuse one that lacks some of the files."""
        files = {"allow_patterns": [f"{lang}/*.parquet" for lang in wanted]}
        try:
            return Path(_hub().snapshot_download(**self._where, **files, local_files_only=True))
        except (OSError, ValueError):  # what the client raises where nothing is there
            return None

    def _fetched(self, wanted: Collection[str]) -> Path:
        hub = _hub()
        try:
            names = hub.HfApi().list_repo_files(**self._where)
            files = [name for name in names if _folder_language(name) in wanted]
            if files:
                return Path(hub.snapshot_download(**self._where, allow_patterns=files))
        except Exception as error:  # the hub client raises errors of several libraries
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise EngineError(
                f"{self.label} cannot be had from the hub in {', '.join(sorted(wanted))} ({reason}):"
                " check the name, the commit and the network, or run once where the hub can be"
                " reached, which keeps a copy"
            ) from error
        had = sorted({lang for name in names if (lang := _folder_language(name))})
        raise RecipeError(
            f"{self.label} has no Parquet files in {', '.join(sorted(wanted))}: its languages are"
            f" {', '.join(had) or 'not told by folders'}"
        )

    @property
    def _where(self) -> dict[str, str]:
        return {"repo_id": self.dataset, "repo_type": "dataset", "revision": self.commit}


def _hub() -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise RecipeError(
            "a hub data set needs the package 'huggingface_hub': install it"
            " (pip install 'croco-llm[local]')"
        ) from error
    return huggingface_hub


def _by_language(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files in a folder's folders, each with its language."""
    for path in folder.glob("*/*"):
        if path.suffix in SUFFIXES and (lang := _tag(path.parent.name)):
            yield lang, path


def _folder_language(name: str) -> str:
    """The language of a file of a repository; empty for what is no Parquet file in such a folder."""
    path = PurePosixPath(name)
    return _tag(path.parts[0]) if len(path.parts) == 2 and path.suffix == ".parquet" else ""


def _tag(name: str) -> str:
    try:
        return checked_tag(name)
    except ValueError:
        return ""


def _is_whole(folder: Path, lang: str) -> bool:
    """Whether a language has files, and all of them where their names say how many there are."""
    names = [path.stem for own, path in _by_language(folder) if own == lang]
    totals = {int(found[1]) for name in names if (found := PART.search(name))}
    return bool(names) and all(total <= len(names) for total in totals)


def _located(folder: Path, label: str, languages: Collection[str] | None) -> list[Located]:
    return [
        Located(path, f"{label}/{path.parent.name}/{path.name}", lang)
        for lang, path in sorted(_by_language(folder))
        if languages is None or lang in languages
    ]
