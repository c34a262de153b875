"""The logs of every epoch as a CSV file."""

from __future__ import annotations

import csv
import io
import os
from typing import Any

from disttrain.callbacks.base import Callback, Logs


class CSVLogger(Callback):
    """Writes a row after each epoch: `epoch`, then the logged names, sorted; a missing value is `NA`.

    The columns are those of the first epoch. If that had no validation, a `val_` column is kept for each name. The file is written
    whole each time, which object stores want anyway, so a resumed run has each epoch in it once.

    Args:
        filename: a path or URL.
        separator: between values.
        append: go on after what the file holds, with a header only if it is empty.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        super().__init__()
        if not isinstance(filename, str | os.PathLike) or not os.fspath(filename):
            raise ValueError(f"CSVLogger(filename={filename!r}): expected a path or URL.")
        if not isinstance(separator, str) or len(separator) != 1 or separator in '"\r\n':
            raise ValueError(f"CSVLogger(separator={separator!r}): expected one character, such as ',', ';' or '\\t'.")
        self.filename, self.sep, self.append = os.fspath(filename), separator, bool(append)
        self._begin("")
        self._in_fit = False

    def _begin(self, prefix: str) -> None:
        self.keys: list[str] | None = None
        self._prefix, self._rows = prefix, ""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._in_fit = True
        self._begin(self._read() if self.append else "")
        if not self._prefix:
            self._write()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        first = self.keys is None
        if self.keys is None:
            self.keys = sorted(logs)
            if not any(key.startswith("val_") for key in self.keys):
                self.keys = [*self.keys, *(f"val_{key}" for key in self.keys)]
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=self.sep)
        if first and not self._prefix:
            writer.writerow(["epoch", *self.keys])
        writer.writerow([epoch, *(_cell(logs.get(key, "NA")) for key in self.keys)])
        self._rows += text.getvalue()
        self._write()

    def _read(self) -> str:
        import fsspec  # late: loads when a file is opened

        files, path = fsspec.core.url_to_fs(self.filename)
        if not files.exists(path):
            return ""
        with files.open(path, "r", newline="") as file:
            return str(file.read())

    def _write(self) -> None:
        import fsspec  # late: loads when a file is opened

        files, path = fsspec.core.url_to_fs(self.filename)
        folder = path.rpartition("/")[0]
        if folder:
            files.makedirs(folder, exist_ok=True)
        with files.open(path, "w", newline="") as file:
            file.write(self._prefix + self._rows)

    def state_dict(self) -> dict[str, Any]:
        return {"keys": self.keys, "prefix_characters": len(self._prefix), "rows": self._rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.keys, self._rows = state["keys"], state["rows"]
        self._prefix = self._prefix[: state["prefix_characters"]]
        if self._in_fit:  # else it was finished by an earlier process, and so was the file
            self._write()


def _cell(value: Any) -> Any:
    """A list, such as a metric for each class, as one cell: `"[1, 2]"` with its quotes, as Keras writes it."""
    return f'"[{", ".join(map(str, value))}]"' if isinstance(value, list | tuple) else value
