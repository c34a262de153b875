"""Who has left a group: every member has a door, a listening socket that it never accepts from, and a visitor standing at each other's.

The kernel keeps both for a process however busy it is, and ends them with it. A closed connection of gloo says less: some operation may
only have reached its time limit; and not always does gloo say so to the one who waits (see compat.py).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

_KNOCK_S = 5.0  # the kernel of a live machine answers in a round trip


class Door:
    """Open as long as this member is part of its group.

    Args:
        host: the address of this machine that the other members reach.
        size: how many of them there are.
    """

    def __init__(self, host: str, size: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family, backlog=size + 8)  # visitors stay in the queue
        self._visitors: list[socket.socket] = []
        self.address = f"{host} {self._socket.getsockname()[1]}"

    def visit(self, others: Iterable[str]) -> None:
        """Stand at the doors with these addresses, as long as this one is open. Raises OSError where one is closed."""
        for address in others:
            host, port = address.split(" ")
            self._visitors.append(socket.create_connection((host, int(port)), timeout=_KNOCK_S))
            self._visitors[-1].setblocking(False)

    @property
    def others_open(self) -> bool:
        """Whether every other door is still open. A door that is about to close with its process may still look so for a moment."""
        return all(_stands(visitor) for visitor in self._visitors)

    def close(self) -> None:
        for each in (self._socket, *self._visitors):
            each.close()


def _stands(visitor: socket.socket) -> bool:
    try:
        visitor.recv(1)  # nobody ever sends: only the end of the connection can be read
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
