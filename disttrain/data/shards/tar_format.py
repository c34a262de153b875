"""WebDataset's tar files: members that share a name up to its first dot, side by side, are the fields of a sample."""

from __future__ import annotations

import io
import json
import posixpath
import tarfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from disttrain.data.pixels import PICTURES, pixels_of
from disttrain.data.shards.blocks import Span
from disttrain.data.shards.files import Files
from disttrain.errors import DataError

_BLOCK_BYTES = 1 << 20
_BLOCK_ROWS = 256
_PADDING = 512
_NUMBERS = ("cls", "cls2", "index", "inx", "id", "count")
_TEXT = ("txt", "text", "transcript")

Row = dict[str, bytes]


class TarFormat:
    """Samples in tar files.

    Args:
        decodes: make of each field what its ending says; else fields are bytes.
        mode, size: of pictures, see `pixels_of`.
    """

    name, columnar, keeps = "tar", False, True

    def __init__(self, decodes: bool, mode: str, size: tuple[int, int] | None) -> None:
        self.decodes, self.mode, self.size = decodes, mode, size

    @property
    def settings(self) -> str:
        return f"tar {_BLOCK_BYTES} {_BLOCK_ROWS}"

    def look(self, files: Files, number: int) -> list[Span]:
        """Samples that lie side by side, about a megabyte of them in each block."""
        url, size, spans = files.urls[number], files.sizes[number], []
        with files.open(number, 8 << 20) as stream:
            head = stream.read(2)
            if head in (b"\x1f\x8b", b"BZ", b"(\xb5", b"\xfd7"):
                raise DataError(
                    f"{url} is compressed: no sample of it can be read without all that come before.\n"
                    "  expected  a plain tar file\n"
                    "  try       unpacking it: gunzip, or tar without z; pictures in it are compressed as it is"
                )
            stream.seek(0)
            begin, rows, key, stop = 0, 0, None, 0
            with _opened(stream, url) as archive:
                for member in _members(archive, url):
                    stop_of_member = member.offset_data + -(-member.size // _PADDING) * _PADDING
                    if member.offset_data + member.size > size:
                        raise _cut(url, size, f"{member.name} ends at byte {member.offset_data + member.size}")
                    named = _key_of(member)
                    if named is None:
                        continue
                    if named[0] != key:
                        if rows and (stop - begin >= _BLOCK_BYTES or rows >= _BLOCK_ROWS):
                            spans.append((begin, stop, rows, stop - begin))
                            begin, rows = member.offset, 0
                        elif not rows:
                            begin = member.offset
                        key, rows = named[0], rows + 1
                    stop = stop_of_member
                end = archive.offset
            stream.seek(end)
            last = stream.read(_PADDING)
        if len(last) < _PADDING:
            raise _cut(url, size, "the blocks of zeros that end a tar file are not there")
        if last.strip(b"\0"):
            raise DataError(
                f"{url} is damaged: what lies at byte {end} is neither a member nor the end of a tar file.\n"
                "  expected  a whole tar file\n  try       writing or copying it once more; or leaving it out of the list"
            )
        if rows:
            spans.append((begin, stop, rows, stop - begin))
        return spans

    def load(self, files: Files, number: int, begin: int, end: int) -> list[Row]:
        data = files.bytes_of(number, begin, end)
        rows: list[Row] = []
        key = None
        with _opened(io.BytesIO(data + bytes(2 * _PADDING)), files.urls[number]) as archive:
            for member in _members(archive, files.urls[number]):
                named = _key_of(member)
                if named is None:
                    continue
                if named[0] != key:
                    key = named[0]
                    rows.append({"__key__": key.encode()})
                if named[1] in rows[-1]:
                    raise DataError(
                        f"{files.urls[number]} has two members {member.name}: expected one sample after the other, each with its own name."
                    )
                rows[-1][named[1]] = data[member.offset_data : member.offset_data + member.size]
        return rows

    def sample(self, row: Any, where: str) -> dict[str, Any]:
        key = row["__key__"].decode()
        found = {"__key__": key}
        for field, value in row.items():
            if field != "__key__":
                found[field] = self._decoded(field, value, f"{key}.{field}, in {where},") if self.decodes else value
        return found

    def _decoded(self, field: str, value: bytes, what: str) -> Any:
        ending = field.rsplit(".", 1)[-1].lower()
        try:
            if ending in PICTURES:
                return pixels_of(value, self.mode, self.size)
            if ending in _NUMBERS:
                return int(value)
            if ending in _TEXT:
                return value.decode("utf-8")
            if ending == "json":
                return json.loads(value)
            if ending == "npy":
                return np.load(io.BytesIO(value), allow_pickle=False)
        except Exception as error:
            raise DataError(f"{what} cannot be read as {ending}: {type(error).__name__}: {error}") from error
        return value


def _opened(stream: Any, url: str) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=stream, mode="r:")
    except tarfile.TarError as error:
        raise DataError(f"{url} is no tar file: {error}\n  expected  a tar file, as WebDataset's writers make it") from error


def _members(archive: tarfile.TarFile, url: str) -> Iterator[tarfile.TarInfo]:
    try:
        yield from archive
    except tarfile.TarError as error:
        raise DataError(
            f"{url} is damaged or cut short: {error}\n"
            "  expected  a whole tar file\n  try       writing or copying it once more; or leaving it out of the list"
        ) from error


def _key_of(member: tarfile.TarInfo) -> tuple[str, str] | None:
    """(the name of the sample, the name of the field); None for what is neither, such as a folder."""
    folder, name = posixpath.split(member.name)
    stem, dot, field = name.partition(".")
    if not member.isfile() or not dot or not stem or name.startswith("."):
        return None
    return posixpath.join(folder, stem), field


def _cut(url: str, size: int, why: str) -> DataError:
    return DataError(
        f"{url} is cut short: it has {size} bytes, and {why}.\n"
        "  expected  a whole tar file\n  try       writing or copying it once more; or leaving it out of the list"
    )
