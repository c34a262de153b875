"""Where data enter a model."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from torch import Tensor

from disttrain import text
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Node, Shape, SymbolicTensor, operations_from

operations_from(lambda: import_module("disttrain.layers.ops"))  # late: takes 20 ms; whoever has a symbolic tensor had this module


class InputLayer(Layer):
    """The shape and dtype that a model expects; passes its input on.

    Args:
        shape: without the batch; None for a size that varies.
        batch_size: None unless the model works for one size only.
        batch_shape: the shape with the batch, instead of both.
    """

    def __init__(
        self,
        shape: Sequence[int | None] | None = None,
        batch_size: int | None = None,
        dtype: Any = None,
        batch_shape: Sequence[int | None] | None = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, dtype=None if dtype == text.NAME else dtype, **kwargs)
        if dtype == text.NAME:
            self.dtype = text.NAME
        if (shape is None) == (batch_shape is None):
            raise ValueError(f"Input(shape={shape!r}, batch_shape={batch_shape!r}): expected one of the two.")
        if optional:
            raise ValueError("Input(optional=True) is not supported: every input must be given.")
        sizes = (batch_size, *_sizes(shape, "shape")) if batch_shape is None else _sizes(batch_shape, "batch_shape")
        self.batch_shape: Shape = sizes
        self.optional = False
        self.built = True
        tensor = SymbolicTensor(sizes, self.dtype, self.name)
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
            "optional": False,
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
) -> SymbolicTensor:
    """The symbolic tensor that a functional model, or a Sequential, starts from.

    Args:
        shape: of one sample; None for a size that varies.
        batch_size, batch_shape: where the size of the batch is fixed.
        dtype: float32 unless told; "int32" for indices, "string" for text.
        name: what dict data call this input.

    Example:
        >>> Input((28, 28, 1)).shape
        (None, 28, 28, 1)
    """
    return InputLayer(shape, batch_size, dtype, batch_shape, optional, name).output


def _sizes(shape: Any, argument: str) -> Shape:
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if not all(size is None or (isinstance(size, int) and not isinstance(size, bool) and size >= 0) for size in sizes):
        raise ValueError(f"Input({argument}={shape!r}): expected sizes that are integers of 0 or more, or None.")
    return sizes


__all__ = ["Input", "InputLayer"]
