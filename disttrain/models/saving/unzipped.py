"""A `.keras` file as a folder with the same members, as `save(zipped=False)` leaves it."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterable
from typing import Any

import fsspec

from disttrain.models.saving.archive import MAX_MEMBERS
from disttrain.models.saving.files import write_bytes


def write_folder(path: Any, members: Iterable[tuple[str, bytes]], overwrite: bool) -> None:
    """Write each member as a file; the config, by which the folder is known, last.

    Raises:
        FileExistsError: there is something, and `overwrite` is False; or it is a file.
    """
    system, name = fsspec.core.url_to_fs(os.fspath(path))
    if system.exists(name) and (not overwrite or not system.isdir(name)):
        raise FileExistsError(f"{path} exists already.\n  try  {'another path' if overwrite else 'overwrite=True'}")
    for member, data in sorted(members, key=lambda pair: pair[0] == "config.json"):
        write_bytes(f"{os.fspath(path).rstrip('/')}/{member}", data)


def folder_as_archive(path: Any) -> bytes | None:
    """The zip that such a folder would be; None where the path is no folder with a model's config.

    Raises:
        ValueError: it holds more files than a model has.
    """
    system, name = fsspec.core.url_to_fs(os.fspath(path))
    root = name.rstrip("/")
    if not system.isdir(root) or not system.exists(f"{root}/config.json"):
        return None
    files = system.find(root)
    if len(files) > MAX_MEMBERS:
        raise ValueError(f"{path} holds {len(files)} files, expected {MAX_MEMBERS} at most.")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            inner = file[file.index(root) + len(root) :].lstrip("/")
            archive.writestr(zipfile.ZipInfo(inner), system.cat_file(file))
    return buffer.getvalue()
