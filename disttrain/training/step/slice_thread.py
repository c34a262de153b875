"""Running a step of the script's own for several slices side by side, so that all can stop where they apply gradients."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch


class Abandoned(BaseException):
    """Unwinds a step that will not be finished: another slice failed, or the group broke."""


class SliceThread:
    """One slice's run of a function that may stop in the middle, on a thread of its own while the others wait: a coroutine for code
    that does not know it is one.

    Args:
        work: the function; it is handed `pause`, which takes what the slice asks for and returns once that was done.
        save, restore: keep what the slice finds changed when it goes on, and bring it back; called while it is its turn.
    """

    def __init__(self, work: Callable[[Callable[[Any], None]], Any], save: Callable[[], Any], restore: Callable[[Any], None]) -> None:
        self._work, self._save, self._restore = work, save, restore
        self._turn, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._threads = torch.get_num_threads()
        self._abandoned = False
        self._error: BaseException | None = None
        self.ended = False
        self.request: Any = None  # what it stopped for
        self.result: Any = None

    def advance(self) -> None:
        """Run to the next stop or to the end; raise what the function raised."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="slice", daemon=True)
            self._thread.start()
        else:
            self._turn.release()
        self._stopped.acquire()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread, unwinding the function if it has not ended."""
        if self._thread is not None:
            self._abandoned = True
            self._turn.release()
            self._thread.join()

    def _run(self) -> None:
        torch.set_num_threads(self._threads)  # a setting of each thread in some builds; sums depend on it
        try:
            self.result = self._work(self._pause)
        except Abandoned:
            pass
        except BaseException as error:  # raised again where the slice is waited for
            self._error = error
        self.ended = True
        self._stopped.release()

    def _pause(self, request: Any) -> None:
        self.request = request
        kept = self._save()
        self._stopped.release()
        self._turn.acquire()
        if self._abandoned:
            raise Abandoned
        self._restore(kept)
