"""Digests in the weight files that this package writes: a bit that is not as it was written is noticed, and no bit is loaded wrong.

A `.safetensors` file has it in its metadata, a `.weights.h5` file as an attribute of its root. Others look at neither. What others
wrote has none: it loads, with a word that it cannot be checked. A `.keras` file has a checksum of each member, as every zip has.
"""

from __future__ import annotations

import hashlib
import json
import logging
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.torch
from torch import Tensor

from disttrain.parsing import parsed_object

KEY = "disttrain_sha256"
_ALIGNMENT = 8  # of the data in a safetensors file


def say_unchecked(source: str) -> None:
    """Say that a file cannot be checked. A log record and no warning: it is no mistake, and must not end a script that forbids warnings."""
    logging.getLogger("disttrain").warning(
        "%s holds no digest: a bit that changed since it was written cannot be noticed; what save_weights() writes has one", source
    )


def sealed_safetensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Weights by name as a sealed safetensors file.

    Raises:
        ValueError: one has a dtype that the format lacks.
    """
    try:
        return seal_safetensors(safetensors.torch.save(dict(tensors), metadata={"format": "pt"}))
    except KeyError as error:  # what the library does with such a dtype
        dtype = error.args[0]
        name = next((name for name, tensor in tensors.items() if tensor.dtype == dtype), None)
        if name is None:
            raise
        raise ValueError(
            f"a .safetensors file cannot hold {name!r}: the format has no {str(dtype).removeprefix('torch.')}.\n"
            "  try       another file, which has: .weights.h5 or .keras, or a state_dict of torch (.pt)"
        ) from error


def seal_safetensors(data: bytes) -> bytes:
    """The same file with its digest in the metadata."""
    header, body = _parts(data)
    header.setdefault("__metadata__", {})[KEY] = _safetensors_digest(header, body)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return struct.pack("<Q", len(text)) + text + bytes(body)


def is_sealed_safetensors(data: bytes) -> bool:
    """Does a sound safetensors file say what its content was?"""
    return KEY in _parts(data)[0].get("__metadata__", {})


def check_safetensors(data: bytes, source: str) -> None:
    """Hold a sound safetensors file against the digest in it, if it has one.

    Raises:
        ValueError: they differ.
    """
    header, body = _parts(data)
    kept = header.get("__metadata__", {}).get(KEY)
    if kept is not None:
        _compare(kept, _safetensors_digest(header, body), source)


def _parts(data: bytes) -> tuple[dict[str, Any], memoryview]:
    (length,) = struct.unpack("<Q", data[:8])
    return parsed_object(data[8 : 8 + length]), memoryview(data)[8 + length :]


def _safetensors_digest(header: dict[str, Any], body: memoryview) -> str:
    metadata = {key: value for key, value in header.get("__metadata__", {}).items() if key != KEY}
    total = hashlib.sha256(json.dumps({**header, "__metadata__": metadata}, sort_keys=True).encode())
    total.update(body)
    return total.hexdigest()


def seal_h5(file: Any) -> None:
    """Leave the digest of an open HDF5 file in it, once all else is."""
    file.attrs[KEY] = _h5_digest(file, None)


def check_h5_digest(file: Any, size: int, source: str) -> bool:
    """Hold an open HDF5 file of `size` bytes against the digest in it; False where it has none.

    Raises:
        ValueError: they differ, or it holds what this package does not write.
    """
    kept = file.attrs.get(KEY)
    if kept is None:
        return False
    _compare(kept, _h5_digest(file, size), source)
    return True


def _h5_digest(file: Any, limit: int | None) -> str:
    """Over names, attributes, shapes, dtypes and values; `limit`: no dataset holds more bytes."""
    total = hashlib.sha256()
    described = {key: str(value) for key, value in file.attrs.items() if key != KEY}
    if described:
        total.update(json.dumps(described, sort_keys=True).encode())

    def visit(name: str, member: Any) -> None:
        attributes = {key: str(value if isinstance(value, str) else np.asarray(value).tolist()) for key, value in member.attrs.items()}
        total.update(json.dumps([name, attributes], sort_keys=True).encode())
        if not hasattr(member, "shape"):
            return
        plain = not member.is_virtual and member.external is None and member.chunks is None
        if not plain or member.dtype.kind not in "fiubcV" or (limit is not None and member.nbytes > limit):
            raise ValueError(f"{name} is damaged: it is no plain array within the file")
        total.update(f"{member.shape} {member.dtype.str}".encode())
        total.update(np.ascontiguousarray(member[()]).tobytes())

    file.visititems(visit)
    return total.hexdigest()


def _compare(kept: Any, found: str, source: str) -> None:
    if kept != found:
        raise ValueError(
            f"{source} is damaged: its content is not what was written.\n"
            f"  expected  sha256 {str(kept)[:16]}..., as the file itself says\n"
            f"  found     sha256 {found[:16]}...\n"
            "  try       another copy of it"
        )
