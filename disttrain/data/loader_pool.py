"""Loader processes beside a worker: asked for slices by ticket, they make them ahead of the steps that take them.

Which process makes a slice decides nothing. One that dies is started again, once for each request that it dies at: then that is named.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import socket
import sys
import time
import warnings
import weakref
from collections import OrderedDict, deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disttrain.data import loader_process
from disttrain.data.loader_process import Begun, Failed, Made, Request, Said
from disttrain.data.loader_settings import LoaderSettings
from disttrain.data.transport import receive, send
from disttrain.errors import DataError

_DEATHS = 2  # at one request: then it is the request
_SHOWN = 5  # sample numbers in a message
_JOIN_S = 2.0
_BEGINS_S = 10.0  # so long may a forked process take to say that it runs


class LoaderPool:
    """The processes of one source.

    Args:
        source: where samples come from. A forked process has it without a copy; started otherwise, it must pickle.
    """

    def __init__(self, source: Any, settings: LoaderSettings) -> None:
        self._source, self._settings = source, settings
        self._waiting: deque[Request] = deque()
        self._made: dict[int, Made | Failed] = {}
        self._dropped: set[int] = set()
        self._deaths: dict[int, int] = {}
        self._pid = os.getpid()
        self._processes = [_Process(source, settings, number) for number in range(settings.workers)]
        self._end = weakref.finalize(self, _end, self._processes, self._pid)

    def ask(self, ticket: int, indices: NDArray[np.int64], key: int, read: Any = None) -> None:
        """Let the samples of these numbers be made, of what was `read` of them for a source that makes them so; `take` gives them."""
        self._waiting.append(Request(ticket, indices, key, read))
        self._hand_out()

    def take(self, ticket: int) -> Any:
        """The batch that was asked for by this ticket; waits for it.

        Raises:
            DataError: a loader process dies whenever it makes it, or takes longer than the loader's timeout.
            Exception: what the script's code raised there.
        """
        until = time.monotonic() + self._settings.timeout_s if self._settings.timeout_s else None
        while ticket not in self._made:
            self._hear(until)
        answer = self._made.pop(ticket)
        if isinstance(answer, Failed):
            raise _as_raised(answer)
        return answer.batch

    def forget(self, ticket: int) -> None:
        """Nobody will take it."""
        if self._made.pop(ticket, None) is not None:
            return
        left = [request for request in self._waiting if request.ticket != ticket]
        if len(left) == len(self._waiting):
            self._dropped.add(ticket)
        self._waiting = deque(left)

    def close(self) -> None:
        """End the processes."""
        self._end()

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return [process.pid for process in self._processes]

    # -- the lines ------------------------------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        while self._waiting:
            process = min(self._processes, key=lambda process: len(process.asked))
            if len(process.asked) >= self._settings.prefetch:
                return
            request = self._waiting.popleft()
            process.asked[request.ticket] = request
            try:
                send(process.line, request)
            except OSError:
                self._replace(process)

    def _hear(self, until: float | None) -> None:
        """Take what the processes have sent; waits until one has."""
        poll, by_line = select.poll(), {process.line.fileno(): process for process in self._processes}
        for descriptor in by_line:
            poll.register(descriptor, select.POLLIN)
        beginning = [process for process in self._processes if not process.runs]
        looks = [process.begun_s + _BEGINS_S for process in beginning] + ([] if until is None else [until])
        found = poll.poll(max(0.0, min(looks) - time.monotonic()) * 1e3 if looks else None)
        if not found:
            hangs = [process for process in beginning if time.monotonic() >= process.begun_s + _BEGINS_S]
            for process in hangs:
                self._begin_again(process)
            if hangs or until is None or time.monotonic() < until:
                return
            raise DataError(
                f"the DataLoader's processes gave nothing for {self._settings.timeout_s:g} s.\n"
                f"  expected  a batch within DataLoader(timeout={self._settings.timeout_s:g})\n  try       a longer timeout, or 0"
            )
        for descriptor, _ in found:
            process = by_line[descriptor]
            try:
                answer = receive(process.line)
            except (EOFError, OSError):
                self._replace(process)
                continue
            process.runs = True
            if isinstance(answer, Begun):
                continue
            if isinstance(answer, Said):
                getattr(sys, answer.stream).write(answer.text)
                continue
            process.asked.pop(answer.ticket, None)
            self._deaths.pop(answer.ticket, None)
            if answer.ticket in self._dropped:
                self._dropped.discard(answer.ticket)
            else:
                self._made[answer.ticket] = answer
        self._hand_out()

    def _begin_again(self, hanging: _Process) -> None:
        """A process hangs before it has run a line of the script's: a thread held a lock as it was forked, and is not there to let go."""
        hanging.kill()
        hanging.end()
        self._processes[hanging.number] = _Process(self._source, self._settings, hanging.number)
        self._waiting.extendleft(reversed(hanging.asked.values()))
        self._hand_out()

    def _replace(self, dead: _Process) -> None:
        """Start a process again and give it what the dead one had been asked for.

        Raises:
            DataError: what it died at has killed one before.
        """
        code = dead.end()
        asked = [request for request in dead.asked.values() if request.ticket not in self._dropped]
        self._dropped.difference_update(dead.asked)
        self._processes[dead.number] = _Process(self._source, self._settings, dead.number)
        if not asked:
            return
        first = asked[0]
        times = self._deaths[first.ticket] = self._deaths.get(first.ticket, 0) + 1
        numbers = ", ".join(map(str, first.indices[:_SHOWN].tolist())) + (", ..." if len(first.indices) > _SHOWN else "")
        name = type(getattr(self._source, "dataset", self._source)).__name__
        if times >= _DEATHS:
            raise DataError(
                f"a loader process {_how(code)} while it made samples {numbers} of {name}, twice.\n"
                "  expected  dataset[i] to return or to raise\n"
                "  try       these samples in this process (num_workers=0), fewer loader processes where memory runs out"
            )
        warnings.warn(f"a loader process {_how(code)} while it made samples {numbers} of {name}: started again.", stacklevel=2)
        self._waiting.extendleft(reversed(asked))
        self._hand_out()


