"""Remote file systems with folders: a create that two cannot both win, or the word that they can; a lost connection is made anew."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from store_suite import StoreSuite

from disttrain.checkpoint import Store
from disttrain.checkpoint.folder_files import FolderFiles


class Plain(LocalFileSystem):
    """One of which fsspec knows no more than that it has folders, which nobody makes by the way."""

    protocol = "plain"
    cachable = False


class Sftp(LocalFileSystem):
    """What paramiko does, on a disk: a rename to a free name, one over another, and a connection that may be lost."""

    protocol = ("sftp", "ssh")
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.connected, self.connects, self.after_rename, self.inside = True, 0, lambda: None, 0
        self.ftp = SimpleNamespace(rename=self._rename, posix_rename=os.replace)
        self.client = SimpleNamespace(get_transport=lambda: SimpleNamespace(is_active=lambda: self.connected))

    def _rename(self, old: str, new: str) -> None:
        os.link(old, new)
        os.unlink(old)
        self.after_rename()

    def _connect(self) -> None:
        self.connected, self.connects = True, self.connects + 1

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        assert self.connected and mode == "overwrite"
        self.inside += 1
        assert self.inside == 1, "two threads at once"
        super().pipe_file(path, value, **options)
        self.inside -= 1


def store_on(fs: Any, folder: Path) -> Store:
    return Store(str(folder), files=FolderFiles(fs))


class TestFolders(StoreSuite):
    """What every store does, these do."""

    @pytest.fixture(params=[Plain, Sftp])
    def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> Store:
        return store_on(request.param(), tmp_path / "run")

    def test_a_store_crosses_processes(self, store: Store) -> None:
        pytest.skip("the stand-ins do not pickle; make test-stores does this with the real clients")


def test_one_that_can_only_look_before_it_writes_is_said_not_to_refuse(tmp_path: Path) -> None:
    assert store_on(Plain(), tmp_path).probe() is False
    assert store_on(Sftp(), tmp_path).probe() is True
    assert list(tmp_path.iterdir()) == []


def test_of_many_that_create_one_file_at_once_one_is_told_that_it_did(tmp_path: Path) -> None:
    store, start, won = store_on(Sftp(), tmp_path), threading.Barrier(8), []

    def create(number: int) -> None:
        start.wait()
        if store.create("attempts/1.json", b"by %d" % number):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and store.read("attempts/1.json") == b"by %d" % won[0]
    assert os.listdir(tmp_path / "attempts") == ["1.json"]


def test_a_rename_whose_reply_is_lost_is_known_for_ones_own(tmp_path: Path) -> None:
    fs = Sftp()

    def lost() -> None:
        raise OSError("Socket is closed")

    fs.after_rename = lost
    store = store_on(fs, tmp_path)
    assert store.create("commit.json", b"mine")
    assert not store.create("commit.json", b"theirs")
    assert os.listdir(tmp_path) == ["commit.json"]


def test_a_lost_connection_is_made_anew_for_the_next_try(tmp_path: Path) -> None:
    fs = Sftp()
    store = store_on(fs, tmp_path)
    store.put("a", b"1")
    fs.connected = False
    store.put("a", b"2")
    assert fs.connects == 1 and store.read("a") == b"2"


def test_what_a_kill_leaves_half_written_is_no_name_in_a_listing(tmp_path: Path) -> None:
    store = store_on(Sftp(), tmp_path)
    store.put("d/a", b"1")
    (tmp_path / "d" / ".tmp-0123").write_bytes(b"half")
    assert store.list("d") == ["a"]
