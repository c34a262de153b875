"""One number for a set of weights: equal exactly when names, dtypes, shapes and every bit are equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from disttrain.checkpoint.arrays import DTYPES, NamedArray
from disttrain.checkpoint.reader import load
from disttrain.checkpoint.store import Store


def weights_digest(arrays: Mapping[str, NamedArray | NDArray[Any]]) -> str:
    """sha256, 64 hex digits, of named arrays in any order.

    Sorted by name, each gives: its name in UTF-8 and a NUL; its dtype and a NUL; its shape as JSON (`[2, 3]`) and a NUL; its bytes in C
    order, little-endian. The dtype is NumPy's `dtype.str` of the little-endian type, such as `<f4` or `|b1`; where NumPy has no such
    type, the name in safetensors, such as `BF16`.

    Example:
        >>> weights_digest({"w": np.zeros(1, np.float32)})[:16]
        '7f2f601085e9ad34'
    """
    total = hashlib.sha256()
    for name in sorted(arrays):
        value = arrays[name]
        array = value if isinstance(value, NamedArray) else NamedArray.from_numpy(np.asarray(value))
        dtype = DTYPES[array.dtype].numpy or array.dtype
        total.update(name.encode() + b"\0" + dtype.encode() + b"\0" + json.dumps(list(array.shape)).encode() + b"\0")
        total.update(array.data.data)
    return total.hexdigest()


def fault_digest(data: Any) -> bytes:
    """XXH3-128 of bytes, 16 of them: at the speed of memory. It guards against faults, not against people."""
    return xxhash.xxh3_128_digest(data)


def checkpoint_digest(store: Store, name: str | None = None, prefix: str = "model/") -> str:
    """`weights_digest` of a checkpoint's arrays under `prefix`, with the prefix taken off; of the newest whole one if `name` is None.

    Raises what `load` raises.
    """
    arrays = load(store, name, prefix=prefix).arrays
    return weights_digest({key.removeprefix(prefix): array for key, array in arrays.items()})
