"""Embedding of integers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain import bounds
from disttrain.layers.core.weight_settings import add_configured, keep_settings, refuse_adapters, settings_config
from disttrain.layers.geometry import integer
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class Embedding(Layer):
    """Row `i` of a table for each integer `i`.

    Args:
        input_dim: rows, one more than the largest integer.
        output_dim: columns.
        embeddings_constraint: what the table becomes after each update; `disttrain.constraints`.
        mask_zero: the integer 0 is padding: the output carries a mask that is False there.
        weights: the table to start with, an array of shape `(input_dim, output_dim)`, or a list that holds it.

    Input shape: any, integers (floats are cut to integers). Output shape: `(..., output_dim)`.
    Weights: `embeddings (input_dim, output_dim)`, uniform from -0.05 to 0.05.

    Source: Bengio et al. 2003.

    Raises:
        ValueError: sizes below 1; an index outside of 0 to `input_dim - 1`.

    Example:
        >>> Embedding(10, 4, mask_zero=True)(torch.tensor([[3, 7, 0]]))._keras_mask
        tensor([[ True,  True, False]])
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        **kwargs: Any,
    ) -> None:
        owner = type(self).__name__
        kwargs.pop("input_length", None)  # of older Keras
        refuse_adapters(owner, kwargs)
        super().__init__(**kwargs)
        self.input_dim = integer(input_dim, "input_dim", owner)
        self.output_dim = integer(output_dim, "output_dim", owner)
        self.mask_zero = bool(mask_zero)
        self.supports_masking = self._starts_mask = self.mask_zero
        keep_settings(self, embeddings=(embeddings_initializer, embeddings_regularizer, embeddings_constraint))
        self._autocast = False  # float indices must not be rounded to half precision
        if weights is not None:
            self.build(())
            self.set_weights(weights if isinstance(weights, list) and len(weights) == 1 else [weights])

    def build(self, input_shape: Shape | None = None) -> None:
        self.embeddings = add_configured(self, "embeddings", (self.input_dim, self.output_dim))

    def call(self, inputs: Tensor) -> Tensor:
        return self._rows(inputs)

    def _rows(self, inputs: Tensor) -> Tensor:
        indices = as_indices(inputs)
        if bounds.guarded(indices.device):
            indices = bounds.kept_in(indices, self.input_dim, f"{self._described()}: got indices")
        try:
            return F.embedding(indices, self.embeddings)
        except IndexError:  # torch says no more than that
            low, high = inputs.min().item(), inputs.max().item()
            raise ValueError(f"{self._described()}: got indices from {low} to {high}, expected 0 to {self.input_dim - 1}.") from None

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return inputs != 0 if self.mask_zero else None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape, self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            **settings_config(self, "embeddings"),
            "mask_zero": self.mask_zero,
        }


def as_indices(inputs: Tensor) -> Tensor:
    """`inputs` as integers that torch takes for indices."""
    return inputs if inputs.dtype in (torch.int32, torch.int64) else inputs.long()
