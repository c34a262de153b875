"""The viewer's HTTP: which address is answered by what, and everything else refused."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from disttrain.errors import DisttrainError
from disttrain.parsing import parsed
from disttrain.viewers.answers import Answers, finite
from disttrain.viewers.door import Door
from disttrain.viewers.packing import ViewError
from disttrain.viewers.refusal import Refusal

MAX_BODY_BYTES = 8 << 20
MAX_QUERY_CHARS = 4096
MAX_PAGE_ITEMS = 500
_PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page")
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", re.ASCII)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self' http://localhost:* http://127.0.0.1:*"  # a notebook shows the page in a frame
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def create_app(answers: Answers, door: Door, page_folder: str = _PAGE) -> Wsgi:
    """The WSGI application.

    Args:
        answers: what is answered.
        door: which Host and Origin may ask.
        page_folder: index.html and what belongs to it.
    """
    from werkzeug.exceptions import HTTPException
    from werkzeug.routing import Map, Rule
    from werkzeug.wrappers import Request, Response

    handlers = _Handlers(answers, page_folder)
    routes = Map(
        [
            Rule("/", endpoint="index", methods=["GET"]),
            Rule("/favicon.ico", endpoint="icon", methods=["GET"]),
            Rule("/page/<path:name>", endpoint="file", methods=["GET"]),
            Rule("/api/model", endpoint="model", methods=["GET"]),
            Rule("/api/graph", endpoint="graph", methods=["GET"]),
            Rule("/api/checkpoints", endpoint="checkpoints", methods=["GET"]),
            Rule("/api/inputs", endpoint="inputs", methods=["GET"]),
            Rule("/api/inputs", endpoint="send", methods=["POST"]),
            Rule("/api/inputs/<input_id>", endpoint="item", methods=["GET"]),
            Rule("/api/inputs/<input_id>/picture", endpoint="picture", methods=["GET"]),
            Rule("/api/activations", endpoint="activations", methods=["GET"]),
            Rule("/api/attribution", endpoint="attribution", methods=["GET"]),
            Rule("/api/predictions", endpoint="predictions", methods=["GET"]),
            Rule("/api/statistics", endpoint="statistics", methods=["GET"]),
        ],
        strict_slashes=False,
        merge_slashes=False,
    )
    faults = _Faults()

    def answer(request: Any) -> tuple[int, bytes, str]:
        if not door.admits(request.environ.get("HTTP_HOST")):
            raise Refusal(403, f"this viewer answers at {door.url} only; launch(host=...) opens it under another name")
        if len(request.environ.get("QUERY_STRING", "")) > MAX_QUERY_CHARS or len(request.path) > MAX_QUERY_CHARS:
            raise Refusal(414, f"the address is too long: expected {MAX_QUERY_CHARS} characters at most")
        if request.path.startswith("/api/") and request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise Refusal(403, "only the viewer's own page may ask")  # a page of another site could not read it, but keep us busy
        endpoint, values = routes.bind_to_environ(request.environ).match()
        if endpoint == "send":
            if not door.admits_origin(request.headers.get("Origin")):
                raise Refusal(403, "only the viewer's own page may send inputs")
            return _json(handlers.send(_sent(request)))
        return getattr(handlers, endpoint)(request, **values)  # type: ignore[no-any-return]

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        extra: dict[str, str] = {}
        try:
            status, body, kind = answer(request)
        except Refusal as refusal:
            status, body, kind = _error(refusal.status, refusal.message)
        except ViewError as error:
            status, body, kind = _error(400, str(error))
        except HTTPException as error:
            number = error.code or 500
            if number == 405:
                extra["Allow"] = ", ".join(sorted(getattr(error, "valid_methods", None) or ["GET", "HEAD"]))
            # a redirect of werkzeug's routing would lead to an address that is not known either
            status, body, kind = _error(404 if number < 400 else number, _told(number, request))
        except DisttrainError as error:
            status, body, kind = _error(409, str(error))
        except Exception as error:  # the server lives on whatever a model or a file does
            faults.log(error)
            status, body, kind = _error(500, f"{type(error).__name__}: {error}".splitlines()[0][:500])
        response = Response(body, status, {**_HEADERS, **extra, "Content-Type": kind})
        return response(environ, start_response)

    return app


class _Handlers:
    """One method for each address: gives (status, body, content type)."""

    def __init__(self, answers: Answers, page_folder: str) -> None:
        self._answers, self._page_folder = answers, os.path.realpath(page_folder)

    def index(self, request: Any) -> tuple[int, bytes, str]:
        return self.file(request, "index.html")

    def icon(self, request: Any) -> tuple[int, bytes, str]:
        return 204, b"", _TYPES[".png"]  # the page names its own; browsers ask here all the same

    def file(self, request: Any, name: str) -> tuple[int, bytes, str]:
        kind = _TYPES.get(os.path.splitext(name)[1])
        try:
            if kind is None or not all(map(_PART.fullmatch, name.split("/"))):
                raise FileNotFoundError
            path = os.path.realpath(os.path.join(self._page_folder, *name.split("/")))
            if not path.startswith(self._page_folder + os.sep):
                raise FileNotFoundError
            with open(path, "rb") as file:
                return 200, file.read(), kind
        except OSError:
            raise Refusal(404, f"the page has no file {name[:80]!r}") from None

    def model(self, request: Any) -> tuple[int, bytes, str]:
        return _json(self._answers.model())

    def graph(self, request: Any) -> tuple[int, bytes, str]:
        return _json(self._answers.graph())

    def checkpoints(self, request: Any) -> tuple[int, bytes, str]:
        return _json(self._answers.checkpoints())

    def inputs(self, request: Any) -> tuple[int, bytes, str]:
        offset, limit = _count(request, "offset", 0), _count(request, "limit", 100)
        return _json(self._answers.inputs.page(request.args.get("search", ""), offset, min(limit, MAX_PAGE_ITEMS)))

    def send(self, sent: Any) -> dict[str, Any]:
        return self._answers.inputs.send(sent)

    def item(self, request: Any, input_id: str) -> tuple[int, bytes, str]:
        return _json(self._answers.inputs.item(input_id))

    def picture(self, request: Any, input_id: str) -> tuple[int, bytes, str]:
        return 200, self._answers.inputs.picture(input_id), _TYPES[".png"]

    def activations(self, request: Any) -> tuple[int, bytes, str]:
        start, count = _count(request, "start", 0), _optional_count(request, "count")
        packed = self._answers.activations(
            _needed(request, "layer"),
            request.args.get("view") or "activations",
            request.args.get("input"),
            request.args.get("checkpoint") or None,
            exact=request.args.get("exact") == "1",
            start=start,
            count=count,
        )
        return 200, packed, "application/octet-stream"

    def attribution(self, request: Any) -> tuple[int, bytes, str]:
        packed = self._answers.attribution(
            _needed(request, "method"),
            request.args.get("input"),
            request.args.get("checkpoint") or None,
            _optional_count(request, "class"),
            request.args.get("layer") or None,
        )
        return 200, packed, "application/octet-stream"

    def predictions(self, request: Any) -> tuple[int, bytes, str]:
        return _json(self._answers.predictions(request.args.get("input"), request.args.get("checkpoint") or None))

    def statistics(self, request: Any) -> tuple[int, bytes, str]:
        layer = _needed(request, "layer")
        return _json(self._answers.statistics(layer, request.args.get("input"), request.args.get("checkpoint") or None))


class _Faults:
    """Tracebacks to stderr, each once, however often a page asks again."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def log(self, error: Exception) -> None:
        text = "".join(traceback.format_exception(error))
        with self._lock:
            known = text in self._seen
            if len(self._seen) < 1000:
                self._seen.add(text)
        if not known:
            print(f"activation viewer: a request failed; the viewer goes on.\n{text}", file=sys.stderr, end="")


