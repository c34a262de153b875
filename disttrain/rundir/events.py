"""The timeline of a run in its directory: lines of JSON that are added to, one file for each attempt.

events/a0001.jsonl              where files can be added to
events/a0001/00000001.jsonl     on object stores, which only know whole objects: in pieces, the last of which is replaced until it is full
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from disttrain.checkpoint import Store
from disttrain.parsing import parsed_object

FOLDER = "events"
_PIECE_BYTES = 8 << 10  # what an event costs at most, beside itself; some ten thousand pieces in a week of an event a second
_READ_BYTES = 1 << 20


class EventFile:
    """Adds to the timeline of one attempt. What fails may be tried again, with more: nothing stands there twice.

    Args:
        attempt: its number; no other process writes to it.
        folder: where such files lie; that of the timeline unless told.
    """

    def __init__(self, store: Store, attempt: int, folder: str = FOLDER) -> None:
        self._store, self._name = store, f"{folder}/a{attempt:04d}"
        self._size = 0  # of the file, as far as it is known to be whole
        self._piece, self._number = b"", 1  # what the last one holds

    def add(self, lines: Sequence[str]) -> None:
        """Write these behind the others. A few hundred at a time: on an object store they become one object."""
        data = "".join(f"{line}\n" for line in lines).encode()
        if self._store.can_append:
            self._size = self._store.append(f"{self._name}.jsonl", data, self._size)
            return
        piece = self._piece + data
        self._store.put(f"{self._name}/{self._number:08d}.jsonl", piece)
        self._piece, self._number = (b"", self._number + 1) if len(piece) >= _PIECE_BYTES else (piece, self._number)


def read_events(store: Store, folder: str = FOLDER) -> Iterator[dict[str, Any]]:
    """The events of all attempts, in the order in which they were noted; a line that a kill cut off, or that is damaged, is left out."""
    for name in store.list(folder):
        path = f"{folder}/{name}"
        paths = [path] if name.endswith(".jsonl") else [f"{path}/{piece}" for piece in store.list(path)]
        for line in (line for path in paths for line in _lines(store, path)):
            with suppress(ValueError):
                yield parsed_object(line)


def recent_events(store: Store, count: int, folder: str = FOLDER) -> list[dict[str, Any]]:
    """The last events of the newest attempt, oldest first: as many as one short read brings, `count` at most."""
    names = store.list(folder)
    if not names:
        return []
    path = f"{folder}/{names[-1]}"
    if not path.endswith(".jsonl"):
        pieces = store.list(path)
        if not pieces:
            return []
        path = f"{path}/{pieces[-1]}"
    size = store.size(path)
    start = max(0, size - _PIECE_BYTES)
    lines = store.read(path, start, size).split(b"\n")
    found = []
    for line in lines[1:] if start else lines:  # the first one is cut off
        with suppress(ValueError):
            found.append(parsed_object(line))
    return found[-count:]


def _lines(store: Store, path: str) -> Iterator[bytes]:
    rest = b""
    for start in range(0, store.size(path), _READ_BYTES):
        *lines, rest = (rest + store.read(path, start, start + _READ_BYTES)).split(b"\n")
        yield from lines
