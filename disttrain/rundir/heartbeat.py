"""Telling the world, at least once a second, that the driver lives and what it does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from disttrain.rundir.directory import RunDirectory
from disttrain.rundir.timeline import Console

_EVERY_S = 1.0
_LOOK_S = 0.2  # something that happened is told so soon


class Heartbeat:
    """Writes status.json and the timeline on a thread of its own; a store that is slow or away costs the training nothing."""

    def __init__(self, directory: RunDirectory, console: Console, status: Callable[[], dict[str, Any]]) -> None:
        self._directory, self._console, self._status = directory, console, status
        self._over = threading.Event()
        self._beats = 0
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, last: dict[str, Any]) -> None:
        """Write the last words and end."""
        self._over.set()
        self._thread.join(timeout=30.0)
        self._beat(last)

    def _run(self) -> None:
        self._beat({})
        waited = 0.0
        while not self._over.wait(_LOOK_S):
            waited += _LOOK_S
            if self._console.changed or waited >= _EVERY_S:
                waited = 0.0
                self._beat({})

    def _beat(self, last: dict[str, Any]) -> None:
        self._beats += 1
        try:
            self._directory.write_status({**self._status(), "beat": self._beats, **last})
            if self._console.changed:
                self._console.changed = False
                self._directory.write_events(list(self._console.events))
        except Exception as error:  # status is a hint; the run does not depend on it
            self._console.events.append({"event": "status failed", "reason": f"{type(error).__name__}: {error}"})
