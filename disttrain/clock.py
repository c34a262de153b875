"""What time it is: asked for through `Clock`, so that a test can hold the hands."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings, both in seconds."""

    def monotonic_s(self) -> float:
        """Never goes back and means nothing by itself: for limits and durations."""
        ...

    def wall_s(self) -> float:
        """Since 1970-01-01 UTC, and may jump when somebody sets the clock: for people and logs, never for a decision."""
        ...


class SystemClock:
    """The clock of this machine."""

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wall_s(self) -> float:
        return time.time()
