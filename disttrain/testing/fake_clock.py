"""A clock that stands still until a test moves it."""

from __future__ import annotations


class FakeClock:
    """A `disttrain.clock.Clock` for tests.

    Args:
        monotonic_s: first monotonic reading, in seconds.
        wall_s: first wall reading, in seconds since 1970-01-01 UTC.

    Example:
        >>> clock = FakeClock(monotonic_s=100.0)
        >>> clock.advance(2.5)
        >>> clock.monotonic_s()
        102.5
    """

    def __init__(self, monotonic_s: float = 0.0, wall_s: float = 1_700_000_000.0) -> None:
        self._monotonic_s = monotonic_s
        self._wall_s = wall_s

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def wall_s(self) -> float:
        return self._wall_s

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both readings. Raises ValueError for a negative number: a monotonic clock never goes back."""
        if seconds < 0:
            raise ValueError(f"FakeClock.advance(seconds={seconds!r}): expected 0 or more; only set_wall() can go back.")
        self._monotonic_s += seconds
        self._wall_s += seconds

    def set_wall(self, wall_s: float) -> None:
        """Set the wall reading alone, as an administrator or a time server does."""
        self._wall_s = wall_s
