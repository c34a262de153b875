"""The JSON in a run directory that is believed: sealed as commits are, of a known format, or an error that names the file."""

from __future__ import annotations

from typing import Any

from disttrain.checkpoint.messages import explain
from disttrain.checkpoint.sealed import seal, unseal
from disttrain.checkpoint.store import Store
from disttrain.errors import CheckpointCorrupt, CheckpointMismatch

VERSION = 1
_MAX_BYTES = 64 << 20


def record(form: str, body: dict[str, Any]) -> bytes:
    """The bytes of a record of the format `disttrain-<form>`.

    Raises:
        ValueError: a value is no JSON; the message names its place.
    """
    return seal({**body, "format": f"disttrain-{form}", "version": VERSION})


def read_record(store: Store, path: str, form: str, remedy: str) -> dict[str, Any] | None:
    """The body of a record, without its format; None where there is no such file.

    Args:
        remedy: what to do where it is damaged.

    Raises:
        CheckpointCorrupt: a byte is not as it was written, or it is a record of something else.
        CheckpointMismatch: a later disttrain wrote it.
    """
    source = store.locate(path)
    try:
        data = store.read(path, stop=_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    body = unseal(data, source, remedy)
    found, version = body.pop("format", None), body.pop("version", None)
    if found != f"disttrain-{form}" or type(version) is not int or version < 1:
        raise CheckpointCorrupt(
            explain(f"{source} is damaged.", expected=f"format disttrain-{form}", found=f"{found!r}, version {version!r}", remedy=remedy)
        )
    if version > VERSION:
        raise CheckpointMismatch(
            explain(
                f"{source} was written by a newer disttrain.",
                expected=f"version {VERSION} of disttrain-{form} or older",
                found=f"version {version}",
                remedy="the disttrain that began this run, or a newer one",
            )
        )
    return body
