"""Files on an object store (or any other fsspec backend): whole-object writes, conditional creation, ranged reads."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from fsspec import AbstractFileSystem

from disttrain.checkpoint.arrays import Bytes

_PART_BYTES = 8 << 20
_PARTS_AT_ONCE = 8


class ObjectFiles:
    """An fsspec file system where a name appears with all its bytes at once.

    Never `fs.open(path, "wb")`: leaving its block by an exception commits what was written so far (s3fs, gcsfs, adlfs).
    """

    def __init__(self, fs: AbstractFileSystem) -> None:
        self.fs: Any = fs

    def create(self, path: str, data: bytes) -> bool:
        """A conditional write, and after any error a look at what is there: a retry inside the client can be refused its own object."""
        try:
            self.fs.pipe_file(path, data, mode="create")
        except Exception as error:
            # servers and clients differ in the error for "exists": FileExistsError, EINVAL, a bare 412; only the object itself tells
            try:
                return self.read(path, 0, None) == data
            except FileNotFoundError:
                raise error from None
        return True

    def put(self, path: str, data: bytes) -> None:
        """One object, replaced."""
        self.fs.pipe_file(path, data)

    def write(self, path: str, chunks: Sequence[bytes | memoryview]) -> None:
        """One object. fsspec wants it as one `bytes`, which costs a copy."""
        data = chunks[0] if len(chunks) == 1 and isinstance(chunks[0], bytes) else b"".join(chunks)
        self._forget()
        if self.fs.exists(path):
            raise FileExistsError(errno.EEXIST, "exists", path)
        self.fs.pipe_file(path, data)

    def read(self, path: str, start: int, stop: int | None) -> bytes:
        """Bytes from `start` to `stop`."""
        return bytes(self.fs.cat_file(path, start=start or None, end=stop))

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, Bytes]], on_bytes: Callable[[int, Bytes], None]) -> None:
        """Requests of up to 8 MiB, 8 at once; ranges that touch share requests. Ranges must not overlap."""
        parts = _requests([(offset, buffer.size) for offset, buffer in ranges])
        for first in range(0, len(parts), _PARTS_AT_ONCE):
            batch = parts[first : first + _PARTS_AT_ONCE]
            bodies = self.fs.cat_ranges([path] * len(batch), [start for start, _ in batch], [stop for _, stop in batch], on_error="raise")
            for (start, stop), body in zip(batch, bodies, strict=True):
                if len(body) != stop - start:
                    raise EOFError(f"{path} ends at byte {start + len(body)}")
                _scatter(np.frombuffer(body, np.uint8), start, ranges, on_bytes)

    def size(self, path: str) -> int:
        """Bytes of an object."""
        self._forget()
        info = self.fs.info(path)
        if info.get("type") == "directory":
            raise FileNotFoundError(errno.ENOENT, "no file, only names below it", path)
        return int(info["size"])

    def list(self, folder: str) -> list[str]:
        """Names of objects and folders."""
        self._forget()
        try:
            entries = self.fs.ls(folder, detail=False)
        except FileNotFoundError:
            return []
        names = {str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries if str(entry).strip("/") != folder.strip("/")}
        return [name for name in names if name and not name.startswith(".")]

    def delete(self, path: str) -> None:
        """Remove an object."""
        try:
            self.fs.rm_file(path)
        except FileNotFoundError:
            pass
        finally:
            self._forget()

    def delete_folder(self, folder: str) -> None:
        """Remove the objects below a folder."""
        try:
            self.fs.rm(folder, recursive=True)
        except FileNotFoundError:
            pass
        finally:
            self._forget()

    def _forget(self) -> None:
        # clients remember listings; another process's commit would stay unseen
        self.fs.invalidate_cache()


def _requests(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """(start, stop) of the requests for ranges of (offset, bytes): touching ranges merged, then cut into parts."""
    merged: list[list[int]] = []
    for offset, size in ranges:
        if size and merged and merged[-1][1] == offset:
            merged[-1][1] += size
        elif size:
            merged.append([offset, offset + size])
    return [(at, min(at + _PART_BYTES, stop)) for start, stop in merged for at in range(start, stop, _PART_BYTES)]


def _scatter(body: Bytes, start: int, ranges: Sequence[tuple[int, Bytes]], on_bytes: Callable[[int, Bytes], None]) -> None:
    """Copy the bytes of one request, which begin at `start`, into the ranges that they belong to."""
    for index, (offset, buffer) in enumerate(ranges):
        first, last = max(offset, start), min(offset + buffer.size, start + body.size)
        if first < last:
            part = buffer[first - offset : last - offset]
            np.copyto(part, body[first - start : last - start])
            on_bytes(index, part)
