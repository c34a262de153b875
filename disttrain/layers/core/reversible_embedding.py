"""Embedding of integers that also goes back, from vectors to a score for each integer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.layers.core.embedding import Embedding
from disttrain.layers.dtypes import DTYPES, standard_dtype
from disttrain.layers.symbolic import Shape, SymbolicTensor


class ReversibleEmbedding(Embedding):
    """`Embedding`; called with `reverse=True`, `x @ embeddings.T`: a score of each integer, as at the end of a language model.

    Args:
        tie_weights: False gives the way back a weight of its own, `reverse_embeddings (output_dim, input_dim)`.
        mask_zero, embeddings_initializer and so on: see `Embedding`.
        reverse_dtype: the dtype in which scores are computed, such as "float32" under a mixed policy.
        logit_soft_cap: scores become `cap * tanh(score / cap)`.

    Output shape: `(..., output_dim)`, in reverse `(..., input_dim)`.

    Source: Press & Wolf 2017; the soft cap: Gemma Team 2024.

    Raises:
        ValueError: sizes below 1, or a `logit_soft_cap` of 0 or less; an index outside of 0 to `input_dim - 1`.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        tie_weights: bool = True,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        reverse_dtype: Any = None,
        logit_soft_cap: float | None = None,
        **kwargs: Any,
    ) -> None:
        weights = kwargs.pop("weights", None)
        super().__init__(
            input_dim, output_dim, embeddings_initializer, embeddings_regularizer, embeddings_constraint, mask_zero, **kwargs
        )  # fmt: skip
        if logit_soft_cap is not None and not logit_soft_cap > 0:
            raise ValueError(f"ReversibleEmbedding(logit_soft_cap={logit_soft_cap!r}): expected more than 0, or None.")
        self.tie_weights = bool(tie_weights)
        self.reverse_dtype = None if reverse_dtype is None else standard_dtype(reverse_dtype)
        self.logit_soft_cap = logit_soft_cap
        if weights is not None:
            self.build(())
            self.set_weights(weights if isinstance(weights, list) else [weights])

    def build(self, input_shape: Shape | None = None) -> None:
        super().build(input_shape)
        if not self.tie_weights:
            shape = (self.output_dim, self.input_dim)
            self.reverse_embeddings = self.add_weight("reverse_embeddings", shape, self.embeddings_initializer)

    def call(self, inputs: Tensor, reverse: bool = False) -> Tensor:
        if not reverse:
            return self._rows(inputs)
        kernel = self.embeddings.t() if self.tie_weights else self.reverse_embeddings
        dtype = kernel.dtype if self.reverse_dtype is None else DTYPES[self.reverse_dtype]
        logits = inputs.to(dtype) @ kernel.to(dtype)
        return logits if self.logit_soft_cap is None else torch.tanh(logits / self.logit_soft_cap) * self.logit_soft_cap

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        if not self.mask_zero or inputs.is_floating_point():  # floats come in on the way back, where 0 is a number like any other
            return None
        return inputs != 0

    def compute_output_shape(self, input_shape: Shape, reverse: bool = False) -> Shape:
        return (*input_shape[:-1], self.input_dim) if reverse else (*input_shape, self.output_dim)

    def compute_output_spec(self, inputs: Any, reverse: bool = False) -> SymbolicTensor:
        dtype = self.reverse_dtype if reverse and self.reverse_dtype is not None else self.compute_dtype
        return SymbolicTensor(self.compute_output_shape(inputs.shape, reverse), dtype)

    def get_config(self) -> dict[str, Any]:
        own = {"tie_weights": self.tie_weights, "reverse_dtype": self.reverse_dtype, "logit_soft_cap": self.logit_soft_cap}
        return {**super().get_config(), **own}
