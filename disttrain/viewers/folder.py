"""The files that the viewer may read: images and arrays below one folder, and nothing that leads out of it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from disttrain.errors import UsageError
from disttrain.viewers.pictures import ENDINGS
from disttrain.viewers.refusal import Refusal

ARRAY_ENDINGS = (".npy", ".npz")
MAX_FILES = 10_000
MAX_LOOKED_AT = 200_000  # entries of all folders
_KEPT_SECONDS = 2.0  # a listing serves all tabs for so long
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Found:
    """A file of the folder.

    Args:
        key: 16 hexadecimal digits, made of its name: what the page calls it.
        name: its path below the folder, with "/".
    """

    key: str
    name: str
    modified_ns: int

    @property
    def is_array(self) -> bool:
        """An .npy or .npz file, else an image."""
        return self.name.lower().endswith(ARRAY_ENDINGS)


class Folder:
    """Lists and opens. A request names a file by the key that the listing gave it, so no path ever comes from outside.

    Files and folders whose name begins with a dot are left out; so are links that lead out, pipes and devices.

    Raises:
        UsageError: there is no such folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._root = os.path.realpath(self.path)
        if not os.path.isdir(self._root):
            raise UsageError(f"input_folder={self.path!r}: there is no such folder.\n  expected  a folder with images, .npy or .npz files")
        self._lock = threading.Lock()
        self._listed: dict[str, Found] = {}
        self._message: str | None = None
        self._listed_at = -_KEPT_SECONDS

    def files(self) -> tuple[dict[str, Found], str | None]:
        """The files by key, in natural order, and a message where there is none or where some were left out."""
        with self._lock:
            if time.monotonic() - self._listed_at >= _KEPT_SECONDS:
                found: list[Found] = []
                cut = False
                for item in self._walk():
                    if len(found) == MAX_FILES:
                        cut = True
                        break
                    found.append(item)
                self._listed = {item.key: item for item in sorted(found, key=lambda item: _natural(item.name))}
                self._message = f"only {MAX_FILES} files of {self.path} are shown" if cut else None
                if not found:
                    self._message = f"{self.path} has no images ({' '.join(ENDINGS)}) and no .npy or .npz files"
                self._listed_at = time.monotonic()
            return self._listed, self._message

    def open(self, item: Found) -> IO[bytes]:
        """A file of the listing, which may have changed since.

        Raises:
            Refusal: it is gone, cannot be read, or is no longer a file below the folder.
        """
        path = os.path.realpath(os.path.join(self._root, *item.name.split("/")))
        try:
            if not self._is_inside(path):
                raise Refusal(403, f"{item.name} leads out of {self.path}")
            # no waiting for a pipe's other end; no link put in place since the path was resolved
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise Refusal(404, f"{item.name} cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Refusal(403, f"{item.name} is no plain file")
        return os.fdopen(descriptor, "rb")

    def _walk(self) -> Iterator[Found]:
        looked_at = 0
        waiting = [""]
        while waiting:
            below = waiting.pop(0)  # the nearest folders first, for the limit
            try:
                entries = sorted(os.scandir(os.path.join(self._root, below)), key=lambda entry: _natural(entry.name))
            except OSError:
                continue  # gone, or not ours to read
            for entry in entries:
                looked_at += 1
                if looked_at > MAX_LOOKED_AT:
                    return
                if entry.name.startswith(".") or not _encodes(entry.name):
                    continue
                name = f"{below}/{entry.name}" if below else entry.name
                try:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(name)
                    elif entry.name.lower().endswith((*ENDINGS, *ARRAY_ENDINGS)) and self._may_show(entry):
                        yield Found(hashlib.sha256(name.encode()).hexdigest()[:16], name, entry.stat().st_mtime_ns)
                except OSError:
                    continue

    def _may_show(self, entry: os.DirEntry[str]) -> bool:
        if entry.is_symlink() and not self._is_inside(os.path.realpath(entry.path)):
            return False
        return entry.is_file()

    def _is_inside(self, real_path: str) -> bool:
        below = os.path.relpath(real_path, self._root)
        return os.path.commonpath([real_path, self._root]) == self._root and not any(part.startswith(".") for part in below.split(os.sep))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts "2.png" before "10.png"."""
    return [(0, int(part), "") if part.isdecimal() and len(part) < 20 else (1, 0, part.lower()) for part in _DIGITS.split(name) if part]


def _encodes(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
