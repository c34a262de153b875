"""Reading .npy and .npz files from strangers: no pickles, no more memory than one row, nothing believed that the file's size denies."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from disttrain.viewers.refusal import Refusal

MAX_ROW_BYTES = 64 << 20
MAX_MEMBER_BYTES = 1 << 30  # unpacked
MAX_MEMBERS = 64
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class ArrayHeader:
    """What an array file says of itself.

    Args:
        member: its name in an .npz, "" in an .npy.
        offset: where the values begin.
    """

    member: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    @property
    def nbytes(self) -> int:
        """Of all values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_headers(file: IO[bytes], name: str) -> list[ArrayHeader]:
    """The arrays of a file, in its order.

    Raises:
        Refusal: no array file, one with pickled objects, or one that promises more than it holds.
    """
    try:
        if not name.lower().endswith(".npz"):
            file.seek(0, 2)
            nbytes = file.tell()
            file.seek(0)
            return [_header(file, "", nbytes, name)]
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise Refusal(422, f"{name} holds {len(members)} arrays: expected {MAX_MEMBERS} at most")
            return [_member_header(archive, member, name) for member in members]
    except Refusal:
        raise
    except Exception as error:  # a damaged file has many ways to fail
        raise Refusal(422, f"{name} is no array file that can be read: {type(error).__name__}: {error}") from None


def read_row(file: IO[bytes], name: str, header: ArrayHeader, row: int | None) -> np.ndarray:
    """Row `row` along axis 0, or with None the whole array. Reads what read_headers has checked."""
    try:
        if not header.member:
            return _values(file, header, row, name)
        with zipfile.ZipFile(file) as archive, archive.open(header.member) as member:
            return _values(member, header, row, name)
    except Refusal:
        raise
    except Exception as error:
        raise Refusal(422, f"{name} cannot be read: {type(error).__name__}: {error}") from None


def _member_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> ArrayHeader:
    if member.file_size > MAX_MEMBER_BYTES:
        raise Refusal(413, f"{name} holds {member.filename[:80]!r} of {member.file_size} bytes: expected {MAX_MEMBER_BYTES} at most")
    with archive.open(member) as stream:
        return _header(stream, member.filename, member.file_size, name)


def _header(stream: IO[bytes], member: str, nbytes: int, name: str) -> ArrayHeader:
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise Refusal(422, f"{name} has arrays with named fields: expected plain numbers")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.kind not in "biuf":
        what = "pickled objects, which could run code" if dtype.hasobject else f"values of type {dtype}"
        raise Refusal(422, f"{name} holds {what}: expected plain numbers")
    header = ArrayHeader(member, shape, dtype, bool(fortran), stream.tell())
    if len(shape) > 32 or any(size < 0 for size in shape) or header.offset + header.nbytes > nbytes:
        raise Refusal(422, f"{name} is cut short: it promises {header.nbytes} bytes of values and has {nbytes - header.offset}")
    return header


def _values(stream: IO[bytes], header: ArrayHeader, row: int | None, name: str) -> np.ndarray:
    whole = row is None or header.fortran
    shape = header.shape if whole else header.shape[1:]
    wanted = header.nbytes if whole else math.prod(shape) * header.dtype.itemsize
    if wanted > MAX_ROW_BYTES:
        raise Refusal(413, f"{name}: one input takes {wanted} bytes, expected {MAX_ROW_BYTES} at most")
    _skip(stream, header.offset + (0 if whole or row is None else row * wanted))
    data = stream.read(wanted)
    if len(data) != wanted:
        raise Refusal(422, f"{name} is cut short: {len(data)} of {wanted} bytes")
    values = np.frombuffer(data, header.dtype).reshape(shape, order="F" if header.fortran else "C")
    if whole and row is not None:
        values = values[row]
    return values.astype(header.dtype.newbyteorder("="))


def _skip(stream: IO[bytes], nbytes: int) -> None:
    """To a place from the start; a packed stream is read through, in chunks."""
    if not isinstance(stream, zipfile.ZipExtFile):
        stream.seek(nbytes)
        return
    while nbytes > 0:
        chunk = stream.read(min(nbytes, _CHUNK_BYTES))
        if not chunk:
            return
        nbytes -= len(chunk)
