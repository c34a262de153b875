"""What the script and the workers of a run printed, kept in its directory: lines of JSON, so many for an attempt and no more.

prints/a0001.jsonl              in the layout of `events/`, see `events.py`
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from disttrain.checkpoint import Store
from disttrain.clock import Clock, SystemClock
from disttrain.redaction import hidden
from disttrain.rundir.events import read_events

FOLDER = "prints"
SCRIPT = "script"
_KEPT_BYTES = 16 << 20  # of an attempt: a print in a loop must not fill a bucket
_UNWRITTEN = 20_000  # lines that wait for storage that is away
_AT_ONCE = 500
_LINE_CHARS = 4096


class Prints:
    """Lines until they are written. Any thread may add; one writes.

    Args:
        clock: gives the time of a line.
        kept_bytes: no more is kept of an attempt.
    """

    def __init__(self, clock: Clock | None = None, kept_bytes: int = _KEPT_BYTES) -> None:
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._lock = threading.Lock()
        self._waiting: deque[str] = deque()
        self._left = self._most = kept_bytes
        self._begun: dict[str, bytes] = {}  # of the script's streams: a line without an end so far

    def add(self, source: str, stream: str, text: str, rank: int | None = None) -> None:
        """`source` ("script" or a worker's name) printed these lines to `stream`."""
        for line in text.split("\n"):
            self._add({"source": source, "stream": stream, "text": hidden(line[:_LINE_CHARS]), **({} if rank is None else {"rank": rank})})

    def overhear(self, stream: str, data: bytes) -> None:
        """The command wrote this to `stream` ("<stdout>" or "<stderr>"): a listener for `overheard`."""
        *lines, rest = (self._begun.get(stream, b"") + data).split(b"\n")
        self._begun[stream] = rest.rpartition(b"\r")[2][-_LINE_CHARS:]  # what is drawn anew in place is no line yet
        for line in lines:
            text = line.removesuffix(b"\r").rpartition(b"\r")[2].removeprefix(b"\x1b[K").decode(errors="replace")
            if not text.startswith("[disttrain] (w"):  # those of workers are added where they arrive
                self.add(SCRIPT, stream.strip("<>"), text)

    def write(self, add: Callable[[list[str]], None]) -> None:
        """Hand all lines on, some at a time; what `add` does not take stays."""
        while True:
            with self._lock:
                lines = list(islice(self._waiting, _AT_ONCE))
            if not lines:
                return
            add(lines)
            with self._lock:
                for _ in lines:
                    self._waiting.popleft()

    @property
    def waiting(self) -> bool:
        """Is there anything to write?"""
        return bool(self._waiting)

    def _add(self, line: dict[str, Any]) -> None:
        made = json.dumps({"time": round(self._clock.wall_s(), 3), **line})
        with self._lock:
            if self._left <= 0 or len(self._waiting) >= _UNWRITTEN:
                return
            self._left -= len(made) + 1
            if self._left <= 0:
                words = f"[more is not kept: {self._most >> 20} MiB of this attempt are]"
                made = json.dumps({"time": round(self._clock.wall_s(), 3), "source": SCRIPT, "stream": "stderr", "text": words})
            self._waiting.append(made)


def read_prints(store: Store) -> Iterator[dict[str, Any]]:
    """The lines of all attempts, in order; one that is damaged or no line of prints is left out."""
    for line in read_events(store, FOLDER):
        if all(isinstance(line.get(name), str) for name in ("source", "stream", "text")) and isinstance(line.get("time"), int | float):
            yield line
