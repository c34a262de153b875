"""What an error of a storage means: is it for a person to mend, or may the same command succeed by itself another time?"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from disttrain.checkpoint.access import plainly
from disttrain.errors import DisttrainError, RunUnwritable, StorageUnavailable, UsageError

_LASTING = {
    errno.EISDIR: "a folder is in the way",
    errno.ELOOP: "its links go in a circle",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOTDIR: "a file is in the way",
    errno.EROFS: "the file system is read-only",
}
_NO_ROOM = {errno.EDQUOT: "the disk quota is used up", errno.ENOSPC: "the disk is full"}
_NO_RIGHT = {errno.EACCES: "permission denied", errno.EPERM: "not permitted"}
_EXTRAS = {"abfs": "azure", "abfss": "azure", "adl": "azure", "az": "azure", "gcs": "gcs", "gs": "gcs", "s3": "s3", "s3a": "s3"}
_WRONG_NAMES = ("ParamValidationError", "InvalidBucketName", "InvalidEndpoint")  # of clients' own errors: the URL is no name of theirs


def file_system(url: str, **options: Any) -> tuple[Any, str]:
    """fsspec's file system for a URL, and the path in it.

    Raises:
        UsageError: there is no such kind of storage, or what speaks to it is not installed.
        StorageUnavailable: it wants to be asked before it is used, and does not answer.
    """
    protocol = url.split("://", 1)[0] if "://" in url else "file"
    try:
        fs, path = fsspec.core.url_to_fs(url, **plainly(url, options))
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        remedy = f"pip install 'disttrain[{extra}]'" if extra else f"pip install what speaks {protocol}: {error}"
        raise UsageError(
            f"{url} cannot be opened: what speaks to {protocol} storage is not installed ({error}).\n"
            f"  expected  the package of fsspec for {protocol}\n"
            f"  try       {remedy}"
        ) from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"{url} cannot be opened: {error}\n  expected  a path, or a URL of a kind of storage that fsspec knows") from error
    except Exception as error:  # each backend has its own; some look for credentials at once
        raise _unavailable(url, "opened", error) from error
    return fs, str(path)


def refusal(where: str, error: OSError, *, is_local: bool) -> RunUnwritable | StorageUnavailable | None:
    """The error for a write that failed; None where this one may pass in a moment, so that the caller may try again itself.

    Rights lie on this machine as somebody has set them; those of a bucket take minutes to arrive everywhere. Room comes back.
    """
    if error.errno in _NO_ROOM:
        return StorageUnavailable(
            f"{where} cannot be written: {_NO_ROOM[error.errno]}.\n"
            "  expected  room for the checkpoints of this run\n"
            "  try       the same command once there is room; or another --run-dir"
        )
    if error.errno in _NO_RIGHT and not is_local:
        return _unavailable(where, "written", error)
    reason = {**_LASTING, **_NO_RIGHT}.get(error.errno or 0)
    return None if reason is None or isinstance(error, FileExistsError) else unwritable(where, reason)


def first_contact(where: str, error: Exception, *, is_local: bool) -> DisttrainError:
    """The error for a storage that did not even take a small file."""
    known = refusal(where, error, is_local=is_local) if isinstance(error, OSError) else None
    if known is not None:
        return known
    wrong = isinstance(error, FileNotFoundError | NotImplementedError | TypeError | ValueError) or type(error).__name__ in _WRONG_NAMES
    if wrong:  # no such bucket, a storage that cannot be written, a name that none may have
        return unwritable(where, f"{type(error).__name__}: {error}")
    return _unavailable(where, "written", error)


@contextmanager
def answering(where: str) -> Iterator[None]:
    """Around reads and writes whose failure ends the command: an error of the storage says so, and that a retry may help."""
    try:
        yield
    except (DisttrainError, FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.split(".")[0] in ("builtins", "disttrain"):
            raise  # our own mistake
        known = refusal(where, error, is_local="://" not in where) if isinstance(error, OSError) else None
        raise (known or _unavailable(where, "used", error)) from error


def unwritable(where: str, reason: str) -> RunUnwritable:
    """The error for what no retry can mend."""
    return RunUnwritable(
        f"{where} cannot be written: {reason}.\n"
        "  expected  a folder or bucket that is there, and that this user may write to\n"
        "  try       another --run-dir, or its permissions"
    )


def _unavailable(where: str, what: str, error: Exception) -> StorageUnavailable:
    return StorageUnavailable(
        f"{where} cannot be {what} now: {type(error).__name__}: {error}\n"
        "  expected  a storage that answers, and credentials for it\n"
        "  try       the same command again, once it answers"
    )
