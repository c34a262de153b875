"""Files on a remote file system that has folders, such as SFTP and WebDAV: parents are made, and a file gets its name when it is whole."""

from __future__ import annotations

import contextlib
import errno
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from fsspec import AbstractFileSystem

from disttrain.checkpoint.arrays import Bytes
from disttrain.checkpoint.object_files import ObjectFiles

_Rename = Callable[[Any, str, str], object]


def _sftp_free(fs: Any, old: str, new: str) -> object:
    return fs.ftp.rename(old, new)  # refused where `new` exists, by the protocol; OpenSSH links, so that no other can come between


def _sftp_over(fs: Any, old: str, new: str) -> object:
    return fs.ftp.posix_rename(old, new)


def _webdav_free(fs: Any, old: str, new: str) -> object:
    return fs.client.move(old, new, overwrite=False)


def _webdav_over(fs: Any, old: str, new: str) -> object:
    return fs.client.move(old, new, overwrite=True)


# How a file is renamed: where no other has the name; in the place of another. fsspec itself asks whether a file exists, and then writes it.
_RENAMES: dict[str, tuple[_Rename, _Rename]] = {
    "dav": (_webdav_free, _webdav_over),
    "sftp": (_sftp_free, _sftp_over),
    "ssh": (_sftp_free, _sftp_over),
    "webdav": (_webdav_free, _webdav_over),
}


class FolderFiles(ObjectFiles):
    """An fsspec file system with folders. What a process does there is done one after the other: clients such as paramiko's must not be
    used by two threads at once.

    Attributes:
        guesses: it cannot be told to create only what does not exist: of two who create a file in the same instant, both may believe it.
    """

    def __init__(self, fs: AbstractFileSystem) -> None:
        super().__init__(fs)
        names = [fs.protocol] if isinstance(fs.protocol, str) else list(fs.protocol)
        self._renames = next((name for name in names if name in _RENAMES), None)
        self.guesses = self._renames is None

    def create(self, path: str, data: bytes) -> bool:
        """A temporary file is renamed, which fails if the name is taken; after any error a look at what is there."""
        with self._alone():
            if self._renames is None:
                if self.fs.exists(path):
                    return self._holds(path, data)
                self._make_parent(path)
                self.fs.pipe_file(path, data)
                return self._holds(path, data)
            temporary = self._temporary(path, data)
            try:
                _RENAMES[self._renames][0](self.fs, temporary, path)
            except Exception:
                # "exists" has many names, and a rename whose reply was lost is refused the second time: only the file itself tells
                with contextlib.suppress(FileNotFoundError):
                    return self._holds(path, data)
                raise
            finally:
                with contextlib.suppress(Exception):
                    self.fs.rm_file(temporary)  # gone, where it was renamed
        return True

    def put(self, path: str, data: bytes) -> None:
        """A temporary file takes the place of the old one, where that can be."""
        with self._alone():
            if self._renames is None:
                self._make_parent(path)
                self.fs.pipe_file(path, data)
                return
            temporary = self._temporary(path, data)
            try:
                _RENAMES[self._renames][1](self.fs, temporary, path)
            except BaseException:
                with contextlib.suppress(Exception):
                    self.fs.rm_file(temporary)
                raise

    def write(self, path: str, chunks: Sequence[bytes | memoryview]) -> None:
        """Bytes go straight to the final name: nothing refers to it yet."""
        data = chunks[0] if len(chunks) == 1 and isinstance(chunks[0], bytes) else b"".join(chunks)
        with self._alone():
            self._forget()
            if self.fs.exists(path):
                raise FileExistsError(errno.EEXIST, "exists", path)
            self._make_parent(path)
            try:
                self.fs.pipe_file(path, data)
            except BaseException:
                with contextlib.suppress(Exception):
                    self.fs.rm_file(path)
                raise

    def read(self, path: str, start: int, stop: int | None) -> bytes:
        """Bytes from `start` to `stop`."""
        with self._alone():
            return super().read(path, start, stop)

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, Bytes]], on_bytes: Callable[[int, Bytes], None]) -> None:
        """One request after the other."""
        with self._alone():
            super().read_ranges(path, ranges, on_bytes)

    def size(self, path: str) -> int:
        """Bytes of a file."""
        with self._alone():
            return super().size(path)

    def list(self, folder: str) -> list[str]:
        """Names, without the temporary files that a kill may leave."""
        with self._alone():
            return super().list(folder)

    def delete(self, path: str) -> None:
        """Remove a file."""
        with self._alone():
            super().delete(path)

    def delete_folder(self, folder: str) -> None:
        """Remove a folder and what is below it."""
        with self._alone():
            super().delete_folder(folder)

    def _holds(self, path: str, data: bytes) -> bool:
        self._forget()
        return bytes(self.fs.cat_file(path)) == data

    def _temporary(self, path: str, data: bytes) -> str:
        """A file beside `path`, with these bytes."""
        self._make_parent(path)
        folder, _, _ = path.rpartition("/")
        temporary = f"{folder}/.tmp-{secrets.token_hex(8)}"
        self.fs.pipe_file(temporary, data)
        return temporary

    def _make_parent(self, path: str) -> None:
        folder = path.rpartition("/")[0]
        if folder and not self.fs.isdir(folder):
            with contextlib.suppress(FileExistsError):  # somebody else was faster
                self.fs.makedirs(folder, exist_ok=True)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """No other thread uses the file system, and its connection stands."""
        with _LOCKS_LOCK:
            lock = _LOCKS.setdefault(self.fs, threading.RLock())
        with lock:
            transport = getattr(getattr(self.fs, "client", None), "get_transport", lambda: None)()
            if transport is not None and not transport.is_active():
                self.fs._connect()  # fsspec's sftp keeps the first connection for ever
            yield


_LOCKS: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
_LOCKS_LOCK = threading.Lock()
