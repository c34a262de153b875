"""A server of S3's protocol on this machine, as far as reading needs it, which can be told to fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "bucket"


class S3Server:
    """Objects in memory.

    Attributes:
        fails: asked of each read of an object, by its key and how many reads there were before; True: it is answered with 503.
        reads, failed: of objects.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.fails: Callable[[str, int], bool] = lambda key, reads: False
        self.reads = self.failed = 0
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"store": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, name="s3-server", daemon=True)
        self._thread.start()

    def options(self) -> dict[str, Any]:
        """What s3fs needs to reach it; failures come through at once, so that they are ours to deal with."""
        return {
            "key": "nobody",
            "secret": "nothing",
            "client_kwargs": {"endpoint_url": f"http://127.0.0.1:{self._server.server_port}", "region_name": "us-east-1"},
            "config_kwargs": {"s3": {"addressing_style": "path"}, "retries": {"max_attempts": 0}},
        }

    def close(self) -> None:
        """No request is answered any more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    store: S3Server

    def do_HEAD(self) -> None:
        key = self._key()
        data = self.store.objects.get(key)
        if data is None:
            self._answer(404, b"", {})
        else:
            self._answer(200, b"", {"Content-Length": str(len(data)), "ETag": f'"{hash(data)}"', "Last-Modified": _DATE})

    def do_GET(self) -> None:
        key = self._key()
        if not key:
            self._answer(200, self._listing().encode(), {})
            return
        store = self.store
        with store.lock:
            failing = store.fails(key, store.reads)
            store.reads += 1
            store.failed += failing
        if failing:
            self._answer(503, b"<Error><Code>InternalError</Code><Message>try again</Message></Error>", {})
            return
        data = store.objects[key]
        asked = self.headers.get("Range")
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last) + 1 if last else len(data), len(data))
            self._answer(206, data[begin:end], {"Content-Range": f"bytes {begin}-{end - 1}/{len(data)}"})
        else:
            self._answer(200, data, {})

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}").lstrip("/")

    def _listing(self) -> str:
        prefix = parse_qs(urlsplit(self.path).query).get("prefix", [""])[0]
        entries = "".join(
            f'<Contents><Key>{key}</Key><Size>{len(data)}</Size><ETag>"{hash(data)}"</ETag><LastModified>2026-01-01T00:00:00.000Z'
            "</LastModified><StorageClass>STANDARD</StorageClass></Contents>"
            for key, data in sorted(self.store.objects.items())
            if key.startswith(prefix)
        )
        return f"<ListBucketResult><Name>{BUCKET}</Name><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Nothing is said."""


_DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """One for the block."""
    server = S3Server()
    try:
        yield server
    finally:
        server.close()
