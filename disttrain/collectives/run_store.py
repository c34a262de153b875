"""A member's way into the store of its run, in the form in which torch wants one."""

from __future__ import annotations

import hmac
import secrets
import socket
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from disttrain.clock import Clock, SystemClock
from disttrain.collectives.compat import dist
from disttrain.collectives.store_server import MAX_FRAME_BYTES, NONCE_BYTES, PROOF_BYTES, StoreAddress, packed, proof, unpacked

_ANSWER_S = 60.0
_WAIT_S = 300.0  # as torch's stores wait, unless told
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0002, 0.02


class StoreGone(RuntimeError):
    """The store does not answer, or whoever answers does not know the secret of the run."""


class RunStore(dist.Store):  # type: ignore[misc]  # torch's types are not to be had
    """A connection to the store of the run, and a prefix of its keys. Any thread may use it.

    Args:
        address: where it is, and the secret.
        prefix: of the keys that are seen.
        line, clock: a connection to go on with, and what time it is.

    Raises:
        StoreGone: nobody is there who knows the secret.
    """

    def __init__(self, address: StoreAddress, prefix: str = "", *, line: _Line | None = None, clock: Clock | None = None) -> None:
        super().__init__()
        self.address, self._prefix = address, prefix
        self._line, self._clock = line or _Line(address), clock or SystemClock()

    def under(self, prefix: str) -> RunStore:
        """The same store, where only keys with this prefix are seen."""
        return RunStore(self.address, self._prefix + prefix, line=self._line, clock=self._clock)

    def proof(self, words: str) -> bytes:
        """What only a member of this run can say of these words, under this prefix."""
        return proof(self.address.secret, b"member", self._key(words))

    def close(self) -> None:
        """Hang up, for everybody who shares this connection."""
        self._line.close()

    # -- what torch asks for --------------------------------------------------------------------------------------------------------

    def set(self, key: str, value: str | bytes) -> None:
        self._line.ask(b"set", self._key(key), _bytes(value))

    def get(self, key: str) -> bytes:
        """Waits until it is there."""
        found = self._line.ask(b"get", self._key(key))[0]
        if not found:
            self.wait([key])
            return self.multi_get([key])[0]
        return found[1:]

    def add(self, key: str, value: int) -> int:
        return int(self._line.ask(b"add", self._key(key), b"%d" % value)[0])

    def check(self, keys: Sequence[str]) -> bool:
        return self._line.ask(b"check", *map(self._key, keys)) == [b"1"]

    def compare_set(self, key: str, expected_value: str | bytes, desired_value: str | bytes) -> bytes:
        return self._line.ask(b"swap", self._key(key), _bytes(expected_value), _bytes(desired_value))[0]

    def delete_key(self, key: str) -> bool:
        return self._line.ask(b"delete", self._key(key)) == [b"1"]

    def num_keys(self) -> int:
        """Of the whole store."""
        return int(self._line.ask(b"count")[0])

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        """Raises StoreGone where one is not there."""
        found = self._line.ask(b"get", *map(self._key, keys))
        for key, value in zip(keys, found, strict=True):
            if not value:
                raise StoreGone(f"nobody has set {key} in the store of the run")
        return [value[1:] for value in found]

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Return when all are there; they come within milliseconds, or not at all."""
        end = self._clock.monotonic_s() + (_WAIT_S if timeout is None else timeout.total_seconds())
        pause, pause_s = threading.Event(), _FIRST_PAUSE_S
        while not self.check(keys):
            if self._clock.monotonic_s() > end:
                raise StoreGone(f"nobody has set {', '.join(keys)} in the store of the run")
            pause.wait(pause_s)
            pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S)

    def has_extended_api(self) -> bool:
        return False

    def clone(self) -> RunStore:
        return self.under("")

    def _key(self, key: str) -> bytes:
        return f"{self._prefix}{key}".encode()


class _Line:
    """The connection, once both sides have proved that they know the secret."""

    def __init__(self, address: StoreAddress) -> None:
        self._lock = threading.Lock()
        try:
            self._socket = socket.create_connection((address.host, address.port), timeout=_ANSWER_S)
        except OSError as error:
            raise StoreGone(f"nothing answers: {error}") from None
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            theirs, ours = self._read(NONCE_BYTES), secrets.token_bytes(NONCE_BYTES)
            self._socket.sendall(ours + proof(address.secret, b"client", theirs, ours))
            if not hmac.compare_digest(self._read(PROOF_BYTES), proof(address.secret, b"server", theirs, ours)):
                raise StoreGone("whoever answers there does not know the secret of this run")
        except OSError as error:
            self.close()
            raise StoreGone(f"it hung up at the door: {error}") from None
        except StoreGone:
            self.close()
            raise

    def ask(self, *request: bytes) -> list[bytes]:
        data = packed(request)
        with self._lock:
            try:
                self._socket.sendall(len(data).to_bytes(4, "big") + data)
                length = int.from_bytes(self._read(4), "big")
                if length > MAX_FRAME_BYTES:
                    raise StoreGone("it speaks nonsense")
                return unpacked(self._read(length))
            except (OSError, ValueError, StoreGone) as error:
                self.close()  # an answer that comes later would be taken for that to another question
                raise StoreGone(str(error) or type(error).__name__) from None

    def close(self) -> None:
        self._socket.close()

    def _read(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            more = self._socket.recv(count - len(data))
            if not more:
                raise StoreGone("it hung up")
            data += more
        return bytes(data)


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)
