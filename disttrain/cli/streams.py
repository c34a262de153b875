"""Standard output that outlives who reads it: `disttrain launch ... | head -1` must not end a run, nor must a full disk under its log."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from disttrain import overheard
from disttrain.awaited import aside

_GONE = (errno.EPIPE, errno.EIO)  # the reader of a pipe, the terminal
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_LAST_LINE = 4096  # bytes, of which the last line shows where the cursor stands


class _Lasting(io.RawIOBase):
    """Bytes to a file descriptor; what nobody can take any more is dropped."""

    mode = "wb"

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor, self.name = descriptor, name

    def write(self, data: Any) -> int:
        whole = memoryview(data).cast("B")
        with aside(bytes(whole[-_LAST_LINE:])):
            self._write(whole)
        overheard.tell(self.name, bytes(whole))
        return len(whole)

    def _write(self, rest: memoryview) -> None:
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            if error.errno in _GONE:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._descriptor)  # so that what is written past Python is dropped too
                os.close(nowhere)
            elif error.errno not in _NO_ROOM:
                raise

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """`sys.stdout` and `sys.stderr` as they are, but that no write to them fails for want of a reader or of room."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _lasting(before[0]), _lasting(before[1])
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = before


def _lasting(stream: Any) -> Any:
    if not isinstance(stream, io.TextIOWrapper):
        return stream  # somebody's own, such as a test's
    try:
        raw = _Lasting(stream.fileno(), stream.name)
    except (OSError, ValueError):
        return stream
    stream.flush()
    buffer: Any = raw if isinstance(stream.buffer, io.RawIOBase) else io.BufferedWriter(raw)  # raw: PYTHONUNBUFFERED
    return io.TextIOWrapper(
        buffer, encoding=stream.encoding, errors=stream.errors, line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )  # fmt: skip
