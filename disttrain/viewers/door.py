"""Who may come in: the address that is listened on, and the names under which it may be called."""

from __future__ import annotations

import errno
import ipaddress
import socket
from urllib.parse import urlsplit

from disttrain.errors import UsageError

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_WILDCARDS = frozenset({"", "0.0.0.0", "::"})
_BACKLOG = 128
_PORTS_TRIED = 50


class Door:
    """The names and the port under which the viewer answers. Everything else is refused, so that no page of another site, whose name was
    made to point here, can read anything.

    Args:
        host: what was given to `launch`.
        port: what is listened on.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port

    @property
    def is_local(self) -> bool:
        """Can only this machine reach it?"""
        return self.host in LOCAL_NAMES

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host = "127.0.0.1" if self.host in _WILDCARDS else self.host
        return f"http://[{host}]:{self.port}/" if ":" in host else f"http://{host}:{self.port}/"

    def admits(self, host_header: str | None) -> bool:
        """Is this Host header one of ours?"""
        if not host_header or len(host_header) > 300 or any(letter in host_header for letter in " ,/@\\\t"):
            return False
        try:
            parts = urlsplit(f"//{host_header}")
            name, port = parts.hostname, parts.port
        except ValueError:
            return False
        if name is None or (port or 80) != self.port:
            return False
        return name in LOCAL_NAMES or name == self.host.lower() or (self.host in _WILDCARDS and _is_own(name))

    def admits_origin(self, origin: str | None) -> bool:
        """May a page of this Origin send something? No header: it is no browser that speaks for another page."""
        return origin is None or (origin.startswith("http://") and self.admits(origin.removeprefix("http://")))


def _is_own(name: str) -> bool:
    """An address, which no name server can make to mean another machine, or this machine's own name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == socket.gethostname().lower()
    return True


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: an address or a name of this machine.
        port: 1 to 65535, or 0 for any that is free.

    Raises:
        UsageError: the port is in use, or not allowed; the host is not one of this machine's.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise UsageError(f"port={port!r}: expected a whole number from 0 to 65535; 0 takes any that is free.")
    try:
        return _bound(host, port)
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            free = _next_free(host, port)
            raise UsageError(
                f"port {port} is in use on {host}, perhaps by another viewer.\n  expected  a free port\n  try       port={free}"
            ) from None
        if isinstance(error, PermissionError):
            raise UsageError(f"port {port} may not be used by this user.\n  expected  1024 or more\n  try       port=5000") from None
        raise UsageError(
            f"host={host!r} cannot be listened on: {error}.\n  expected  an address of this machine\n  try       host='127.0.0.1'"
        ) from None


def _bound(host: str, port: int) -> socket.socket:
    # the address, not the name, so that "localhost" is 127.0.0.1 wherever there is one
    families = {info[0]: info for info in socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)}
    family, kind, protocol, _, address = families.get(socket.AF_INET) or next(iter(families.values()))
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else a port stays taken for a minute after its last connection
        opened.bind(address)
        opened.listen(_BACKLOG)
    except BaseException:
        opened.close()
        raise
    return opened


def _next_free(host: str, port: int) -> int:
    for candidate in [*range(port + 1, min(port + _PORTS_TRIED, 65536)), 0]:
        try:
            with _bound(host, candidate) as opened:
                return int(opened.getsockname()[1])
        except OSError:
            continue
    return 0
