"""Reading HDF5 as hostile: plain datasets of numbers in the file itself, no links out of it, nothing larger than it says."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from disttrain.host_numbers import LACKED
from disttrain.models.saving.foreign import refuse_foreign_hdf5

MIN_CHUNK = 1 << 20  # numbers; HDF5 may take chunks of some size for a small dataset


@contextmanager
def opened_h5(data: bytes, source: str, legacy: bool = False) -> Iterator[Any]:
    """The open file; whatever HDF5 says of damage inside the block becomes a ValueError.

    Args:
        legacy: it may be laid out as Keras 2 did.
    """
    import h5py

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            if not legacy:
                refuse_foreign_hdf5(file, source)
            yield file
    except (OSError, KeyError, RuntimeError, OverflowError, TypeError, MemoryError) as error:
        raise ValueError(f"{source} holds no sound HDF5: {error}") from error


def member_at(group: Any, path: str, source: str) -> Any:
    """The object at `path`, or None. Links out of the file, or anywhere but down, are refused."""
    import h5py

    for part in path.split("/"):
        link = group.get(part, getlink=True) if part in group or _dangling(group, part) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{source}: {part!r} is a link to somewhere else, which no saved model has.")
        group = group[part]
    return group


def _dangling(group: Any, part: str) -> bool:
    return part in group.keys()  # noqa: SIM118 - `in group` follows links, keys() does not


def value_of(dataset: Any, source: str) -> Tensor:
    """A dataset of numbers as a tensor.

    Raises:
        ValueError: it is none, or keeps its bytes elsewhere.
    """
    if dataset.is_virtual or dataset.external is not None:
        raise ValueError(f"{source}: {dataset.name} keeps its bytes in another file, which no saved model does.")
    lacked = next((dtype for dtype in LACKED if dataset.attrs.get("dtype") == str(dtype).removeprefix("torch.")), None)
    if lacked is not None and dataset.dtype.kind == "V" and dataset.dtype.itemsize == lacked.itemsize:
        raw = np.ascontiguousarray(dataset[()])
        return torch.from_numpy(raw.reshape(-1).view(np.uint8).copy()).view(lacked).reshape(dataset.shape)
    if dataset.dtype.kind not in "fiubc":
        raise ValueError(f"{source}: {dataset.name} has dtype {dataset.dtype}; weights are numbers.")
    if dataset.chunks is not None and math.prod(dataset.chunks) > max(dataset.size, MIN_CHUNK):
        raise ValueError(f"{source}: {dataset.name} comes in chunks of shape {dataset.chunks}, larger than itself.")
    array = np.asarray(dataset[()])
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))
