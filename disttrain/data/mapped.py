"""Arrays that are files: they travel as the name of the file, and are mapped where they are used. Nothing is read that no sample needs."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disttrain.errors import DataError

_SHIPPED_BYTES = 1 << 20  # what is smaller travels as it is, and need not be a file elsewhere


def mapped_file(array: NDArray[Any]) -> np.memmap[Any, Any] | None:
    """The map of a file that an array, or what it is a view of, lies in; None where there is none, or where it is a private copy."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and getattr(base, "_mmap", None) is not None and not isinstance(base.base, np.ndarray):
            return base if base.filename is not None and base.mode in ("r", "r+", "w+") else None
        base = base.base
    return None


def reduced(array: Any) -> tuple[Any, ...] | None:
    """How an array pickles that lies in a mapped file: by what opens it there; None for any other."""
    if not isinstance(array, np.ndarray) or array.nbytes < _SHIPPED_BYTES or array.dtype == object:
        return None
    whole = mapped_file(array)
    if whole is None:
        return None
    path = os.fspath(Path(str(whole.filename)).absolute())
    try:
        size = os.stat(path).st_size
    except OSError:
        return None  # it has been deleted, and lives on as a map
    if whole.mode != "r":
        whole.flush()
    begin = array.__array_interface__["data"][0] - whole.__array_interface__["data"][0] + whole.offset
    return opened, (path, size, array.dtype, array.shape, array.strides, begin, socket.gethostname())


def opened(
    path: str, size: int, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...], begin: int, host: str
) -> NDArray[Any]:
    """The array in the file.

    Raises:
        DataError: the file is not there, or another one is.
    """
    here = socket.gethostname()
    try:
        found = os.stat(path).st_size
    except OSError as error:
        raise DataError(
            f"{path}, which an array was mapped from on {host}, cannot be opened on {here}: {error.strerror}.\n"
            "  expected  a path that every host sees\n  try       a shared file system, or the array in memory: np.array(x)"
        ) from error
    if found != size:
        raise DataError(
            f"{path} has {found} bytes on {here}, and {size} on {host}, where an array was mapped from it.\n"
            "  expected  the same file on every host, and none that changes while it is read"
        )
    whole = np.memmap(path, dtype=np.uint8, mode="r")
    return np.ndarray(shape, dtype, buffer=whole, offset=begin, strides=strides)


def file_array(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The array in a `.npy` file, mapped.

    Raises:
        DataError: it cannot be read.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{os.fspath(path)} cannot be read as an array: {error}\n  expected  a .npy file, as np.save writes it") from error
    return array


def is_large_map(array: Any) -> bool:
    """Would it take memory or time to look at all of it?"""
    return isinstance(array, np.ndarray) and array.nbytes >= _SHIPPED_BYTES and mapped_file(array) is not None
