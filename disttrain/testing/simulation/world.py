"""Simulated time: the queue of what is going to happen, and the clock that jumps from one event to the next."""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class Violation(AssertionError):
    """A promise was broken."""


class World:
    """A `disttrain.clock.Clock`, and everything that is going to happen. One thread; a seed decides all.

    Args:
        seed: of every `rng`.

    Attributes:
        now: seconds.
        events: so many things have happened.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.now, self.events = seed, 0.0, 0
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def monotonic_s(self) -> float:
        return self.now

    def wall_s(self) -> float:
        return 1_700_000_000.0 + self.now

    def rng(self, purpose: str) -> random.Random:
        """A stream of its own for each purpose: taking a fault away leaves the draws of the others as they were."""
        return random.Random(f"{self.seed}/{purpose}")

    def at(self, time: float, action: Callable[..., None], *args: Any) -> None:
        """Let it happen then; of what happens at one time, what was said first comes first."""
        self._number += 1
        heappush(self._queue, (max(time, self.now), self._number, action, args))

    def after(self, seconds: float, action: Callable[..., None], *args: Any) -> None:
        """Let it happen in so many seconds."""
        self._number += 1
        heappush(self._queue, (self.now + seconds, self._number, action, args))

    def step(self) -> None:
        """The next event happens.

        Raises:
            Violation: nothing will ever happen any more.
        """
        if not self._queue:
            raise Violation("nothing will ever happen any more")
        self.now, _, action, args = heappop(self._queue)
        self.events += 1
        action(*args)
