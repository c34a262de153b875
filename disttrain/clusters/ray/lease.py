"""A worker's lease: it asks the lease server beside its driver once a second, and says when to end because nobody grants it any longer."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from disttrain.clock import Clock, SystemClock
from disttrain.clusters.ray.lease_server import ASK, FENCED, GRANTED

_EVERY_S = 1.0
_ANSWER_S = 2.0  # for one question; a cut line shows in no other way
_PAUSE_S = 2 * _ANSWER_S + _EVERY_S + 3.0  # one round never takes so long unless the process stands still
_CHANCE_S = 5.0  # at least so long is asked, after this process itself stood still


class Lease:
    """Runs on a thread of its own.

    Args:
        worker, address, token: who asks, where, and with what; from `LeaseServer`.
        length_s: how long one grant is good for.
        over: called once, with the reason, when the lease has run out or the worker was fenced; it ends the process.
    """

    def __init__(
        self, worker: str, address: tuple[str, int], token: str, length_s: float, over: Callable[[str], None], clock: Clock | None = None
    ) -> None:
        self._worker, self._address, self._token = worker, address, token
        self._length_s, self._over = length_s, over
        self._clock = clock or SystemClock()
        self._until = self._clock.monotonic_s() + length_s
        self._line: socket.socket | None = None
        self._last = "no answer yet"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Ask no more. Waits for the thread."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        looked = self._clock.monotonic_s()
        while not self._ended.is_set():
            now = self._clock.monotonic_s()
            # A long call that holds the interpreter, or a SIGSTOP: it was this process that did not ask. It asks now; if it was given up
            # meanwhile, it hears so at once.
            if now - looked > _PAUSE_S:
                self._until = max(self._until, now + min(_CHANCE_S, self._length_s))
            looked = now
            asked, answer = now, self._ask()
            if answer == FENCED:
                return self._give_up("given up by the driver, which could not reach it")
            if answer == GRANTED:
                self._until = asked + self._length_s
            elif self._clock.monotonic_s() >= self._until:
                host, port = self._address
                return self._give_up(f"no word from the driver at {host}:{port} for {self._length_s:.0f} s ({self._last})")
            self._ended.wait(_EVERY_S)
        self._hang_up()

    def _give_up(self, reason: str) -> None:
        self._hang_up()
        self._over(reason)

    def _ask(self) -> bytes:
        """The server's answer; b"" where there is none."""
        try:
            if self._line is None:
                self._line = socket.create_connection(self._address, timeout=_ANSWER_S)
                self._line.sendall(f"{self._token} {self._worker}\n".encode())
            self._line.sendall(ASK)
            answer = self._line.recv(1)
            if not answer:
                raise ConnectionError("the lease server hung up")
            self._last = "the driver is stopped"  # if it is not granted
            return answer
        except OSError as error:
            self._last = str(error) or type(error).__name__
            self._hang_up()
            return b""

    def _hang_up(self) -> None:
        if self._line is not None:
            with contextlib.suppress(OSError):
                self._line.close()
            self._line = None
