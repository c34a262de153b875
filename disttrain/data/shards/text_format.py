"""Files of lines: CSV and JSON lines. A block is some lines that lie side by side; where they lie is found out once."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disttrain.data.shards.blocks import Span
from disttrain.data.shards.files import Files
from disttrain.errors import DataError

_CHUNK_BYTES = 8 << 20
_BLOCK_BYTES = 1 << 18
_QUOTE, _NEWLINE = 0x22, 0x0A
_LOOKED_AT = 200  # rows, from which the kinds of columns are learnt


class JsonLines:
    """An object a line."""

    name, columnar, keeps = "JSON lines", False, True

    @property
    def settings(self) -> str:
        return f"lines {_BLOCK_BYTES}"

    def look(self, files: Files, number: int) -> list[Span]:
        return _spans(files, number, quoted=False, header=False)

    def load(self, files: Files, number: int, begin: int, end: int) -> list[bytes]:
        return _lines(files.bytes_of(number, begin, end), quoted=False)

    def sample(self, row: Any, where: str) -> dict[str, Any]:
        try:
            found = json.loads(row)
        except ValueError as error:
            raise DataError(f"{where} is no JSON: {error}\n  found     {bytes(row[:80])!r}\n  expected  an object on each line") from None
        if not isinstance(found, dict):
            raise DataError(f'{where} is a {type(found).__name__}: expected an object on each line, such as {{"x": [1, 2], "y": 0}}.')
        return found


class Csv:
    """Rows of fields, with the names of columns in the first line of each file.

    Args:
        names: of the columns, where files have no such line.
        kinds: "int", "float" or "text" of columns; of the others, what the first rows look like.
    """

    name, columnar, keeps = "CSV", False, True

    def __init__(self, delimiter: str, names: list[str] | None, kinds: dict[str, str]) -> None:
        self.delimiter, self.header = delimiter, names is None
        self.names, self.kinds = names or [], dict(kinds)

    @property
    def settings(self) -> str:
        return f"csv {_BLOCK_BYTES} {self.header}"

    def learn(self, files: Files) -> None:
        """The names and kinds of columns, from the first file; every other has the same names.

        Raises:
            DataError: one has others, or none.
        """
        head = self._head(files, 0)
        rows: list[list[str]] = []
        if self.header:
            self.names = self._fields(head.pop(0), files.urls[0])
        for line in head:
            with suppress(DataError):  # which is told where the row is a sample
                rows.append(self._fields(line, files.urls[0]))
        unknown = sorted(set(self.kinds) - set(self.names))
        if unknown:
            raise DataError(f"csv(dtypes={{{unknown[0]!r}: ...}}): no such column.\n  expected  one of {', '.join(self.names)}")
        for place, name in enumerate(self.names):
            if name not in self.kinds:
                self.kinds[name] = _kind([row[place] for row in rows if len(row) > place])
        for number in range(1, len(files) if self.header else 0):
            found = self._fields(self._head(files, number, 1)[0], files.urls[number])
            if found != self.names:
                raise DataError(
                    f"{files.urls[number]} has the columns {', '.join(found)}.\n  expected  {', '.join(self.names)}, as {files.urls[0]} has"
                )

    def _head(self, files: Files, number: int, count: int = _LOOKED_AT) -> list[bytes]:
        size = min(files.sizes[number], _BLOCK_BYTES)
        data = files.bytes_of(number, 0, size)
        lines = _lines(data, quoted=True)
        whole = size == files.sizes[number] or data.endswith(b"\n")
        return (lines if whole or len(lines) < 2 else lines[:-1])[:count] or [b""]

    def look(self, files: Files, number: int) -> list[Span]:
        return _spans(files, number, quoted=True, header=self.header)

    def load(self, files: Files, number: int, begin: int, end: int) -> list[bytes]:
        return _lines(files.bytes_of(number, begin, end), quoted=True)

    def sample(self, row: Any, where: str) -> dict[str, Any]:
        fields = self._fields(row, where)
        if len(fields) != len(self.names):
            raise DataError(
                f"{where} has {len(fields)} fields, and there are {len(self.names)} columns.\n  expected  {', '.join(self.names)}\n"
                f"  found     {bytes(row[:80])!r}"
            )
        return {name: self._value(name, text, where) for name, text in zip(self.names, fields, strict=True)}

    def _fields(self, row: bytes, where: str) -> list[str]:
        try:
            rows = list(csv.reader(io.StringIO(row.decode("utf-8-sig"), newline=""), delimiter=self.delimiter, strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{where} is no row of a CSV file: {error}\n  found     {bytes(row[:80])!r}") from None
        if len(rows) > 1:
            raise DataError(f"{where} holds {len(rows)} rows: expected lines that end in \\n, or in \\r\\n.")
        return rows[0] if rows else []

    def _value(self, name: str, text: str, where: str) -> Any:
        kind = self.kinds[name]
        if kind == "text":
            return text
        try:
            return int(text) if kind == "int" else float(text)
        except ValueError:
            raise DataError(
                f"{where} has {text!r} in the column {name!r}, which is of the kind {kind!r}.\n"
                f"  try       csv(dtypes={{{name!r}: 'float'}}), or 'text' and transform=; kinds are learnt from {_LOOKED_AT} rows"
            ) from None


def _kind(values: list[str]) -> str:
    for kind, make in (("int", int), ("float", float)):
        try:
            for value in values:
                make(value)
        except ValueError:
            continue
        return kind if values else "text"
    return "text"


def _spans(files: Files, number: int, *, quoted: bool, header: bool) -> list[Span]:
    """Lines by blocks; empty lines at the end of one are in it, and are no rows."""
    size, spans = files.sizes[number], []
    begin, rows, lines = 0, 0, 0
    place = 0
    for stops, filled in _ends(files, number, quoted):
        for stop, holds in zip(stops.tolist(), filled.tolist(), strict=True):
            if header and holds and lines == 0:
                begin = stop
                lines = 1
                continue
            lines += holds
            rows += holds
            if rows and stop - begin >= _BLOCK_BYTES:
                spans.append((begin, stop, rows, 4 * (stop - begin)))
                begin, rows = stop, 0
            place = stop
    if rows:
        spans.append((begin, max(place, begin), rows, 4 * (size - begin)))
    return spans


def _ends(files: Files, number: int, quoted: bool) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Where lines end, chunk after chunk, and whether each holds anything. A line break within quotes ends none."""
    size, url = files.sizes[number], files.urls[number]
    offset, quotes, begin, blank = 0, 0, 0, True
    with files.open(number, _CHUNK_BYTES) as stream:
        while offset < size:
            data = stream.read(min(_CHUNK_BYTES, size - offset))
            if not data:
                raise OSError(f"{url} ended at byte {offset} of {size}")
            if offset == 0 and data[:2] in (b"\x1f\x8b", b"BZ", b"(\xb5", b"\xfd7", b"PK"):
                raise DataError(
                    f"{url} is compressed: no row of it can be read without all that come before.\n"
                    "  expected  a plain text file\n"
                    "  try       unpacking it (gunzip); or Parquet, which is compressed and can be read in pieces"
                )
            codes = np.frombuffer(data, dtype=np.uint8)
            ends = codes == _NEWLINE
            if quoted:
                within = quotes + np.cumsum(codes == _QUOTE)
                ends &= within % 2 == 0
                quotes = int(within[-1])
            found = np.flatnonzero(ends) + 1
            # does a line hold anything but white space?
            dark = np.concatenate([[0], np.cumsum(codes > 0x20)])
            begins = np.concatenate([[0], found[:-1]]) if len(found) else found
            filled = dark[found] > dark[begins] if len(found) else np.zeros(0, dtype=bool)
            if len(found):
                filled[0] |= not blank
                blank = bool(dark[-1] == dark[found[-1]])
            else:
                blank &= bool(dark[-1] == 0)
            yield found + offset, filled
            offset += len(data)
            begin = offset
    if quoted and quotes % 2:
        raise DataError(f"{url} is cut short, or no CSV file: a quotation mark is never closed.")
    if not blank:
        yield np.array([begin]), np.array([True])  # the last line, without an end


def _lines(data: bytes, *, quoted: bool) -> list[bytes]:
    if not quoted or b'"' not in data:
        return [line for line in data.split(b"\n") if line.strip()]
    codes = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero((codes == _NEWLINE) & (np.cumsum(codes == _QUOTE) % 2 == 0)) + 1
    cuts = [0, *ends.tolist(), len(data)]
    return [line for line in (data[one:other] for one, other in itertools.pairwise(cuts)) if line.strip()]
