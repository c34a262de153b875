"""The logs of every epoch, sent to a server."""

from __future__ import annotations

import json
import math
import urllib.parse
import warnings
from typing import Any

from disttrain.callbacks.arguments import real_number
from disttrain.callbacks.base import Callback, Logs


class RemoteMonitor(Callback):
    """Posts `{"epoch": ..., **logs}` to `root + path` after each epoch. A server that fails is warned of and does not stop the training.

    Args:
        root: such as `"http://localhost:9000"`.
        path: behind it.
        field: the field of the form that holds the JSON.
        headers: further headers, by name.
        send_as_json: the JSON as the body itself, with its content type, instead of a form.
        timeout_s: how long an answer is waited for; the training stands still for as long.

    NaN and infinity, which JSON lacks, are sent as null. One warning is given for each time that the server goes away.

    Raises:
        ValueError: `root` is not a URL of http or https.
    """

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: dict[str, str] | None = None,
        send_as_json: bool = False,
        timeout_s: float = 10.0,
    ) -> None:
        super().__init__()
        address = urllib.parse.urlsplit(root) if isinstance(root, str) else None
        if address is None or address.scheme not in ("http", "https") or not address.netloc:
            raise ValueError(f"RemoteMonitor(root={root!r}): expected a URL such as 'http://localhost:9000'.")
        if real_number(self, "timeout_s", timeout_s, "seconds, above 0") <= 0:
            raise ValueError(f"RemoteMonitor(timeout_s={timeout_s!r}): expected seconds, above 0.")
        self.root, self.path, self.field = root, path, field
        self.headers, self.send_as_json, self.timeout_s = dict(headers or {}), bool(send_as_json), timeout_s
        self._away = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._away = False

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        import http.client  # late: they take longer to load than all callbacks together
        import urllib.error
        import urllib.request

        text = json.dumps({"epoch": epoch, **{name: _sendable(value) for name, value in (logs or {}).items()}})
        try:
            request = urllib.request.Request(*self._posted(text), method="POST")
            with urllib.request.urlopen(request, timeout=self.timeout_s) as answer:
                answer.read()
            self._away = False
        except (OSError, http.client.HTTPException) as error:  # a refused connection, a timeout, an answer of 400 and above
            if not self._away:
                reason = f"it answered {error.code}" if isinstance(error, urllib.error.HTTPError) else f"{error}"
                warnings.warn(
                    f"Could not reach RemoteMonitor root server: {self.root + self.path} "
                    f"took no logs of epoch {epoch}: {reason}. Going on.",
                    stacklevel=2,
                )
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            self._away = True

    def _posted(self, text: str) -> tuple[str, bytes, dict[str, str]]:
        """URL, body and headers."""
        if self.send_as_json:
            body, kind = text.encode(), "application/json"
        else:
            body, kind = urllib.parse.urlencode({self.field: text}).encode(), "application/x-www-form-urlencoded"
        return self.root + self.path, body, {"Content-Type": kind, **self.headers}


def _sendable(value: Any) -> Any:
    """A number or nested lists of them in JSON types; anything else as text."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_sendable(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int | str) or value is None else str(value)
