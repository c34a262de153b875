"""The zip around a `.keras` file, read as hostile: known members only, and no more bytes than the file can honestly hold."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

MAX_MEMBERS = 10_000
MAX_CONFIG_BYTES = 64 << 20
_MAX_INFLATED_BYTES = 64 << 20  # of a compressed member; Keras compresses none, so a large one is a trick

_DAMAGE = (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError, ValueError, struct.error, zlib.error)


def sound_archive(data: bytes, source: str) -> zipfile.ZipFile:
    """The open archive.

    Raises:
        ValueError: not a zip, or too many members.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _DAMAGE as error:
        raise ValueError(f"{source} is no .keras file: {error}") from error
    if len(archive.infolist()) > MAX_MEMBERS:
        raise ValueError(f"{source} has {len(archive.infolist())} members, expected {MAX_MEMBERS} at most.")
    return archive


def read_member(archive: zipfile.ZipFile, name: str, source: str, limit_bytes: int | None = None) -> bytes:
    """The bytes of one member, checked by its CRC.

    Raises:
        ValueError: it is missing, damaged, or larger than it should be.
    """
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise ValueError(f"{source} has no {name}: it is no .keras file of Keras 3, or was cut short.") from None
    if info.compress_type != zipfile.ZIP_STORED:
        limit_bytes = min(limit_bytes or _MAX_INFLATED_BYTES, _MAX_INFLATED_BYTES)
    if limit_bytes is not None and info.file_size > limit_bytes:
        raise ValueError(f"{source}: {name} has {info.file_size} bytes, expected {limit_bytes} at most.")
    try:
        with archive.open(info) as member:
            found = member.read(info.file_size + 1)
    except _DAMAGE as error:
        raise ValueError(f"{source}: {name} is damaged: {error}") from error
    if len(found) != info.file_size:
        raise ValueError(f"{source}: {name} is damaged: {len(found)} bytes, not {info.file_size}.")
    return found
