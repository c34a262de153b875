"""Exponential linear unit."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from disttrain import activations
from disttrain.layers.activation.pointwise import Pointwise, number


class ELU(Pointwise):
    """`x` from 0 on, `alpha * (exp(x) - 1)` below (Clevert et al. 2016).

    Raises:
        ValueError: `alpha` is no number.
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = number(alpha, "alpha", "ELU", minimum=None)

    def call(self, inputs: Tensor) -> Tensor:
        return activations.elu(inputs, self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}
