"""A layer that does nothing."""

from __future__ import annotations

from typing import Any

from disttrain.layers.layer import Layer
from disttrain.layers.structure import map_structure
from disttrain.layers.symbolic import SymbolicTensor


class Identity(Layer):
    """Its input, a tensor or a structure of tensors, as it is: a place to put something later.

    Example:
        >>> import torch
        >>> Identity()(torch.ones(2))
        tensor([1., 1.])
    """

    supports_masking = True
    _needs_no_build = True
    _output_keeps_dtype = True

    def call(self, inputs: Any) -> Any:
        return inputs

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        return map_structure(lambda tensor: SymbolicTensor(tensor.shape, tensor.dtype), args[0] if args else kwargs["inputs"])

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape
