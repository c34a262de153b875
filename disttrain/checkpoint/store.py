"""Where checkpoints lie: a folder behind any fsspec URL, with the few operations that the commit protocol needs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from disttrain.checkpoint.arrays import Bytes
from disttrain.checkpoint.folder_files import FolderFiles
from disttrain.checkpoint.local_files import LocalFiles
from disttrain.checkpoint.object_files import ObjectFiles
from disttrain.checkpoint.trouble import file_system, first_contact, refusal, unwritable
from disttrain.errors import DisttrainError

Chunk = bytes | memoryview  # of bytes
OnBytes = Callable[[int, Bytes], None]


class Files(Protocol):
    """One kind of storage. Paths are full paths of that kind. What a retry or a fault wraps: `Store(url, files=wrapper)`."""

    def create(self, path: str, data: bytes) -> bool:
        """Make a small file that did not exist, whole or not at all. False: it exists with other bytes."""

    def put(self, path: str, data: bytes) -> None:
        """Make or replace a small file; a reader sees the old bytes or the new ones."""

    def write(self, path: str, chunks: Sequence[Chunk]) -> None:
        """Make a big file under a name never used before; on return it outlives a power cut. FileExistsError if it exists."""

    def read(self, path: str, start: int, stop: int | None) -> bytes:
        """Bytes from `start` to `stop`, fewer where the file ends. FileNotFoundError if there is none."""

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, Bytes]], on_bytes: OnBytes) -> None:
        """Fill each (offset, buffer); call `on_bytes(index, part)` for each part that arrived, in order within a range.

        EOFError where the file ends early.
        """

    def size(self, path: str) -> int:
        """Bytes of a file. FileNotFoundError if there is none."""

    def list(self, folder: str) -> list[str]:
        """Names in a folder, in any order; [] where it is missing. Temporary files are not listed."""

    def delete(self, path: str) -> None:
        """Remove a file; one that is gone already is no error."""

    def delete_folder(self, folder: str) -> None:
        """Remove a folder and the files in it; one that is gone already is no error."""


def _remote_files(fs: Any) -> Files:
    """Clients of object stores are asynchronous, all of them; those of file systems that have folders are not."""
    flat = getattr(fs, "async_impl", False) or isinstance(fs, MemoryFileSystem)
    return ObjectFiles(fs) if flat else FolderFiles(fs)


class Store:
    """A folder, by URL.

    Paths are relative, with `/`, and cannot leave the folder. Nothing is touched until an operation is called.

    Args:
        url: any fsspec URL, such as `"s3://bucket/run"` or `"memory://run"`; a plain path is local.
        files: the storage behind it; None picks one by the URL.
        storage_options: for fsspec, such as credentials or `endpoint_url`.
    """

    def __init__(self, url: str, files: Files | None = None, **storage_options: Any) -> None:
        fs, root = file_system(url, **storage_options)
        self.url = url.rstrip("/") or url
        self.is_local = isinstance(fs, LocalFileSystem)
        self.root = root.rstrip("/")
        self.files: Files = files or (LocalFiles() if self.is_local else _remote_files(fs))

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def locate(self, path: str) -> str:
        """The URL of a path in the store, for people."""
        return f"{self.url}/{path}" if path else self.url

    def create(self, path: str, data: bytes) -> bool:
        """Make a small file if there is none. True: it holds `data` now, by this call or by an earlier one whose reply was lost.

        False: it exists with other bytes, so put a nonce into `data` where it matters who wrote it.

        Raises:
            RunUnwritable: nothing can be written there and no retry will help.
            StorageUnavailable: there is no room now.
            OSError: a fault that may pass in a moment; whether the file exists is not known.
        """
        with self._writing(path):
            return self.files.create(self._full(path), data)

    def put(self, path: str, data: bytes) -> None:
        """Make or replace a small file. For hints to people: nothing that recovery believes is ever overwritten."""
        with self._writing(path):
            self.files.put(self._full(path), data)

    @property
    def can_append(self) -> bool:
        """Whether `append` works: object stores only know whole objects."""
        return hasattr(self.files, "append")

    def append(self, path: str, data: bytes, at: int) -> int:
        """Add to a file of which `at` bytes are known to be whole; what a failed try left behind them is replaced. For hints to people.

        Returns:
            How many bytes are whole now.
        """
        assert self.can_append, f"{self.url} has no append"
        with self._writing(path):
            return int(self.files.append(self._full(path), data, at))  # type: ignore[attr-defined]

    def write_file(self, path: str, chunks: Sequence[Chunk]) -> None:
        """Write a big file under a name never used before. When this returns, it outlives a power cut; when it raises, nothing is left."""
        with self._writing(path):
            self.files.write(self._full(path), chunks)

    def read(self, path: str, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes of a file, or those from `start` to `stop`. Raises FileNotFoundError."""
        return self.files.read(self._full(path), start, stop)

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, Bytes]], on_bytes: OnBytes) -> None:
        """Fill each (offset, buffer) from a file; see `Files.read_ranges`. Raises EOFError where the file ends early."""
        self.files.read_ranges(self._full(path), ranges, on_bytes)

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        try:
            self.files.size(self._full(path))
        except FileNotFoundError:
            return False
        return True

    def size(self, path: str) -> int:
        """Bytes of a file. Raises FileNotFoundError."""
        return self.files.size(self._full(path))

    def list(self, folder: str) -> list[str]:
        """Sorted names of the files and folders in `folder`; [] where it is missing."""
        return sorted(self.files.list(self._full(folder)))

    def delete(self, path: str) -> None:
        """Remove a file; one that is gone already is no error."""
        with self._writing(path):
            self.files.delete(self._full(path))

    def delete_folder(self, folder: str) -> None:
        """Remove a folder and the files in it; one that is gone already is no error."""
        with self._writing(folder):
            self.files.delete_folder(self._full(folder))

    def probe(self) -> bool:
        """Write, read and delete a small file once, before the work begins.

        Returns:
            Whether the store refuses to create what exists. A few servers ignore the condition; then two drivers that start in the same
            instant are told apart by reading back, not refused.

        Raises:
            RunUnwritable: the folder cannot be written.
            StorageUnavailable: not now: there is no room, no answer, no credentials yet.
        """
        path = f"probe-{secrets.token_hex(8)}"
        try:
            self.create(path, b"first")
            refuses = not self.create(path, b"second")
            found = self.read(path)
            self.delete(path)
        except DisttrainError:
            raise
        except Exception as error:  # each fsspec backend has its own: no such bucket, no credentials, no route
            raise first_contact(self.url, error, is_local=self.is_local) from error
        if found not in (b"first", b"second"):
            raise unwritable(self.url, "what was written reads back as something else")
        return refuses and not getattr(self.files, "guesses", False)

    def _full(self, path: str) -> str:
        if path and any(part in ("", ".", "..") for part in path.split("/")):
            raise ValueError(f"path={path!r}: expected a relative path with '/' that stays in the store.")
        return f"{self.root}/{path}" if path else self.root

    @contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            known = refusal(self.locate(path), error, is_local=self.is_local)
            if known is None:
                raise
            raise known from error
