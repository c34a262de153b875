"""Where the time goes between the command and the first step."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


class Timings:
    """Spans and marks in seconds since the process began. Spans overlap: Ray starts beside the script."""

    def __init__(self) -> None:
        self._zero = float(psutil.Process().create_time())
        self._lock = threading.Lock()
        self.spans: list[tuple[str, float, float]] = []

    def now(self) -> float:
        """Seconds since the process began."""
        return time.time() - self._zero

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = self.now()
        try:
            yield
        finally:
            with self._lock:
                self.spans.append((name, start, self.now()))

    def mark(self, name: str) -> None:
        """Note a moment, the first time it comes."""
        with self._lock:
            if all(known != name for known, _, _ in self.spans):
                self.spans.append((name, self.now(), self.now()))

    def table(self) -> str:
        """The spans by their start, one a line."""
        lines = [f"{'':<40}{'from s':>8}{'to s':>8}{'took s':>8}"]
        for name, start, stop in sorted(self.spans, key=lambda span: span[1]):
            took = f"{stop - start:8.2f}" if stop > start else " " * 8
            lines.append(f"{name:<40}{start:8.2f}{stop:8.2f}{took}")
        return "\n".join(lines)
