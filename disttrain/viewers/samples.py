"""The samples that a run left beside its model: a .safetensors file, read with the standard library and NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from disttrain.checkpoint.arrays import DTYPES, NamedArray
from disttrain.parsing import parsed_object
from disttrain.viewers.refusal import Refusal

_MAX_HEADER_BYTES = 1 << 20
_TWO_BYTE_FLOAT = "BF16"  # which NumPy lacks


class Samples:
    """A few inputs with their labels.

    Args:
        x: by input name, with a batch axis.
        y: labels, class numbers or one-hot rows; None without.
        keyed: the model takes a dict; False: a list; None: one tensor.
    """

    def __init__(self, x: dict[str, np.ndarray] | None = None, y: np.ndarray | None = None, keyed: bool | None = None) -> None:
        self.x, self.y, self.keyed = dict(x or {}), y, keyed

    @property
    def count(self) -> int:
        """How many."""
        return min((len(array) for array in self.x.values()), default=0)

    def row(self, number: int) -> dict[str, np.ndarray]:
        """One, without its batch axis. Raises Refusal where there is none."""
        if not 0 <= number < self.count:
            raise Refusal(404, f"there is no sample {number}: the run has {self.count}")
        return {name: array[number] for name, array in self.x.items()}

    def label(self, number: int) -> int | None:
        """The class of a sample, where labels are classes."""
        if self.y is None or number >= len(self.y):
            return None
        row = np.asarray(self.y[number])
        if row.size == 1 and float(row.reshape(())) == int(row.reshape(())):
            return int(row.reshape(()))
        one_hot = row.ndim == 1 and row.size > 1 and np.isin(row, (0, 1)).all() and row.sum() == 1
        return int(row.argmax()) if one_hot else None


def read_samples(data: bytes, names: Sequence[str]) -> Samples:
    """What the bytes of a file hold.

    Args:
        names: the inputs of the model, in order; [] where it does not tell.

    Raises:
        ValueError: the file is damaged.
    """
    arrays = read_safetensors(data)
    several = {key.removeprefix("x/"): array for key, array in arrays.items() if key.startswith("x/")}
    y = arrays.get("y")
    if "x" in arrays:
        return Samples({names[0] if len(names) == 1 else "input": arrays["x"]}, y)
    numbered = all(key.isdecimal() for key in several)
    if numbered:
        several = {key: several[key] for key in sorted(several, key=int)}
    if len(several) == len(names) and (numbered or set(several) != set(names)):
        several = dict(zip(names, several.values(), strict=True))
    return Samples(several, y, keyed=not numbered if several else None)


def read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    """The arrays in the bytes of a .safetensors file, by name; bfloat16 becomes float32.

    Raises:
        ValueError: the bytes are not those of such a file.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_MAX_HEADER_BYTES, len(data) - 8):
        raise ValueError("the samples of the run are damaged: expected a .safetensors file")
    header = parsed_object(data[8 : 8 + length])
    body = np.frombuffer(data, np.uint8, offset=8 + length)
    arrays = {}
    try:
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, stop = entry["data_offsets"]
            shape, dtype = tuple(int(size) for size in entry["shape"]), entry["dtype"]
            part = body[start:stop]
            if not 0 <= start <= stop <= body.size or part.size != math.prod(shape) * DTYPES[dtype].item_bytes:
                raise ValueError(name)
            if dtype == _TWO_BYTE_FLOAT:
                arrays[name] = (part.view("<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
            else:
                arrays[name] = NamedArray(dtype, shape, part.copy()).to_numpy()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"the samples of the run are damaged: {error}") from None
    return arrays
