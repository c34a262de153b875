"""Being told to stop: Ctrl-C (SIGINT), SIGTERM, and SIGHUP of a terminal that goes. Counted, and heard whatever the script is doing."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from disttrain.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE_S = 2.0  # for the script's thread to hear a signal; every command obeys within three seconds
_OVER = b"\0"  # no signal has that number


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise Interrupted in the main thread, as Ctrl-C raises KeyboardInterrupt: what a command has begun, it ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pid = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != pid:
            _as_by_default(number)
        else:
            raise Interrupted(f"stopped by {signal.Signals(number).name}")

    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def end_process(code: int) -> NoReturn:
    """End this process with that code now, whatever its threads do."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _as_by_default(number: int) -> None:
    """In a process that the script has forked: what ends a run is none of its matters."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


class StopRequests:
    """How often the user has asked to stop, from `listen` to `put_back`. In the main thread alone: elsewhere nothing is heard.

    A step is finished and its state is saved when the first request comes; the second one, and one that comes while there is nothing to
    save, raises Interrupted in the script's thread.

    Args:
        at_once: is there nothing to wait for, now?
        wake: called with each request, so that who waits looks.
        stuck: called on another thread when the script's own has not even heard a request to stop at once within two seconds: it is in a
            long call of C, such as one that copies the data. None: it is waited for.
    """

    def __init__(self, at_once: Callable[[], bool], wake: Callable[[], None], stuck: Callable[[], None] | None = None) -> None:
        self._at_once, self._wake, self._stuck = at_once, wake, stuck
        self._handlers: dict[int, Any] = {}
        self._heard = threading.Event()
        self._pipe: tuple[int, int] | None = None
        self._watcher: threading.Thread | None = None
        self._pid = os.getpid()
        self.count = 0
        self.deaf = False  # the run is ending already: what is left to do is short, and half of it leaves processes behind

    def listen(self) -> None:
        """Install the handlers. Whoever has a process ignore SIGHUP (nohup) wants it to outlive its terminal."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._on_signal)
        if self._stuck is not None:
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
            signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            os.register_at_fork(after_in_child=self._let_go)
            self._watcher = threading.Thread(target=self._watch, args=(self._pipe[0],), name="stop-requests", daemon=True)
            self._watcher.start()

    def ask(self, times: int = 1) -> None:
        """Ask as signals do, so often, from any thread."""
        if self.deaf:
            return
        if not self._handlers:  # a session on another thread than the main one: no signal of its own, but its loop looks
            self.count += times
            self._wake()
            return
        self.count += times - 1
        os.kill(self._pid, signal.SIGTERM)

    def keep(self) -> None:
        """Take them back from a library that the script has let take them; what the script itself wants of a signal stays."""
        if threading.current_thread() is threading.main_thread():
            for number in self._handlers:
                now = signal.getsignal(number)
                if (getattr(now, "__module__", None) or "").partition(".")[0] == "ray":
                    signal.signal(number, self._on_signal)

    def put_back(self) -> None:
        """As it was before."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
        if self._pipe is not None and self._watcher is not None:
            signal.set_wakeup_fd(-1)
            os.write(self._pipe[1], _OVER)  # to close it is not enough: a process that the script has forked may hold it open
            self._watcher.join()
            for end in self._pipe:
                os.close(end)
            self._pipe = None

    def _let_go(self) -> None:
        """In a process that the script has forked: a signal for that one must not be taken for one for us."""
        if self._pipe is not None:
            signal.set_wakeup_fd(-1)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return _as_by_default(number)
        self._heard.set()
        if self.deaf or (number == signal.SIGHUP and self.count):  # a terminal that goes says so more than once
            return
        self.count += 1
        self._wake()
        if self.count > 1 or self._at_once():
            raise Interrupted(f"stopped by {signal.Signals(number).name}")

    def _watch(self, pipe: int) -> None:
        """Python's handlers run between two of the main thread's steps; this pipe is written to by the handler that the kernel calls."""
        while _OVER not in (numbers := os.read(pipe, 64)):
            if not set(numbers) & set(SIGNALS):
                continue
            if not self._heard.wait(_PATIENCE_S) and self._at_once() and not self.deaf and self._stuck is not None:
                self._stuck()
            self._heard.clear()
