"""Where data enter a model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from torch import Tensor

from disttrain import text
from disttrain.layers.dtypes import standard_dtype
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Node, Shape, SymbolicTensor, operations_from

operations_from(lambda: import_module("disttrain.layers.ops"))  # late: takes 20 ms; whoever has a symbolic tensor had this module


class InputLayer(Layer):
    """The shape and dtype that a model expects; passes its input on.

    Args:
        shape: without the batch; None for a size that varies.
        batch_size: None unless the model works for one size only.
        batch_shape: the shape with the batch, instead of both.
        optional: the model may be called with None in its place.
        input_tensor: a symbolic tensor that no layer gave, which becomes the output.

    Raises:
        ValueError: no shape, a shape that is no tuple of sizes, or `shape` beside `batch_shape`; `sparse` or `ragged`.
    """

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: Any = None,
        batch_shape: Sequence[int | None] | None = None,
        optional: bool = False,
        name: str | None = None,
        input_tensor: Any = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        input_shape: Sequence[int | None] | None = None,
        batch_input_shape: Sequence[int | None] | None = None,
        **kwargs: Any,
    ) -> None:
        for argument, value in (("sparse", sparse), ("ragged", ragged)):
            if value:
                raise ValueError(f"`{argument}=True` is not supported with the torch backend.\n  try  dense tensors, with a mask")
        if input_shape is not None:
            warnings.warn("Argument `input_shape` is deprecated. Use `shape` instead.", stacklevel=2)
            shape = input_shape
        batch_shape = batch_input_shape if batch_shape is None else batch_shape
        if input_tensor is not None:
            shape, batch_shape, dtype = None, *_of_tensor(input_tensor, shape, batch_size, batch_shape, dtype)
            batch_size = None
        super().__init__(name=name, dtype=None if dtype == text.NAME else dtype, **kwargs)
        if dtype == text.NAME:
            self.dtype = text.NAME
        if shape is None and batch_shape is None:
            raise ValueError("You must pass a `shape` argument. Input() was given neither shape nor batch_shape.")
        for argument, given in (("shape", shape), ("batch_size", batch_size)):
            if given is not None and batch_shape is not None:
                raise ValueError(f"You cannot pass both `{argument}` and `batch_shape` at the same time, to Input().")
        sizes = (batch_size, *_sizes(shape, "shape")) if batch_shape is None else _sizes(batch_shape, "batch_shape")
        self.batch_shape: Shape = sizes
        self.optional = bool(optional)
        self.built = True
        tensor = SymbolicTensor(sizes, self.dtype, self.name) if input_tensor is None else input_tensor
        self._nodes.append(Node(self, 0, (), {}, tensor))

    def call(self, inputs: Tensor) -> Tensor:
        return inputs

    def compute_output_shape(self, input_shape: Any = None) -> Shape:
        return self.batch_shape

    def get_config(self) -> dict[str, Any]:
        return {
            "batch_shape": self.batch_shape,
            "dtype": self.dtype,
            "sparse": False,
            "ragged": False,
            "name": self.name,
            "optional": self.optional,
        }

    def get_build_config(self) -> None:
        return None

    @property
    def output(self) -> SymbolicTensor:
        """The symbolic tensor that `Input` returns; made anew in a copy that was unpickled."""
        if not self._nodes:
            self._nodes.append(Node(self, 0, (), {}, SymbolicTensor(self.batch_shape, self.dtype, self.name)))
        return self._nodes[0].outputs  # type: ignore[no-any-return]


def Input(
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: Any = None,
    batch_shape: Sequence[int | None] | None = None,
    name: str | None = None,
    optional: bool = False,
    sparse: bool | None = None,
    ragged: bool | None = None,
    tensor: Any = None,
) -> SymbolicTensor:
    """The symbolic tensor that a functional model, or a Sequential, starts from.

    Args:
        shape: of one sample; None for a size that varies.
        batch_size, batch_shape: where the size of the batch is fixed.
        dtype: float32 unless told; "int32" for indices, "string" for text.
        name: what dict data call this input.
        optional: the model may be called with None in its place.
        sparse, ragged: Keras's other kinds of tensors; True is refused.
        tensor: a symbolic tensor to start from, which no layer gave.

    Example:
        >>> Input((28, 28, 1)).shape
        (None, 28, 28, 1)
    """
    return InputLayer(shape, batch_size, dtype, batch_shape, optional, name, tensor, sparse, ragged).output


def _of_tensor(tensor: Any, shape: Any, batch_size: int | None, batch_shape: Any, dtype: Any) -> tuple[Shape, str]:
    """The shape and dtype of a tensor to start from, to which whatever else is said must be equal."""
    if not isinstance(tensor, SymbolicTensor):
        raise ValueError(
            f"Argument `input_tensor` must be a KerasTensor. Received invalid type: input_tensor={tensor} (of type {type(tensor)})"
        )
    if tensor.node is not None and not isinstance(tensor.node.layer, InputLayer):
        raise ValueError(f"Input(tensor={tensor!r}): a layer gave it.\n  try  Model(inputs=that tensor, outputs=...), which begins there")
    for argument, given, own in (
        ("batch_size", batch_size, tensor.shape[0] if tensor.shape else None),
        ("shape", None if shape is None else _sizes(shape, "shape"), tensor.shape[1:]),
        ("batch_shape", None if batch_shape is None else _sizes(batch_shape, "batch_shape"), tensor.shape),
        ("dtype", dtype if dtype is None else standard_dtype(dtype), tensor.dtype),
    ):
        if given is not None and given != own:
            raise ValueError(f"When providing the `input_tensor` argument, you cannot provide an incompatible `{argument}` argument.")
    return tensor.shape, tensor.dtype


def _sizes(shape: Any, argument: str) -> Shape:
    sizes = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    if not all(size is None or (isinstance(size, int | np.integer) and not isinstance(size, bool) and size >= 0) for size in sizes):
        raise ValueError(f"Input({argument}={shape!r}): expected sizes that are integers of 0 or more, or None.")
    return tuple(None if size is None else int(size) for size in sizes)


__all__ = ["Input", "InputLayer"]
