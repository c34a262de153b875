from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from disttrain.checkpoint import Store
from disttrain.checkpoint.local_files import LocalFiles
from disttrain.checkpoint.object_files import ObjectFiles
from disttrain.errors import RunUnwritable, StorageUnavailable


def fill(store: Store, path: str, ranges: list[tuple[int, int]]) -> list[bytes]:
    """What `read_ranges` puts into buffers; checks that `on_bytes` saw the same, in order."""
    buffers = [np.zeros(size, np.uint8) for _, size in ranges]
    seen = [b""] * len(ranges)

    def on_bytes(index: int, part: Any) -> None:
        seen[index] += part.tobytes()

    store.read_ranges(path, [(offset, buffer) for (offset, _), buffer in zip(ranges, buffers, strict=True)], on_bytes)
    assert seen == [buffer.tobytes() for buffer in buffers]
    return seen


def test_create_makes_a_file_once(store: Store) -> None:
    assert store.create("a/b.json", b"mine")
    assert not store.create("a/b.json", b"theirs")
    assert store.read("a/b.json") == b"mine"


def test_creating_the_same_bytes_again_is_taken_for_a_lost_reply(store: Store) -> None:
    assert store.create("a.json", b"mine")
    assert store.create("a.json", b"mine")


def test_put_replaces(store: Store) -> None:
    store.put("hint.json", b"old")
    store.put("hint.json", b"new")
    assert store.read("hint.json") == b"new"


def test_a_big_file_is_its_chunks_and_is_never_overwritten(store: Store) -> None:
    store.write_file("data/x", [b"head", memoryview(b"body"), b""])
    assert store.read("data/x") == b"headbody"
    assert store.size("data/x") == 8
    with pytest.raises(FileExistsError):
        store.write_file("data/x", [b"other"])
    assert store.read("data/x") == b"headbody"


def test_parts_of_a_file_are_read_by_offset(store: Store) -> None:
    store.write_file("x", [bytes(range(100))])
    assert store.read("x", 10, 13) == bytes([10, 11, 12])
    assert store.read("x", stop=2) == b"\0\1"
    assert fill(store, "x", [(0, 2), (2, 3), (50, 4), (60, 0)]) == [b"\0\1", b"\2\3\4", bytes([50, 51, 52, 53]), b""]


def test_ranges_longer_than_a_request_are_put_together(store: Store) -> None:
    body = np.random.default_rng(0).integers(0, 256, (20 << 20) + 7, np.uint8).tobytes()
    store.write_file("x", [body])
    assert fill(store, "x", [(1, 9 << 20), ((9 << 20) + 1, len(body) - (9 << 20) - 1)]) == [body[1 : (9 << 20) + 1], body[(9 << 20) + 1 :]]


def test_a_file_that_ends_early_is_an_end_of_file(store: Store) -> None:
    store.write_file("x", [b"abc"])
    with pytest.raises(EOFError):
        fill(store, "x", [(0, 4)])


def test_names_are_listed_sorted_files_and_folders_alike(store: Store) -> None:
    assert store.list("d") == []
    for path in ("d/b", "d/a", "d/c/deep"):
        store.put(path, b"x")
    assert store.list("d") == ["a", "b", "c"]


def test_what_is_missing_is_told_from_what_is_there(store: Store) -> None:
    store.put("d/a", b"x")
    assert store.exists("d/a")
    assert not store.exists("d/b")
    for operation in (store.size, store.read):
        with pytest.raises(FileNotFoundError):
            operation("d/b")
    with pytest.raises(FileNotFoundError):
        fill(store, "d/b", [(0, 1)])


def test_deleting_twice_is_no_error(store: Store) -> None:
    store.put("d/a", b"x")
    store.put("d/b", b"x")
    for _ in range(2):
        store.delete("d/a")
        assert store.list("d") == ["b"]
    for _ in range(2):
        store.delete_folder("d")
        assert store.list("d") == []


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../x", "a//b", "./a"])
def test_no_path_leaves_the_store(store: Store, path: str) -> None:
    with pytest.raises(ValueError, match="stays in the store"):
        store.read(path)


def test_a_store_crosses_processes(store: Store) -> None:
    store.put("a", b"x")
    assert pickle.loads(pickle.dumps(store)).read("a") == b"x"


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


def test_a_file_system_without_hard_links_still_creates_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    files = LocalFiles()
    assert files.create(str(tmp_path / "x"), b"mine")
    assert files.create(str(tmp_path / "x"), b"mine")
    assert not files.create(str(tmp_path / "x"), b"theirs")
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
