"""The files of a source, by URL: which there are, how large they are, and reading them, again where that fails."""

from __future__ import annotations

import glob
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import fsspec

from disttrain.data.shards.failures import gave_up
from disttrain.errors import DataError

_ATTEMPTS = 6
_FIRST_PAUSE_S = 0.1  # then twice as long each time: 3 s in all
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")

Found = TypeVar("Found")

_never = threading.Event()


@dataclass
class Files:
    """Files by URL, in an order that is kept.

    Args:
        urls: of each.
        sizes: in bytes.
        marks: what changes when a file does: its time or its tag, as its storage tells.
        options: for the storage, as fsspec takes them.
    """

    urls: list[str]
    sizes: list[int]
    marks: list[str]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.urls)

    def bytes_of(self, number: int, begin: int, end: int) -> bytes:
        """The bytes [begin, end) of a file.

        Raises:
            OSError: it holds fewer, or cannot be read.
        """
        storage, path = self._place(number)
        found: bytes = storage.cat_file(path, start=begin, end=end)  # s3fs has another argument second
        if len(found) != end - begin:
            raise OSError(f"{len(found)} bytes came of [{begin}, {end})")
        return found

    def open(self, number: int, block_bytes: int = 1 << 20) -> Any:
        """A file object that reads it; for the calling thread alone."""
        storage, path = self._place(number)
        return storage.open(path, "rb", block_size=block_bytes)

    def _place(self, number: int) -> tuple[Any, str]:
        # fsspec keeps storages by process and thread: this is a look into a dict, and right in a process that was forked.
        storage, path = fsspec.core.url_to_fs(self.urls[number], **self.options)
        return storage, path


def again_where_it_fails(read: Callable[[], Found], what: str, stopped: threading.Event = _never, attempts: int = _ATTEMPTS) -> Found:
    """What `read` gives, called again, with pauses, where it raises.

    Args:
        what: is read, for people.
        stopped: nobody waits for it any more.

    Raises:
        DataError: the file is not there, may not be read, or is not what it should be.
        StorageUnavailable: its storage did not give it, however often it was asked.
    """
    pause_s = _FIRST_PAUSE_S
    for attempt in range(1, attempts + 1):
        try:
            return read()
        except (DataError, TypeError, LookupError, AttributeError, NameError):
            raise
        except Exception as error:
            hopeless = isinstance(error, FileNotFoundError | PermissionError | ImportError)
            hopeless |= isinstance(error, ValueError) and attempt > 1  # what was read makes no sense, and again
            if hopeless or attempt == attempts or stopped.is_set():
                raise gave_up(error, what, attempt) from error
        stopped.wait(pause_s)
        pause_s *= 2
    raise AssertionError("unreachable")


def files_at(urls: Any, options: Mapping[str, Any] | None, owner: str, ending: str | tuple[str, ...] | None = None) -> Files:
    """The files that URLs name: one, or a list; with `*`, or with `{0000..0099}`, as many as there are, sorted.

    Args:
        ending: of the files of a folder, where one is named.

    Raises:
        DataError: nothing is there.
        StorageUnavailable: the storage does not say.
    """
    named = [urls] if isinstance(urls, str | os.PathLike) else list(urls) if isinstance(urls, Iterable) else None
    if not named or not all(isinstance(url, str | os.PathLike) for url in named):
        raise DataError(f"{owner}({urls!r}): expected a URL or a path, such as 's3://bucket/train-*.{owner}', or a list of them.")
    found = Files([], [], [], dict(options or {}))
    for url in (piece for each in named for piece in _numbered(os.fspath(each))):
        before = len(found)
        again_where_it_fails(partial(_look, url, found, owner, ending, before), url)
        if len(found) == before:
            raise DataError(
                f"{owner}({url!r}): no such file.\n"
                "  expected  files that every worker can read: a URL, or a path that is the same on each host"
            )
    twice = {url for url in found.urls if found.urls.count(url) > 1} if len(set(found.urls)) < len(found) else set()
    if twice:
        raise DataError(f"{owner}: {min(twice)} is given twice: each of its samples would come twice an epoch.")
    return found


def _numbered(url: str) -> list[str]:
    """`{0..3}` written out, as shards are often named."""
    match = _RANGE.search(url)
    if match is None:
        return [url]
    first, last = match.groups()
    numbers = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return [piece for number in numbers for piece in _numbered(url[: match.start()] + number + url[match.end() :])]


def _look(url: str, found: Files, owner: str, ending: str | tuple[str, ...] | None, before: int) -> None:
    del found.urls[before:], found.sizes[before:], found.marks[before:]  # of an attempt that failed
    storage, path = fsspec.core.url_to_fs(url if "://" in url or "::" in url else os.path.abspath(url), **found.options)
    if glob.has_magic(path):
        listed = storage.glob(path, detail=True)
        entries = [listed[name] for name in sorted(listed)]
    else:
        entry = storage.info(path)
        entries = [entry]
        if entry["type"] == "directory":
            inside = storage.find(path, detail=True)
            entries = [inside[name] for name in sorted(inside) if ending is None or name.lower().endswith(ending)]
    for entry in entries:
        if entry["type"] != "file":
            continue
        mark = next((str(entry[name]) for name in ("ETag", "etag", "md5Hash", "mtime", "last_modified", "created") if name in entry), "")
        found.urls.append(_address(storage, url, entry["name"]))
        found.sizes.append(int(entry["size"]))
        found.marks.append(mark)


def _address(storage: Any, url: str, name: str) -> str:
    """The URL of a file that a storage found under `url`, which may go through several storages, as `simplecache::s3://...` does."""
    first, chained, others = url.partition("::")
    if not chained:
        return str(storage.unstrip_protocol(name))
    if "://" in first:
        return f"{first.partition('://')[0]}://{name}::{others}"
    return f"{first}::{others.partition('://')[0]}://{name}"
