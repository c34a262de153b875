"""Does the Ray live on which a run stands? Without its GCS or its raylet, Ray ends the driver beneath us some day; we notice before.

A connection to each is held and looked at four times a second. It says nothing; it breaks when the process at its other end does.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from disttrain.clock import Clock, SystemClock

_EVERY_S = 0.25
_CONNECT_S = 1.0
_AT_ONCE_S = 0.5  # two looks: a connection may break for a reason of its own


class Line:
    """A connection that is only held.

    Args:
        address: `"host:port"`, or the path of a socket on this machine.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket: socket.socket | None = None

    def is_up(self) -> bool:
        """Is somebody there? A connection that broke is made anew: an idle one may be closed by who lives."""
        return self._holds() or self._connects()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _holds(self) -> bool:
        try:
            while self._socket is not None and self._socket.recv(4096):
                continue  # a greeting
        except BlockingIOError:
            return True
        except OSError:
            pass
        self.close()
        return False

    def _connects(self) -> bool:
        try:
            if self.address.startswith("/"):
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._socket.settimeout(_CONNECT_S)
                self._socket.connect(self.address)
            else:
                host, _, port = self.address.rpartition(":")
                self._socket = socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S)
            self._socket.setblocking(False)
        except OSError:
            self.close()
            return False
        return True


class Vitals:
    """Looks at each line on a thread of its own, from `start` to `close`.

    Args:
        lines: by the name of what is at its other end, with the seconds for which that may be away.
        found: called on the thread when something is gone, once.

    Attributes:
        trouble: what is gone, in words; None while all is well. Once said, it stays.
    """

    def __init__(self, lines: dict[str, tuple[Line, float]], clock: Clock | None = None, found: Callable[[], None] = lambda: None) -> None:
        self._lines, self._clock, self._found = lines, clock or SystemClock(), found
        self._seen = dict.fromkeys(lines, self._clock.monotonic_s())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray-vitals", daemon=True)
        self.trouble: str | None = None

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """May be called twice."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=2 * _CONNECT_S * len(self._lines) + _EVERY_S)

    def look(self) -> None:
        """Once."""
        for name, (line, patience_s) in self._lines.items():
            if line.is_up():
                self._seen[name] = self._clock.monotonic_s()
            elif (away_s := self._clock.monotonic_s() - self._seen[name]) > patience_s and self.trouble is None:
                self.trouble = f"{name} at {line.address} is gone" + (f", for {away_s:.0f} s now" if away_s > 10 else "")
                self._found()

    def _run(self) -> None:
        with suppress(OSError):
            while not self._over.wait(_EVERY_S):
                self.look()
        for line, _ in self._lines.values():
            line.close()


def vitals_of(gcs: str, raylet: str | None, *, gcs_away_s: float, found: Callable[[], None]) -> Vitals:
    """Of the Ray whose driver this process is.

    Args:
        gcs, raylet: where they listen; no raylet where it does not say.
        gcs_away_s: that of a cluster may come back; Ray itself waits for a minute.
        found: called when something is gone.
    """
    lines = {"Ray's GCS": (Line(gcs), max(_AT_ONCE_S, gcs_away_s))}
    if raylet is not None:
        lines["the raylet of this machine"] = (Line(raylet), _AT_ONCE_S)
    return Vitals(lines, found=found)
