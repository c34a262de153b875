"""The end of a communicator: begun by any thread, once, and over within a bound, or the process ends itself.

A kernel that waits for a dead member holds the GPU for ever, and with it every thread of this process that waits for the GPU. Where nothing
ends it, the driver of the GPU does, with the process: an ordinary loss, and the worker is replaced.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from disttrain.collectives.nccl import Nccl

_log = logging.getLogger(__name__)
_LOOK_AROUND_S = 0.002

EndProcess = Callable[[str], None]


class CommunicatorEnd:
    """Of one communicator.

    Args:
        communicator: what ends.
        end_process: ends this process, for the reason that it is given.
        within_s: what is under way must have left the GPU by then.
    """

    def __init__(self, communicator: Nccl, end_process: EndProcess, within_s: float = 20.0) -> None:
        self._belongings: list[Any] = [communicator]
        self._end_process, self._within_s = end_process, within_s
        self._lock = threading.Lock()
        self._begun = self._in_vain = False
        self._over = threading.Event()

    def keep(self, *belongings: Any) -> None:
        """Hold on to these as long as the communicator is there: what is under way reads and writes them."""
        self._belongings.extend(belongings)

    def abort(self, works: list[Any], because: str) -> None:
        """Begin to end it with what is under way. Returns at once, never raises; the second time it does nothing."""
        self._begin(lambda: self._bounded(works, because))

    def retire(self) -> None:
        """Begin to end it where nothing of this member is under way: what it has sent to others still arrives. Returns at once."""
        self._begin(self._in_peace)

    def await_end(self, works: list[Any]) -> None:
        """Return when it is over, and `works` have left the GPU: within the bound. It has begun."""
        self._over.wait()
        if not self._in_vain and not self._left(works):
            self._end_process(f"what was under way did not leave the GPU within {self._within_s:g} s of an abort")

    def _begin(self, work: Callable[[], None]) -> None:
        with self._lock:
            if self._begun:
                return
            self._begun = True
        try:
            threading.Thread(target=work, name="end-communicator", daemon=True).start()
        except RuntimeError as error:  # no more threads in this container
            self._finish(f"its communicator could not be ended: {error}")

    def _bounded(self, works: list[Any], because: str) -> None:
        returned: list[str] = []  # what it raised, or ""
        come = threading.Event()
        communicator = self._belongings[0]

        def call() -> None:
            try:
                communicator.abort()
            except BaseException as error:
                returned.append(f"{type(error).__name__}: {error}".splitlines()[0])
            else:
                returned.append("")
            come.set()

        threading.Thread(target=call, name="abort-communicator", daemon=True).start()
        if not come.wait(self._within_s):
            self._finish(f"{because}, and its communicator could not be aborted within {self._within_s:g} s")
        elif returned[0] and works:
            self._finish(f"{because}, and its communicator could not be aborted: {returned[0]}")
        elif not self._left(works):
            self._finish(f"{because}, and what was under way did not leave the GPU within {self._within_s:g} s")
        else:
            if returned[0]:
                _log.warning("aborting a communicator failed, with nothing under way: %s", returned[0])
            self._finish(None)

    def _left(self, works: list[Any]) -> bool:
        """Whether all of `works` have ended, which an abort makes them do."""
        pause = threading.Event()
        try:
            for _ in range(int(self._within_s / _LOOK_AROUND_S) + 1):
                if all(work.is_completed() for work in works):
                    return True
                pause.wait(_LOOK_AROUND_S)
        except RuntimeError:  # the GPU is lost: whoever uses it next is told
            return True
        return False

    def _in_peace(self) -> None:
        try:
            self._belongings[0].retire()
        except BaseException as error:
            _log.warning("a communicator did not end in peace: %s: %s", type(error).__name__, error)
            self._bounded([], "its group is over")
        else:
            self._finish(None)

    def _finish(self, why_not: str | None) -> None:
        try:
            if why_not is not None:
                self._in_vain = True
                self._end_process(why_not)
            self._belongings.clear()  # the last reference to the communicator: its destructor joins threads, so not in another's way
        finally:
            self._over.set()
