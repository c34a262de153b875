"""Telling the world, at least once a second, that the driver lives and what it does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from disttrain.rundir.directory import RunDirectory
from disttrain.rundir.timeline import Console

_EVERY_S = 1.0
_LOOK_S = 0.2  # something that happened is told so soon
_LAST_S = 30.0
_WHERE = ("call", "kind", "epoch", "epochs", "step", "logs")  # what is still worth knowing after the end


class Heartbeat:
    """Writes status.json and the timeline on a thread of its own; a store that is slow or away costs the training nothing.

    What could not be written is kept by the timeline and written once the store is back.

    Args:
        status: what the driver does now.
        stop: called when `disttrain stop` asks for an end, with how often that counts as Ctrl-C.
    """

    def __init__(
        self, directory: RunDirectory, console: Console, status: Callable[[], dict[str, Any]], stop: Callable[[int], None] | None = None
    ) -> None:
        self._directory, self._timeline, self._prints, self._status = directory, console.timeline, console.prints, status
        self._console, self._on_stop, self._asked = console, stop, 0
        self._over = threading.Event()
        self._beats = 0
        self._where: dict[str, Any] = {}  # how far the newest fit was
        self._failures = 0  # beats in a row that storage did not take
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, last: dict[str, Any]) -> None:
        """Write the last words and end; without them where storage hangs."""
        self._over.set()
        self._thread.join(timeout=_LAST_S)
        if not self._thread.is_alive():
            self._beat(last)

    def _run(self) -> None:
        self._beat({})
        waited = heeded = 0.0
        while not self._over.wait(_LOOK_S):
            waited, heeded = waited + _LOOK_S, heeded + _LOOK_S
            if heeded >= _EVERY_S:
                heeded = 0.0
                self._heed()
            if waited >= _EVERY_S or (not self._failures and (self._prints.waiting or self._timeline.unwritten() is not None)):
                waited = 0.0
                self._beat({})

    def _heed(self) -> None:
        """Has somebody asked for an end through the directory?"""
        try:
            asked = self._directory.asked_to_stop()
        except Exception:  # a store that is away asks for nothing
            return
        if self._on_stop is not None and asked > self._asked:
            times, self._asked = asked - self._asked, asked
            self._console.event("stop asked", "disttrain stop has asked for an end")
            self._on_stop(times)

    def _beat(self, last: dict[str, Any]) -> None:
        self._beats += 1
        try:
            status = self._status()
            if status.get("kind") == "fit":
                self._where = {name: status[name] for name in _WHERE if name in status}
            before = self._where if last else {}
            self._directory.write_status({**before, **status, "beat": self._beats, **last})
            while (events := self._timeline.unwritten()) is not None:
                self._directory.add_events(events.lines)
                self._timeline.written(events)
            self._prints.write(self._directory.add_prints)
        except Exception as error:  # status is a hint; the run does not depend on it
            if not self._failures:  # said once, however long it lasts
                self._timeline.add("status failed", reason=f"{type(error).__name__}: {error}")
            self._failures += 1
        else:
            if self._failures:
                self._timeline.add("status written again", missed=self._failures)
            self._failures = 0
