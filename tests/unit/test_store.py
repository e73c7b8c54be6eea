import errno
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from croco.errors import DataError
from croco.records import Failure, Prompt, Step
from croco.sealing import published, write_once
from croco.store import Artifact, Store


@pytest.fixture
def artifact(tmp_path):
    (tmp_path / "prompts-1").mkdir()
    return Artifact(tmp_path / "prompts-1", Prompt, 2)


ROWS = [Prompt("a", "en", "Hi"), Prompt("b", "es", "Hola")]


def test_owed_is_what_is_not_sealed(artifact):
    assert artifact.owed() == [0, 1]
    artifact.seal(1, ROWS)
    assert artifact.owed() == [0]
    assert artifact.read(1) == ROWS
    assert artifact.count(1) == 2


def test_the_first_sealer_wins(artifact):
    artifact.seal(0, ROWS)
    artifact.seal(0, ROWS[:1])
    assert artifact.read(0) == ROWS


def test_a_torn_last_line_is_owed_again_and_joins_nothing(artifact):
    artifact.journal(0).append([ROWS[0]])
    path = artifact.journal(0).path
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"rows": [{"id": "b", "la')
    assert list(artifact.journal(0).rows) == [("a", "en")]
    artifact.journal(0).append([ROWS[1]])
    assert list(artifact.journal(0).rows.values()) == ROWS


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_journal_cut_anywhere_gives_whole_batches_only(artifact, cut):
    artifact.journal(0).append(ROWS)
    path = artifact.journal(0).path
    path.write_bytes(path.read_bytes()[:-cut])
    assert list(artifact.journal(0).rows.values()) in ([], ROWS)


def test_a_failure_is_forgotten_once_its_row_is_made(artifact):
    artifact.journal(0).append([ROWS[0], Failure("b", "es", "boom")])
    assert artifact.failed(0) == [Failure("b", "es", "boom")]
    artifact.journal(0).append([ROWS[1]])
    assert artifact.failed(0) == []


def test_failures_stay_with_a_shard_that_was_sealed_without_them(artifact):
    artifact.seal(0, ROWS[:1], [Failure("b", "es", "boom")])
    assert artifact.failed(0) == [Failure("b", "es", "boom")]


def test_a_killed_sealers_failures_are_forgotten(artifact):
    (artifact.root / "shard-00000.failed.jsonl").write_text(
        '{"id": "b", "lang": "es", "error": "x"}'
    )
    artifact.seal(0, ROWS)
    assert artifact.failed(0) == []


def test_a_failure_may_hold_any_line_separator(artifact):
    failure = Failure("b\u2028", "es", "one\u2028two\x85three")
    artifact.seal(0, ROWS[:1], [failure])
    assert artifact.failed(0) == [failure]


def test_rows_with_nan_survive(tmp_path):
    artifact = Artifact(tmp_path, Step, 1)
    nan = float("nan")
    artifact.seal(0, [Step(1, 0.5, 0.69, 1e-4, nan, nan, nan, nan)])
    assert artifact.read(0)[0].loss == 0.69
    assert artifact.read(0)[0].margin != artifact.read(0)[0].margin


def test_write_once_leaves_no_temporary_file_behind_when_it_fails(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_once(tmp_path / "missing" / "x", b"x")
    write_once(tmp_path / "x", b"one")
    write_once(tmp_path / "x", b"two")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"one"


def test_a_store_of_a_newer_version_is_refused(tmp_path):
    Store(tmp_path).open()
    (tmp_path / "format.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(DataError, match="format 99"):
        Store(tmp_path).open()
    (tmp_path / "format.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        Store(tmp_path).check()


def test_a_damaged_shard_is_named(artifact):
    artifact.path(0).write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"shard-00000\.parquet cannot be read"):
        artifact.read(0)


def test_two_processes_at_work_on_one_shard_keep_journals_of_their_own(artifact, monkeypatch):
    mine = artifact.journal(0)
    monkeypatch.setattr("croco.journal.writer", lambda: "another-host-1")
    others = artifact.journal(0)
    mine.append([ROWS[0]])
    others.append([ROWS[1]])
    others.append([ROWS[0]])  # as both do when they work on the same
    assert mine.path != others.path
    assert artifact.journal(0).rows == {row.key: row for row in ROWS}
    assert artifact.begun() == [0]
    artifact.seal(0, ROWS)
    assert not list(artifact.root.glob("journals/*"))
    mine.append([ROWS[1]])  # by one who has not heard yet
    assert artifact.read(0) == ROWS
    artifact.seal(1, [])
    artifact.tidy()
    mine.append([ROWS[1]])
    assert not artifact.owed()


def test_the_failures_of_a_shard_are_those_of_its_sealer(artifact):
    artifact.seal(0, ROWS[:1], [Failure("b", "es", "boom")])
    artifact.seal(0, ROWS)
    assert artifact.read(0) == ROWS[:1]
    assert artifact.counted(0) == (1, [Failure("b", "es", "boom")])


def test_what_a_killed_process_began_to_seal_is_no_shard(artifact):
    def killed():
        with published(artifact.path(0)) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    assert artifact.owed() == [0, 1]
    assert not list(artifact.root.iterdir())


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_sealing_needs_no_hard_links(artifact, monkeypatch, code):
    """As on file systems that lack them: the first to create a mark moves its file into place."""

    def refused(*_):
        raise OSError(code, "no links here")

    monkeypatch.setattr("os.link", refused)
    artifact.seal(0, ROWS)
    artifact.seal(0, ROWS[:1])
    assert artifact.read(0) == ROWS
    monkeypatch.setattr("croco.sealing.PATIENCE", 0.1)
    (artifact.root / f".{artifact.path(1).name}.taken").touch()  # by one who was killed then
    artifact.seal(1, ROWS[1:])
    artifact.tidy()
    assert not list(artifact.root.glob(".*"))
    assert artifact.read(1) == ROWS[1:]


def test_many_sealers_at_once_leave_one_whole_shard(artifact):
    def seal(number):
        artifact.seal(0, [Prompt("a", "en", str(number))] * 50)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(seal, range(32)))
    assert len({row.prompt for row in artifact.read(0)}) == 1
    assert artifact.count(0) == 50


def test_what_is_noted_of_a_finished_artifact_is_what_its_shards_say(artifact):
    artifact.seal(0, ROWS[:1], [Failure("b", "es", "boom")])
    artifact.tidy()
    assert artifact.noted() is None
    artifact.seal(1, ROWS)
    artifact.tidy()
    assert artifact.noted() == [(1, [Failure("b", "es", "boom")]), (2, [])]
    artifact.path(0).unlink()
    artifact.seal(0, ROWS)
    artifact.tidy()
    assert artifact.noted() == [(2, []), (2, [])]


def test_files_are_published_whole_and_once(artifact):
    for text in ("one", "two"):
        scratch = artifact.scratch()
        (scratch / "adapter.txt").write_text(text)
        artifact.publish(scratch)
    assert (artifact.files / "adapter.txt").read_text() == "one"
