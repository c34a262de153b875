"""A proxy on loopback in front of a store's server, which breaks the requests that a test chooses."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

FAULTS = ("503", "reset", "lost", "cut", "half reply")
Chooses = Callable[[str], str | None]

_BUSY = b"<Error><Code>SlowDown</Code><Message>injected</Message></Error>"


class FaultProxy:
    """Passes requests on; `Host` stays as it is, so signatures stay valid.

    Attributes:
        fails: asked for each request by its method and path; the name of a fault, or None to let it through. "503": answered so, the
            server is not asked. "reset": the connection is dropped, the server is not asked. "lost": the server does it, its reply never
            comes. "cut": half of the body reaches the server, then the connection is dropped. "half reply": so does the reply.
        struck: the requests that were broken, and how.
    """

    def __init__(self, port: int) -> None:
        self.fails: Chooses = lambda request: None
        self.struck: list[tuple[str, str]] = []
        self._to = port
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Nothing is passed on any more."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while await self._one(reader, writer):
                pass
        writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Pass one request on; False where this connection is done with."""
        head, fields = await _head(reader)
        request = head.split(b"\r\n", 1)[0].decode("latin1").rsplit(" ", 1)[0]
        fault = self.fails(request)
        if fault is not None:
            assert fault in FAULTS, fault
            self.struck.append((fault, request))
        if fault == "reset":
            return False
        if "expect" in fields:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = re.sub(rb"(?i)\r\nexpect:[^\r]*", b"", head)
        body = await _body(reader, fields, request)
        if fault == "503":
            answer = b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n" % len(_BUSY)
            writer.write(answer + (b"" if request.startswith("HEAD ") else _BUSY))
            await writer.drain()
            return True
        there, up = await asyncio.open_connection("127.0.0.1", self._to, limit=1 << 20)
        try:
            up.write(head + (body[: len(body) // 2] if fault == "cut" else body))
            await up.drain()
            if fault == "cut":
                return False
            reply, about = await _head(there)
            if fault == "lost":
                return False
            empty = _has_no_body(request, reply)
            content = b"" if empty else await _body(there, about, None)
            if fault == "half reply":
                writer.write(reply + content[: len(content) // 2])
                await writer.drain()
                return False
            writer.write(reply + content)
            await writer.drain()
            return about.get("connection", "").lower() != "close" and (empty or "content-length" in about or "transfer-encoding" in about)
        finally:
            up.transport.abort()


async def _head(reader: asyncio.StreamReader) -> tuple[bytes, dict[str, str]]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = (line.partition(":") for line in head.decode("latin1").split("\r\n")[1:])
    return head, {name.strip().lower(): value.strip() for name, _, value in lines if name}


async def _body(reader: asyncio.StreamReader, fields: dict[str, str], request: str | None) -> bytes:
    """As it came, so that it can be passed on under the same header. A reply without a length ends with its connection."""
    if "content-length" in fields:
        return await reader.readexactly(int(fields["content-length"]))
    if "chunked" in fields.get("transfer-encoding", "").lower():
        return await _chunks(reader)
    return b"" if request is not None else await reader.read()


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        parts.append(line)
        if size == 0:
            while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
                parts.append(line)
            return b"".join([*parts, b"\r\n"])
        parts.append(await reader.readexactly(size + 2))


def _has_no_body(request: str, reply: bytes) -> bool:
    status = reply.split(b" ", 2)[1][:3]
    return request.startswith("HEAD ") or status in (b"204", b"304") or status.startswith(b"1")


@contextmanager
def fault_proxy(port: int) -> Iterator[FaultProxy]:
    """One for the block, in front of what listens at this port of this machine."""
    proxy = FaultProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