class _Process:
    """One of them, and what it has been asked for, in order."""

    def __init__(self, source: Any, settings: LoaderSettings, number: int) -> None:
        self.number = number
        self.asked: OrderedDict[int, Request] = OrderedDict()
        self.runs = settings.method not in (None, "fork")  # others take seconds to import what they need, and hold no locks
        self.begun_s = time.monotonic()
        self.line, theirs = socket.socketpair()
        context: Any = multiprocessing.get_context(settings.method or ("fork" if sys.platform == "linux" else None))
        self._process = context.Process(
            target=loader_process.serve, args=(theirs, source, settings, number, os.getpid()), name=f"loader-{number}", daemon=True
        )
        try:
            self._process.start()
        finally:
            theirs.close()
        self.pid: int = self._process.pid

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def end(self) -> int | None:
        """Close the line, upon which it ends; its exit code."""
        self.line.close()
        self._process.join(_JOIN_S)
        if self._process.exitcode is None:  # it hangs in the kernel, or the script's code holds the interpreter
            self._process.kill()
            self._process.join(_JOIN_S)
        code: int | None = self._process.exitcode
        return code


def _end(processes: list[_Process], pid: int) -> None:
    if os.getpid() != pid:
        return  # a fork of the process that they belong to
    for process in processes:
        process.line.close()
    for process in processes:
        process.end()


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (", as where memory runs out," if -code == signal.SIGKILL else "")


class LoaderTraceback(Exception):
    """Where an error came from, in another process; the cause of the error here."""


def _as_raised(failed: Failed) -> BaseException:
    error = failed.error if failed.error is not None else DataError(f"a loader process raised {failed.name}")
    error.__cause__ = LoaderTraceback(f"in a loader process:\n{failed.trace}")
    return error