def _sent(request: Any) -> Any:
    """The JSON of a POST, of which no more is read than may be sent."""
    if request.mimetype != "application/json":
        raise Refusal(415, f"expected application/json, received {request.mimetype[:80] or 'no content type'}")
    too_large = Refusal(413, f"that is too large to send: expected {MAX_BODY_BYTES >> 20} MB at most; put the file into the input folder")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise too_large  # werkzeug reads the rest away, so that the browser gets to read why
    body = bytearray()
    try:
        while len(body) <= MAX_BODY_BYTES and (chunk := request.stream.read(min(1 << 16, MAX_BODY_BYTES + 1 - len(body)))):
            body += chunk
    except OSError as error:
        raise Refusal(400, f"the body broke off: {error}") from None
    if len(body) > MAX_BODY_BYTES:
        raise too_large
    try:
        return parsed(body.decode())
    except ValueError:
        raise Refusal(400, "the body is no JSON") from None


def _json(value: Any) -> tuple[int, bytes, str]:
    return 200, json.dumps(finite(value), allow_nan=False).encode(), "application/json"


def _error(status: int, message: str) -> tuple[int, bytes, str]:
    return status, json.dumps({"error": message}).encode(), "application/json"


def _told(status: int, request: Any) -> str:
    if status == 405:
        return f"{request.method[:20]} is not allowed here: expected GET, or POST for /api/inputs"
    return f"there is nothing at {request.path[:200]}" if status < 405 else f"the request cannot be answered: status {status}"


def _needed(request: Any, name: str) -> str:
    value = request.args.get(name)
    if not value:
        raise Refusal(400, f"{name}= is missing")
    return str(value)


def _optional_count(request: Any, name: str) -> int | None:
    text = request.args.get(name)
    if text is None or text == "":
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise Refusal(400, f"{name}={text[:40]!r}: expected a whole number, 0 or more")
    return int(text)


def _count(request: Any, name: str, default: int) -> int:
    count = _optional_count(request, name)
    return default if count is None else count
