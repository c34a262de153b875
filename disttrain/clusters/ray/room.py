"""Is there room for a Ray? On a full disk it tries for most of a minute, and does not say why it gave up."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil

from disttrain.errors import InfrastructureError

_BYTES = 8 << 20  # logs and sockets of a small run
_FULL = (errno.ENOSPC, errno.EDQUOT)


def refuse_without_room(folder: str) -> None:
    """Raise InfrastructureError where a Ray that keeps its files below `folder` could not begin."""
    missing = shortage(folder)
    if missing is not None:
        raise InfrastructureError(
            f"no Ray on this machine: {missing}.\n"
            "  expected  some hundred MiB there\n"
            f"  try       df -h {folder}; the same command once there is room"
        )


def shortage(folder: str) -> str | None:
    """What is missing, in words, where `folder` lies; None where there is room. It is taken for a moment: a quota shows in no other way."""
    path = os.path.join(folder, f".room-{os.getpid()}")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        return _words(folder, error)
    try:
        os.posix_fallocate(descriptor, 0, _BYTES)
    except OSError as error:
        return _words(folder, error) if error.errno in _FULL else None  # some file systems do not know the call
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            os.unlink(path)
    return None


def _words(folder: str, error: OSError) -> str:
    free = ""
    with contextlib.suppress(OSError):
        free = f" ({shutil.disk_usage(folder).free >> 20} MiB are free)"
    return f"{folder} has no room for Ray's files: {error.strerror or error}{free}"
