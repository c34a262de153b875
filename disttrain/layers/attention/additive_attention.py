"""Additive attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.layers.attention.attention import Attention


class AdditiveAttention(Attention):
    """`softmax(sum of scale * tanh(query + key)) @ value` (Bahdanau et al. 2015).

    Args:
        use_scale: learn a number for each feature; without, all are 1.
        dropout, seed: see `Attention`.

    Call and shapes: see `Attention`. Weights: `scale (features,)` with `use_scale`, Glorot uniform.

    Raises:
        ValueError: an unknown `score_mode`, or a `dropout` outside of 0 to 1; an input that is no list of two or three tensors; masks that
            do not fit.
    """

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(use_scale=use_scale, dropout=dropout, **kwargs)

    def _add_weights(self, input_shape: Any) -> None:
        features = input_shape[0][-1]
        if self.use_scale and features is None:
            raise ValueError(f"{self._described()}: got a query of shape {tuple(input_shape[0])}; the number of features must be known.")
        self.scale = self.add_weight("scale", (features,), "glorot_uniform") if self.use_scale else None

    def _scores(self, query: Tensor, key: Tensor) -> Tensor:
        pairs = torch.tanh(query.unsqueeze(-2) + key.unsqueeze(-3))
        return pairs.sum(-1) if self.scale is None else pairs @ self.scale

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["score_mode"]
        return config
