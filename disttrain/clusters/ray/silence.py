"""Who has not been heard for how long, less the time in which nobody listened."""

from __future__ import annotations

from disttrain.clock import Clock

_ROUND_S = (
    1.0  # a listener comes by ten times a second; one that takes longer was held up: a busy interpreter, a SIGSTOP, a sleeping machine
)


class Silence:
    """When each worker was last heard.

    Args:
        silent_s: from then on a worker counts as silent.
    """

    def __init__(self, silent_s: float, clock: Clock) -> None:
        self._silent_s, self._clock = silent_s, clock
        self._heard: dict[str, float] = {}
        self._listened = clock.monotonic_s()

    def heard(self, worker: str) -> None:
        """Now."""
        self._heard[worker] = self._clock.monotonic_s()

    def forget(self, worker: str) -> None:
        """It is gone."""
        self._heard.pop(worker, None)

    def listen(self) -> None:
        """To be called by who listens, each time round. A pause of its own is nobody's silence: all that was heard moves on by it."""
        now = self._clock.monotonic_s()
        pause = now - self._listened
        self._listened = now
        if pause > _ROUND_S:
            self._heard = {worker: min(now, heard + pause) for worker, heard in self._heard.items()}

    def since(self, worker: str) -> float | None:
        """Since when the worker has been silent; None while it is not."""
        heard = self._heard.get(worker)
        return heard if heard is not None and self._clock.monotonic_s() - heard > self._silent_s else None

    def silent(self) -> list[str]:
        """All who are."""
        return [worker for worker in list(self._heard) if self.since(worker) is not None]
