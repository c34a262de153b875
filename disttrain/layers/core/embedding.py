"""Embedding of integers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disttrain import initializers, regularizers
from disttrain.layers.layer import Layer
from disttrain.layers.symbolic import Shape


class Embedding(Layer):
    """Row `i` of a table for each integer `i`.

    Args:
        input_dim: rows, one more than the largest integer.
        output_dim: columns.
        mask_zero: only False is supported: masks do not travel between layers.
        weights: the table to start with, an array of shape `(input_dim, output_dim)`, or a list that holds it.

    Input shape: any, integers (floats are cut to integers). Output shape: `(..., output_dim)`.
    Weights: `embeddings (input_dim, output_dim)`, uniform from -0.05 to 0.05.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("input_length", None)  # of older Keras
        super().__init__(**kwargs)
        for argument, value in (("input_dim", input_dim), ("output_dim", output_dim)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"Embedding({argument}={value!r}): expected an integer, 1 or more.")
        if mask_zero:
            raise ValueError("Embedding(mask_zero=True) is not supported: pass mask= to the recurrent layer instead.")
        self.input_dim, self.output_dim, self.mask_zero = input_dim, output_dim, False
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self._autocast = False  # float indices must not be rounded to half precision
        if weights is not None:
            self.build(())
            self.set_weights(weights if isinstance(weights, list) else [weights])

    def build(self, input_shape: Shape | None = None) -> None:
        shape = (self.input_dim, self.output_dim)
        self.embeddings = self.add_weight("embeddings", shape, self.embeddings_initializer, self.embeddings_regularizer)

    def call(self, inputs: Tensor) -> Tensor:
        indices = inputs if inputs.dtype in (torch.int32, torch.int64) else inputs.long()
        return F.embedding(indices, self.embeddings)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape, self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": regularizers.serialize(self.embeddings_regularizer),
            "mask_zero": self.mask_zero,
        }
