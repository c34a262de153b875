"""What the script's code prints in a worker, for the driver: whole lines, in lots, and never more than the line to the driver can bear."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from typing import Any

from disttrain.clock import Clock, SystemClock
from disttrain.elastic.messages import Printed

_BYTES_A_SECOND = 64 << 10
_LINE_CHARS = 4096  # a longer line is cut into several
_TELL_EVERY_S = 0.1


class Prints:
    """Collects; the reports of the worker carry it away.

    Args:
        worker: whose.
        wake: called when there is something to carry after a while without: whoever waits for reports should look.
        bytes_per_second: more than that is dropped, and the number of dropped lines told instead.
    """

    def __init__(self, worker: str, wake: Callable[[], None], bytes_per_second: int = _BYTES_A_SECOND, clock: Clock | None = None) -> None:
        self._worker, self._wake = worker, wake
        self._clock = clock or SystemClock()
        self._rate = bytes_per_second
        self._budget, self._filled = float(bytes_per_second), self._clock.monotonic_s()
        self._lock = threading.Lock()
        self._begun: dict[str, str] = {}  # lines without an end so far
        self._lines: list[tuple[str, str]] = []
        self._dropped = 0
        self._woken, self._told = False, -_TELL_EVERY_S

    def add(self, stream: str, text: str) -> None:
        """Take what was written to `stream`; from any thread."""
        with self._lock:
            now = self._clock.monotonic_s()
            self._budget = min(float(self._rate), self._budget + (now - self._filled) * self._rate)
            self._filled = now
            *lines, rest = (self._begun.get(stream, "") + text).split("\n")
            while len(rest) >= _LINE_CHARS:
                lines.append(rest[:_LINE_CHARS])
                rest = rest[_LINE_CHARS:]
            self._begun[stream] = rest
            for line in lines:
                if len(line) >= self._budget:
                    self._dropped += 1
                    continue
                self._budget -= len(line) + 1
                self._lines.append((stream, line))
            wake = bool(self._lines or self._dropped) and not self._woken and now - self._told >= _TELL_EVERY_S
            self._woken = self._woken or wake
        if wake:
            self._wake()

    def take(self) -> list[Printed]:
        """What was printed since the last time, in order; neighbours of one stream in one."""
        with self._lock:
            lines, self._lines = self._lines, []
            if self._dropped:
                lines.append(("stderr", f"[{self._dropped} lines were dropped: more than {self._rate >> 10} KiB a second]"))
                self._dropped = 0
            self._woken, self._told = False, self._clock.monotonic_s()
        grouped = groupby(lines, key=itemgetter(0))
        return [Printed(self._worker, stream, "\n".join(line for _, line in group)) for stream, group in grouped]


class Tee:
    """A standard stream of this process that also tells `prints`. Everything but writing is the stream's own."""

    def __init__(self, stream: Any, name: str, prints: Prints) -> None:
        self._stream, self._name, self._prints = stream, name, prints

    def write(self, text: str) -> int:
        written = self._stream.write(text)
        self._prints.add(self._name, text)
        return len(text) if written is None else int(written)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def listen_to_this_process(prints: Prints) -> None:
    """From now on, what Python code writes to stdout and stderr is told too; what C code writes goes to the worker's log file alone."""
    sys.stdout, sys.stderr = Tee(sys.stdout, "stdout", prints), Tee(sys.stderr, "stderr", prints)
