from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from store_suite import StoreSuite

from disttrain.checkpoint import Store
from disttrain.checkpoint.local_files import LocalFiles
from disttrain.checkpoint.object_files import ObjectFiles
from disttrain.errors import RunUnwritable, StorageUnavailable


class TestStores(StoreSuite):
    """A folder on a disk, and one in memory."""


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../x", "a//b", "./a"])
def test_no_path_leaves_the_store(store: Store, path: str) -> None:
    with pytest.raises(ValueError, match="stays in the store"):
        store.read(path)


def test_a_probe_leaves_nothing_behind(store: Store) -> None:
    assert store.probe() is True
    assert store.list("") == []


def test_a_path_below_a_file_is_refused_as_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunUnwritable, match="cannot be written: a file is in the way"):
        Store(str(tmp_path / "file" / "run")).probe()


def test_a_full_disk_is_named_and_leaves_no_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, write = Store(str(tmp_path)), os.write

    def half(descriptor: int, data: memoryview) -> int:
        if len(data) < 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half)
    for operation in (
        lambda: store.write_file("d/x", [b"12345678"]),
        lambda: store.create("d/x", b"12345678"),
        lambda: store.put("d/x", b"1234"),
    ):
        with pytest.raises(StorageUnavailable, match="d/x cannot be written: the disk is full"):
            operation()
    assert list((tmp_path / "d").iterdir()) == []


def test_faults_that_may_pass_are_left_to_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error") as caught:
        Store(str(tmp_path)).create("x", b"x")
    assert not isinstance(caught.value, RunUnwritable)


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV, errno.EINVAL, errno.EIO])
def test_a_file_system_without_hard_links_still_creates_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    files = LocalFiles()
    assert files.create(str(tmp_path / "x"), b"mine")
    assert files.create(str(tmp_path / "x"), b"mine")
    assert not files.create(str(tmp_path / "x"), b"theirs")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_link_that_was_made_though_its_reply_was_lost_is_known_for_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def lost(source: str, target: str) -> None:
        link(source, target)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", lost)
    assert LocalFiles().create(str(tmp_path / "x"), b"mine")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_bytes_and_names_are_synced_before_a_file_counts_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    LocalFiles().write(str(tmp_path / "new" / "x"), [b"x"])
    assert synced == [str(tmp_path), str(tmp_path / "new" / "x"), str(tmp_path / "new")]


class Server:
    """An object store whose conditional write answers as some servers do."""

    def __init__(self, answer: Exception, *, stores: bool) -> None:
        self.objects: dict[str, bytes] = {}
        self.answer, self.stores = answer, stores

    def pipe_file(self, path: str, data: bytes, mode: str) -> None:
        assert mode == "create"
        if self.stores:
            self.objects.setdefault(path, data)
        raise self.answer

    def cat_file(self, path: str, start: int | None, end: int | None) -> bytes:
        if path not in self.objects:
            raise FileNotFoundError(path)
        return self.objects[path][start:end]


@pytest.mark.parametrize("answer", [FileExistsError("412"), OSError(errno.EINVAL, "PreconditionFailed"), TimeoutError("lost")])
def test_after_any_answer_the_object_tells_whose_it_is(answer: Exception) -> None:
    server = Server(answer, stores=True)
    files = ObjectFiles(server)  # type: ignore[arg-type]
    assert files.create("x", b"mine")  # stored, then a client's own retry was refused
    assert not files.create("x", b"theirs")


def test_an_error_that_stored_nothing_is_raised() -> None:
    with pytest.raises(TimeoutError, match="lost"):
        ObjectFiles(Server(TimeoutError("lost"), stores=False)).create("x", b"mine")  # type: ignore[arg-type]
