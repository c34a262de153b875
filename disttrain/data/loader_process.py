"""One loader process: a request in, a slice out. It keeps nothing between requests, and ends with the process that began it."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import socket
import stat
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from disttrain.data.compat import tell_worker_info
from disttrain.data.generators import seed_generators
from disttrain.data.loader_settings import LoaderSettings
from disttrain.data.shared_room import SharedRoom
from disttrain.data.transport import receive, send
from disttrain.seeds import fold_in

_LOOK_S = 5.0  # how often a process looks whether its parent is still there, should the line not have told


@dataclass(frozen=True, slots=True)
class Request:
    """Make the samples of these numbers, whose seeds begin at `key`; of what was `read` of them, where that is given."""

    ticket: int
    indices: NDArray[np.int64]
    key: int
    read: Any = None


@dataclass(frozen=True, slots=True)
class Begun:
    """The process runs. One that was forked while another thread held a lock may never come so far."""


@dataclass(frozen=True, slots=True)
class Made:
    """The slice that was asked for."""

    ticket: int
    batch: Any


@dataclass(frozen=True, slots=True)
class Said:
    """What the script's code wrote to a standard stream: the parent's may be more than the file that a fork has of it."""

    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """What the script's code raised; `error` is None where it does not pickle."""

    ticket: int
    error: BaseException | None
    name: str
    trace: str


def serve(line: socket.socket, source: Any, settings: LoaderSettings, number: int, parent: int) -> None:
    """Answer requests until the other end of `line` closes.

    Args:
        source: where samples come from, see `Source`.
        number: of this process among those of its pool.
        parent: the process that it ends with.
    """
    _let_go_of_sockets(line.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal: what follows from it is the parent's to say
    signal.signal(signal.SIGTERM, lambda *_: None)  # likewise, where all of a job are told to end; programs that it starts hear it
    torch.set_num_threads(1)
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_hear, args=(line, requests, parent), name="loader-requests", daemon=True).start()
    seed = fold_in(number, "loader process")
    seed_generators(seed)
    tell_worker_info(number, settings.workers, seed, getattr(source, "dataset", source))
    says = threading.Lock()  # one message after the other, should the script have threads
    sys.stdout, sys.stderr = _Stream(sys.stdout, "stdout", line, says), _Stream(sys.stderr, "stderr", line, says)
    room = SharedRoom()
    source.stacked = room.stacked
    send(line, Begun())
    broken: BaseException | None = None
    if settings.init is not None:
        try:
            settings.init(number)
        except BaseException as error:
            broken = error
    while True:
        request = requests.get()
        try:
            if broken is not None:
                raise broken
            if request.read is None:
                batch = source.fetch(request.indices, request.key)
            else:
                batch = source.make(request.read, request.indices, request.key)
            answer: Made | Failed = Made(request.ticket, batch)
            del batch
        except BaseException as error:
            answer = _failed(request.ticket, error)
        with says:
            try:
                send(line, answer, room)
            except OSError:
                os._exit(0)  # nobody hears us
            except Exception as error:  # a batch that does not pickle
                send(line, _failed(request.ticket, error))
        del answer
        room.leave()


class _Stream:
    """A standard stream whose lines go to the parent."""

    def __init__(self, stream: Any, name: str, line: socket.socket, says: threading.Lock) -> None:
        self._stream, self._name, self._line, self._says = stream, name, line, says
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        if lines:
            with self._says, suppress(OSError):
                send(self._line, Said(self._name, "\n".join(lines) + "\n"))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Lines have gone; the rest waits for its end."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _hear(line: socket.socket, requests: queue.SimpleQueue[Request], parent: int) -> None:
    """On a thread of its own: so the parent never waits for us to listen, and its death ends us in the middle of a sample."""
    line_of_requests = line.dup()
    line_of_requests.settimeout(_LOOK_S)
    while True:
        try:
            if not line_of_requests.recv(1, socket.MSG_PEEK):
                os._exit(0)
            requests.put(receive(line_of_requests))
        except TimeoutError:
            if os.getppid() != parent:
                os._exit(0)
        except (EOFError, OSError):
            os._exit(0)


def _failed(ticket: int, error: BaseException) -> Failed:
    trace = "".join(traceback.format_exception(error))
    sent: BaseException | None = None
    with suppress(Exception):
        sent = pickle.loads(pickle.dumps(error))
    return Failed(ticket, sent, f"{type(error).__name__}: {error}", trace)


def _let_go_of_sockets(own: int) -> None:
    """Close the sockets that came along with the fork: a connection counts as broken only when every process that holds it is gone.

    Their numbers stay taken, by the null device: whoever still has one must not close something else by it.
    """
    nothing = os.open(os.devnull, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    try:
        descriptors = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        return
    for descriptor in descriptors:
        if descriptor in (0, 1, 2, own, nothing):
            continue
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.dup2(nothing, descriptor, inheritable=False)
