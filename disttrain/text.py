"""Text as tensors, which torch has none of: the code points of each string along one more axis, as `torch.uint32`.

So a batch of text travels as any other does: it is cut into slices, sent, put on a device. It is NumPy's own form of strings. Nothing else
here has that dtype: numbers of it become int64 on their way in. Layers such as `TextVectorization` make numbers of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from disttrain.errors import DataError

TEXT = torch.uint32
NAME = "string"  # the dtype of an Input for text, as Keras calls it


def is_text(value: Any) -> bool:
    """Is it text in form of a tensor?"""
    return isinstance(value, Tensor) and value.dtype is TEXT


def holds_text(value: Any) -> bool:
    """Is it a string, an array of them, or lists of them?"""
    while isinstance(value, list | tuple) and value:
        value = value[0]
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "SU" or (value.dtype.kind == "O" and value.size > 0 and isinstance(value.flat[0], str | bytes))
    return isinstance(value, str | bytes)


def strings_of(value: Any, encoding: str = "utf-8") -> NDArray[Any]:
    """Text of any form as an array of `str`.

    Args:
        value: a tensor of text, a string, an array or lists of strings; bytes are decoded by `encoding`.

    Raises:
        DataError: something among them that is no string.
    """
    if is_text(value):
        points = np.ascontiguousarray(value.detach().cpu().numpy())
        shape, width = points.shape[:-1], points.shape[-1]
        return points.view(f"<U{width}").reshape(shape) if width else np.zeros(shape, "<U1")
    array = value if isinstance(value, np.ndarray) else np.array(value)
    if array.dtype.kind == "U":
        return array
    if array.dtype.kind == "S":
        return np.char.decode(array, encoding) if array.size else array.astype("<U1")
    if array.dtype.kind != "O":
        raise DataError(f"expected text, got {array.dtype} of shape {array.shape}.")
    for place, item in enumerate(array.flat):
        if not isinstance(item, str | bytes):
            raise DataError(
                f"expected text, got {item!r} of type {type(item).__name__} at place {place} of an array of Python objects.\n"
                "  try       a string in its place, such as '' for what is missing"
            )
    items = [item.decode(encoding) if isinstance(item, bytes) else item for item in array.flat]
    return np.array(items, dtype=str if items else "<U1").reshape(array.shape)


def code_points(value: Any) -> NDArray[np.uint32]:
    """Strings as numbers, shape `(..., longest)`, with 0 after the end of each."""
    strings = np.ascontiguousarray(strings_of(value)).astype("=U", copy=False)
    if np.ndim(value) == 0 and not isinstance(value, np.ndarray):
        strings = strings.reshape(())
    if strings.dtype.itemsize == 0:
        strings = strings.astype("<U1")
    return np.frombuffer(strings.tobytes(), np.uint32).reshape(*strings.shape, strings.dtype.itemsize // 4)


def text_tensor(value: Any) -> Tensor:
    """Strings as a tensor of text."""
    return torch.from_numpy(code_points(value).copy())


def gathered(structure: Any) -> Any:
    """The same structure with an array for each list of strings in it."""
    if isinstance(structure, dict):
        named = {key: gathered(value) for key, value in structure.items()}
        return structure if all(named[key] is structure[key] for key in named) else named
    if not isinstance(structure, list | tuple):
        return structure
    if structure and _all_strings(structure):
        return np.array(structure)
    found = [gathered(item) for item in structure]
    if all(one is two for one, two in zip(found, structure, strict=True)):
        return structure  # of whatever class
    return type(structure)(*found) if hasattr(structure, "_fields") else type(structure)(found)


def _all_strings(value: Any) -> bool:
    return isinstance(value, str | bytes) or (isinstance(value, list | tuple) and all(map(_all_strings, value)))


def fitted(leaf: Tensor, dtype: str, shape: tuple[int | None, ...], described: str) -> Tensor:
    """Text for an Input of dtype "string", of the rank that it declares, where a column and an axis less are the same.

    Raises:
        ValueError: text for another Input, or something else for this one.
    """
    if dtype != NAME:
        raise ValueError(
            f"{described} got text, expected {dtype}.\n  try  Input(shape, dtype='string') and a layer that makes numbers of it: "
            "TextVectorization, StringLookup, Hashing"
        )
    if not is_text(leaf):
        raise ValueError(f"{described} got {str(leaf.dtype).removeprefix('torch.')}, expected text: its Input has dtype='string'.")
    if leaf.ndim == len(shape) and shape[-1] == 1:
        return leaf.unsqueeze(-2)
    if leaf.ndim == len(shape) + 2 and leaf.shape[-2] == 1:
        return leaf.squeeze(-2)
    return leaf


def check_takes_text(layer: Any) -> None:
    """Refuse text for a layer that computes with numbers, and has no layer in it that takes text.

    Raises:
        ValueError: it has none.
    """
    if not any(getattr(module, "_takes_text", False) for module in layer.modules()):
        raise ValueError(
            f"{type(layer).__name__} {layer.name!r} takes numbers, and got text.\n"
            "  try  a layer before it that makes numbers of it: TextVectorization, StringLookup, Hashing"
        )


class Strings:
    """An array of strings that becomes a tensor a batch at a time: as one, it would have the width of its longest.

    Args:
        array: of strings, or of Python objects that are; kept as it is.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        if array.dtype.kind == "O":
            strings_of(array)
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.array.shape

    @property
    def ndim(self) -> int:
        """Of the array."""
        return self.array.ndim

    @property
    def dtype(self) -> str:
        """What an Input calls it."""
        return NAME

    def __getitem__(self, rows: Any) -> Tensor:
        return text_tensor(self.array[rows])

    def index_select(self, axis: int, rows: Tensor) -> Tensor:
        """The strings of those rows, as of a tensor; `axis` is 0."""
        return text_tensor(self.array[rows.numpy()])
