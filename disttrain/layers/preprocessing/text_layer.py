"""What layers of text and categories share: they compute in Python, and their result lies where the input did."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from disttrain.layers.layer import Layer
from disttrain.layers.preprocessing.categorical import encoded_shape
from disttrain.layers.structure import flatten
from disttrain.layers.symbolic import has_symbolic
from disttrain.text import holds_text, is_text, strings_of, text_tensor


class TextLayer(Layer):
    """Base of layers that take text, or numbers where a class says so, and make numbers of it.

    Called on strings, or arrays and lists of them, as well as on what a model hands over.
    """

    _takes_text = True  # what a model needs to have, to be given text
    _wants_text = False  # True where numbers are of no use to it: a Sequential that begins with it has an Input of strings
    _output_keeps_dtype = True  # counts are exact: a policy says in what others compute with them

    _calls_itself = True  # its `forward` takes text, and calls as any layer

    def __init__(self, *, autocast: bool = False, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # a whole number that came as a float must not be rounded

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if has_symbolic(args, kwargs):
            return super().forward(*args, **kwargs)
        return super().forward(*map(as_entry, args), **{name: as_entry(value) for name, value in kwargs.items()})


def as_entry(value: Any) -> Any:
    """Strings, arrays, lists and numbers as tensors; of several tensors each."""
    if isinstance(value, Tensor) or value is None or isinstance(value, bool | np.bool_):
        return value
    if hasattr(value, "to_numpy"):  # pandas
        value = value.to_numpy()
    if holds_text(value):
        return text_tensor(value)
    if isinstance(value, list | tuple) and any(isinstance(leaf, Tensor | np.ndarray) for leaf in flatten(value)):
        return type(value)(as_entry(item) for item in value)
    array = np.asarray(value)
    if array.dtype.kind == "O" and array.size and not isinstance(array.flat[0], int | float | np.number):
        return text_tensor(array)  # which says what is wrong with it
    return torch.from_numpy(array.astype(np.int64 if array.dtype in (np.uint32, np.uint64, object) else array.dtype, order="C"))


def tokens_of(inputs: Tensor, encoding: str = "utf-8") -> tuple[list[Any], tuple[int, ...]]:
    """(every string or number of `inputs`, its shape)."""
    array = strings_of(inputs, encoding) if is_text(inputs) else inputs.detach().cpu().numpy()
    return array.reshape(-1).tolist(), array.shape


def hot(indices: NDArray[np.int64], mode: str, depth: int, dtype: torch.dtype, weights: NDArray[np.floating[Any]] | None = None) -> Tensor:
    """The vectors of `depth` elements that stand for `indices`, as `CategoryEncoding` makes them; a negative index counts for nothing.

    Args:
        weights: of "tf_idf", which counts, what each element is multiplied by.
    """
    shape: Any = encoded_shape(indices.shape or (1,), mode, depth)
    if mode == "one_hot":
        flat = indices.reshape(-1)
        found = np.zeros((flat.size, depth + 1), np.float32)
        found[np.arange(flat.size), flat] = 1  # -1 is the last column, which is cut off
        return torch.from_numpy(found[:, :depth].reshape(shape if indices.shape else (depth,)).copy()).to(dtype)
    rows = indices.reshape(-1, indices.shape[-1] if indices.ndim else 1)
    counts = np.zeros((rows.shape[0], depth + 1), np.float32)
    np.add.at(counts, (np.arange(rows.shape[0])[:, None], rows), 1)
    counts = counts[:, :depth]
    if mode == "multi_hot":
        counts = np.minimum(counts, 1)
    if weights is not None:
        counts = counts * weights.astype(np.float32)
    return torch.from_numpy(counts.reshape(shape).copy()).to(dtype)
