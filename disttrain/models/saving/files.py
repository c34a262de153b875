"""Bytes in and out by path or URL; a file on this machine appears whole or not at all."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem


def write_bytes(path: Any, data: bytes, overwrite: bool = True) -> None:
    """Write `data`, through a symbolic link to what it points to; folders are made.

    Raises:
        FileExistsError: the file is there and `overwrite` is False.
    """
    system, name = fsspec.core.url_to_fs(os.fspath(path))
    if not overwrite and system.exists(name):
        raise FileExistsError(f"{path} exists already.\n  try  overwrite=True")
    if not isinstance(system, LocalFileSystem):
        system.pipe_file(name, data)
        return
    name = os.path.realpath(name)  # a link stays one, and its target is what is written
    folder = os.path.dirname(name) or "."
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(name)}.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp lets nobody else read it
        os.replace(temporary, name)
    except BaseException:
        os.unlink(temporary)
        raise


def read_bytes(path: Any) -> bytes:
    """The whole file.

    Raises:
        FileNotFoundError: it is not there.
    """
    system, name = fsspec.core.url_to_fs(os.fspath(path))
    if not system.exists(name):
        raise FileNotFoundError(f"{path} does not exist.")
    data = system.cat_file(name)
    assert isinstance(data, bytes)
    return data


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
