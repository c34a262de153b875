"""A small process beside the driver: Python's standard library alone, told through its standard input, gone when the driver is.

It is started as `python -I -S FILE HOST PORT` in a session of its own, so that Ctrl-C and a hangup of the terminal are the driver's alone.
The first line that it is told is its secret, which so stands in no command line and no environment; it prints the port that it listens on.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys

from disttrain.errors import InfrastructureError

_HEARS_S = 2.0  # it has nothing to finish


class Beside:
    """The driver's end of such a process.

    Args:
        file: its code.
        host, port: where it listens, an address of this machine; port 0 is one of its own choice.
        secret: the first line that it is told.
        purpose: what cannot be done without it, in words.
    """

    def __init__(self, file: str, host: str, port: int, secret: str, purpose: str) -> None:
        self._where, self._purpose = f"{host}:{port or '*'}", purpose
        self._port: int | None = None
        command = [sys.executable, "-I", "-S", file, host, str(port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self.tell(secret)

    @property
    def port(self) -> int:
        """Where it listens; waited for at first.

        Raises:
            InfrastructureError: it cannot listen there.
        """
        if self._port is None:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            if not line.strip().isdigit():
                self.end()
                raise InfrastructureError(
                    f"{self._purpose}: nothing can listen at {self._where} ({line.decode().strip() or 'it ended at once'})\n"
                    "  expected  an address of this machine that workers reach, as Ray names it\n"
                    "  try       RAY_NODE_IP_ADDRESS or ray start --node-ip-address"
                )
            self._port = int(line)
        return self._port

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Has somebody ended it?"""
        return self._process.poll() is not None

    def tell(self, line: str) -> None:
        """Send a line; one that has ended hears nothing."""
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()

    def end(self) -> None:
        """End it, by closing what it listens to, and wait until it has. May be called twice.

        Where a process that this one has forked holds the other end open still, such as one that loads data, it would never hear of that:
        then it is killed. It keeps nothing that anybody needs.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(_HEARS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
