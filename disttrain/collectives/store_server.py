"""The store of a run, where the members of a generation meet: a small process beside the driver that knows its members before it answers.

torch's own TCPStore listens on every interface and asks nobody who he is: any client lists, reads, writes and deletes the keys that say
where to connect, and so becomes a worker. This one listens at the one address that the workers meet on, and both sides prove that they know
the secret of the run before anything else is said, with HMAC-SHA256 over random bytes of both:

    server: 32 bytes S
    client: 32 bytes C, then HMAC(secret, "client" S C)
    server: HMAC(secret, "server" S C)

The secret goes to the workers inside the driver's commands, and never over this line. After that the client asks and the server answers,
in frames of 4 bytes of length (big end first) and fields of the same form; see `_Store.answer`. It ends with the driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __name__ != "__main__":
    from disttrain.beside import Beside  # the process itself knows nothing of disttrain

NONCE_BYTES, PROOF_BYTES = 32, 32
MAX_FRAME_BYTES = 16 << 20
_INTRODUCTION_S = 5.0
_STRANGERS = 64  # so many connections may be open that have not proved anything yet; beyond that the oldest goes
_DRIVER_EVERY_S = 1.0  # a child that the script forked may hold the pipe open when the driver is gone


def proof(secret: bytes, *words: bytes) -> bytes:
    """What only somebody who knows the secret can say of these words."""
    return hmac.digest(secret, packed(words), "sha256")


def packed(fields: Sequence[bytes]) -> bytes:
    """Fields as one run of bytes."""
    return b"".join(len(each).to_bytes(4, "big") + each for each in fields)


def unpacked(data: bytes) -> list[bytes]:
    """The fields of `packed`.

    Raises:
        ValueError: it is none.
    """
    found, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        if at + 4 > len(data) or end > len(data):
            raise ValueError("a field is cut short")
        found.append(data[at + 4 : end])
        at = end
    return found


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where the members of a run meet, and what they prove who they are with."""

    host: str
    port: int
    secret: bytes = field(repr=False)


class StoreServer:
    """The driver's side: starts the process, and again where somebody has ended it.

    Args:
        host: an address of this machine that workers reach; the process listens there alone, on a port of its own choice.
    """

    def __init__(self, host: str) -> None:
        self._host, self._secret = host, secrets.token_bytes(32)
        self._closed = False
        self._process = self._start()

    @property
    def address(self) -> StoreAddress:
        """Where it is, now that a generation is to meet there; waited for at first.

        Started again it has another port, and has forgotten the keys of older generations, which nobody needs.

        Raises:
            InfrastructureError: it cannot listen there.
        """
        if not self._closed and self._process.ended:
            self._process.end()
            self._process = self._start()
        return StoreAddress(self._host, self._process.port, self._secret)

    def close(self) -> None:
        """End the process. May be called twice."""
        self._closed = True
        self._process.end()

    def _start(self) -> Beside:
        return Beside(os.path.abspath(__file__), self._host, 0, self._secret.hex(), "workers cannot meet")


# -- the process ------------------------------------------------------------------------------------------------------------------------


class _Store:
    """What members have set."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}

    def answer(self, operation: bytes, *fields: bytes) -> list[bytes]:
        """What a request is answered with.

        Raises:
            ValueError, TypeError: it is no request.
        """
        values = self._values
        match operation, fields:
            case b"set", (key, value):
                values[key] = value
                return []
            case b"get", _:  # each that is there with a mark before it, an empty field for each that is not
                return [b"+" + values[key] if key in values else b"" for key in fields]
            case b"check", _:
                return [b"1" if all(key in values for key in fields) else b"0"]
            case b"add", (key, more):
                values[key] = b"%d" % (int(values.get(key, b"0")) + int(more))
                return [values[key]]
            case b"swap", (key, expected, desired):
                if values.get(key, b"") == expected:
                    values[key] = desired
                return [values.get(key, expected)]
            case b"delete", (key,):
                return [b"0" if values.pop(key, None) is None else b"1"]
            case b"count", ():
                return [b"%d" % len(values)]
        raise ValueError("no such request")


class _Client(asyncio.Protocol):
    """One connection, to its end."""

    def __init__(self, secret: bytes, store: _Store, strangers: dict[_Client, None]) -> None:
        self._secret, self._store, self._strangers = secret, store, strangers
        self._line: Any = None
        self._known = False
        self._ours, self._data = secrets.token_bytes(NONCE_BYTES), b""

    def connection_made(self, line: asyncio.BaseTransport) -> None:
        self._line = line
        if len(self._strangers) >= _STRANGERS:
            next(iter(self._strangers)).leave()  # the oldest
        self._strangers[self] = None
        asyncio.get_running_loop().call_later(_INTRODUCTION_S, self._time_is_up)
        self._line.write(self._ours)

    def _time_is_up(self) -> None:
        if not self._known:
            self.leave()

    def connection_lost(self, error: Exception | None) -> None:
        self._strangers.pop(self, None)

    def leave(self) -> None:
        self._strangers.pop(self, None)
        self._line.abort()

    def data_received(self, data: bytes) -> None:
        if self._line.is_closing():
            return
        self._data += data
        try:
            if self._known or self._is_known():
                self._answer()
        except (ValueError, TypeError):  # a stranger, or nonsense
            self.leave()

    def _is_known(self) -> bool:
        if len(self._data) < NONCE_BYTES + PROOF_BYTES:
            return False
        theirs, shown = self._data[:NONCE_BYTES], self._data[NONCE_BYTES : NONCE_BYTES + PROOF_BYTES]
        if not hmac.compare_digest(shown, proof(self._secret, b"client", self._ours, theirs)):
            raise ValueError("a stranger")
        self._known, self._data = True, self._data[NONCE_BYTES + PROOF_BYTES :]
        self._strangers.pop(self, None)
        self._line.write(proof(self._secret, b"server", self._ours, theirs))
        return True

    def _answer(self) -> None:
        while len(self._data) >= 4:
            end = 4 + int.from_bytes(self._data[:4], "big")
            if end > MAX_FRAME_BYTES:
                raise ValueError("too long a request")
            if len(self._data) < end:
                return
            request, self._data = self._data[4:end], self._data[end:]
            answer = packed(self._store.answer(*unpacked(request)))
            self._line.write(len(answer).to_bytes(4, "big") + answer)


async def _run(host: str, port: int, driver: int) -> None:
    from_driver = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(from_driver), sys.stdin)
    secret = bytes.fromhex((await from_driver.readline()).decode())
    if not secret:
        return
    store, strangers = _Store(), dict[_Client, None]()  # these in the order they came
    try:
        listening = await loop.create_server(lambda: _Client(secret, store, strangers), host, port, backlog=1024, reuse_address=True)
    except OSError as error:
        print(error, flush=True)
        return
    print(listening.sockets[0].getsockname()[1], flush=True)
    os.close(1)
    while os.getppid() == driver:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(from_driver.read(1), _DRIVER_EVERY_S)
            return  # nothing is ever said: the pipe has closed


def main(host: str, port: int) -> None:
    """Serve until the driver ends."""
    driver = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(_run(host, port, driver))
    os._exit(0)  # clients may still be connected: nothing of theirs is waited for


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
