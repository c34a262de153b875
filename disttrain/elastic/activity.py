"""What a worker does just now, noted by the threads that do it and told every second by one that needs none of its collectives."""

from __future__ import annotations

import statistics
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from disttrain.clock import Clock
from disttrain.elastic.messages import Beat

BEAT_S = 1.0
_TICKS_KEPT = 32


class Activity:
    """Notes of one worker; cheap to make, once or twice a tick.

    Args:
        worker: its name.
    """

    def __init__(self, worker: str, clock: Clock) -> None:
        self._worker, self._clock = worker, clock
        self.call, self.generation = -1, -1
        self._doing, self._tick, self._since = "idle", -1, clock.monotonic_s()
        self._began_tick: float | None = None
        self._ticks = 0
        self._slowest = 0.0
        self._last: deque[float] = deque(maxlen=_TICKS_KEPT)

    def begin_call(self, call: int) -> None:
        """Nothing is known of the ticks of this one."""
        self.call, self.generation = call, -1
        self._ticks, self._slowest, self._began_tick = 0, 0.0, None
        self._last = deque(maxlen=_TICKS_KEPT)

    def now(self, doing: str, tick: int = -1) -> None:
        """From here on it does that; said again, the time begins anew, since something got on."""
        self._doing, self._tick, self._since = doing, tick, self._clock.monotonic_s()

    def begin_tick(self, tick: int) -> None:
        """A tick begins."""
        self.now("computing", tick)
        self._began_tick = self._since

    def end_tick(self) -> None:
        """It is complete. The first of a call is not measured: kernels are compiled and memory is laid out in it."""
        if self._began_tick is not None:
            took, self._began_tick = self._clock.monotonic_s() - self._began_tick, None
            self._ticks += 1
            if self._ticks > 1:
                self._last.append(took)
                self._slowest = max(self._slowest, took)

    def waits(self, waiting: bool) -> None:
        """A collective has to wait for others, or goes on."""
        self.now("waiting" if waiting else "computing", self._tick)

    @contextmanager
    def during(self, doing: str) -> Iterator[None]:
        """Do something within something else."""
        before, tick = self._doing, self._tick
        self.now(doing, tick)
        try:
            yield
        finally:
            self.now(before, tick)

    def beat(self) -> Beat:
        """All of it."""
        last = list(self._last)
        return Beat(
            self._worker, self.call, self.generation, self._doing, self._tick, self._clock.monotonic_s() - self._since, self._ticks,
            statistics.median(last) if last else 0.0, self._slowest,
        )  # fmt: skip


class Beating:
    """The thread that tells it.

    Args:
        report: takes each beat.
    """

    def __init__(self, activity: Activity, report: Callable[[object], None]) -> None:
        self._activity, self._report = activity, report
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beats", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(BEAT_S):
            if self._activity.call >= 0:
                self._report(self._activity.beat())
