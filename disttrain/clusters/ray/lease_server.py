"""Leases: workers may go on while the driver lives and moves. A small process beside the driver grants them, so a busy driver loses nobody.

A callback that holds the driver's interpreter for half a minute stops every thread of its Python; this process asks the kernel instead
whether the driver is there and not stopped, and says so to each worker once a second. It ends with the driver. So a lease runs out where
the driver is dead, where it is stopped (SIGSTOP, Ctrl-Z: somebody may have taken its run over meanwhile), and where worker and driver
cannot reach each other; and a worker that the driver has given up (`fence`) is told so, the moment it can be reached again.

The process uses the standard library alone: `python -I -S lease_server.py HOST PORT`, a pipe from the driver as its standard input. The
first line there is the token, each later one fences a worker. It prints its port. A worker connects to it, sends one line, "TOKEN WORKER",
and then `ASK` whenever it likes; the answer is `GRANTED`, `REFUSED` (the driver is stopped), or `FENCED`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __name__ != "__main__":
    from disttrain.beside import Beside  # the process itself knows nothing of disttrain
    from disttrain.errors import InfrastructureError

ASK, GRANTED, REFUSED, FENCED = b"?", b"y", b"n", b"f"
_DRIVER_EVERY_S = 1.0  # a child that the script forked may hold the pipe open when the driver is gone
_LINE_BYTES = 4096
_STRANGERS = 64  # so many connections may be open that have not said the token yet; a worker's says it at once


class LeaseServer:
    """The driver's side: starts the process, keeps it running, fences workers.

    Args:
        host: an address of this machine that workers reach; the process listens there, on a port of its own choice.

    Attributes:
        address, token: what a worker needs to ask.
    """

    def __init__(self, host: str) -> None:
        self.token = secrets.token_hex(16)
        self._fenced: list[str] = []
        self._closed = False
        self._process = self._start(host, 0)
        self.address = host, self._process.port

    def fence(self, worker: str) -> None:
        """Never renew this worker's lease again."""
        self._fenced.append(worker)
        self._process.tell(worker)  # if it has ended, `tend` tells the next one

    def tend(self) -> None:
        """Start the process again where somebody has ended it; to be called now and then, well within a lease."""
        if not self._closed and self._process.ended:
            self._process.end()
            with contextlib.suppress(OSError, InfrastructureError):  # the port may be held a moment longer: next time
                self._process = self._start(*self.address)
                for worker in self._fenced:
                    self._process.tell(worker)

    def close(self) -> None:
        """End the process. May be called twice."""
        self._closed = True
        self._process.end()

    def _start(self, host: str, port: int) -> Beside:
        process = Beside(os.path.abspath(__file__), host, port, self.token, "workers cannot be given leases")
        assert process.port  # it listens
        return process


# -- the process ------------------------------------------------------------------------------------------------------------------------


class _Server:
    def __init__(self, host: str, port: int) -> None:
        self._driver = os.getppid()
        self._fenced: set[str] = set()
        self._from_driver = b""
        self._said: dict[socket.socket, bytes] = {}  # of the first line, until it is whole
        self._names: dict[socket.socket, str] = {}
        self._selector = selectors.DefaultSelector()
        # the token first: nobody is answered before it is known
        self._token = self._read_line()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=1024)
        self._selector.register(0, selectors.EVENT_READ, self._hear_driver)
        self._selector.register(self._listener, selectors.EVENT_READ, self._admit)
        self._over = False

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def serve(self) -> None:
        while not self._over and os.getppid() == self._driver:
            for key, _ in self._selector.select(_DRIVER_EVERY_S):
                key.data(key.fileobj)

    def _read_line(self) -> str:
        while b"\n" not in self._from_driver:
            got = os.read(0, _LINE_BYTES)
            if not got:
                sys.exit(0)
            self._from_driver += got
        line, _, self._from_driver = self._from_driver.partition(b"\n")
        return line.decode()

    def _hear_driver(self, _: Any) -> None:
        got = os.read(0, _LINE_BYTES)
        if not got:
            self._over = True
        self._from_driver += got
        while b"\n" in self._from_driver:
            self._fenced.add(self._read_line())

    def _admit(self, listener: Any) -> None:
        with contextlib.suppress(OSError):
            worker, _ = listener.accept()
            worker.setblocking(False)
            strangers = [each for each in self._said if each not in self._names]
            if len(strangers) >= _STRANGERS:
                self._drop(strangers[0])
            self._said[worker] = b""
            self._selector.register(worker, selectors.EVENT_READ, self._answer)

    def _answer(self, worker: Any) -> None:
        try:
            got = worker.recv(_LINE_BYTES)
            if not got or not self._has_introduced_itself(worker, got):
                self._drop(worker)
            elif got.endswith(ASK) and worker in self._names:
                worker.send(self._verdict(self._names[worker]))
        except OSError:
            self._drop(worker)

    def _has_introduced_itself(self, worker: socket.socket, got: bytes) -> bool:
        """False for somebody who does not know the token, or never comes to the point."""
        if worker in self._names:
            return True
        line, ended, _ = (self._said[worker] + got).partition(b"\n")
        if not ended:
            self._said[worker] = line
            return len(line) < _LINE_BYTES
        token, _, name = line.partition(b" ")
        self._names[worker] = name.decode(errors="replace")
        return secrets.compare_digest(token, self._token.encode())

    def _verdict(self, worker: str) -> bytes:
        if worker in self._fenced:
            return FENCED
        return REFUSED if is_stopped(self._driver) else GRANTED

    def _drop(self, worker: socket.socket) -> None:
        self._selector.unregister(worker)
        self._said.pop(worker, None)
        self._names.pop(worker, None)
        worker.close()


def is_stopped(pid: int) -> bool:
    """Does a signal or a debugger hold that process still? Also where it is dead; False where the machine does not say (no /proc)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in b"TtZX"
    except FileNotFoundError:
        return os.path.isdir("/proc/self")


def main(host: str, port: int) -> None:
    """Serve until the driver ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        server = _Server(host, port)
    except OSError as error:
        print(error, flush=True)
        return
    print(server.port, flush=True)
    os.close(1)
    server.serve()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
