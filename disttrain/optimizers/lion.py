"""Lion."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.base import Optimizer, Slots
from disttrain.optimizers.schedules import LearningRateSchedule


class Lion(Optimizer):
    """Steps of equal size in the direction of the sign (Chen et al. 2023):

        w -= lr * sign(b1 * m + (1 - b1) * g)
        m = b2 * m + (1 - b2) * g

    Args:
        learning_rate: 0.001 unless told; a third to a tenth of Adam's suits it.
        beta_1: memory in the direction, above 0 to 1; at 0 only the gradient's sign would be left.
        beta_2: memory of the mean, 0 to 1.
        common: see `Optimizer`.
    """

    slot_names = ("momentum",)

    def __init__(
        self, learning_rate: float | LearningRateSchedule = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, **common: Any
    ) -> None:
        super().__init__(learning_rate, **common)
        if not 0.0 < beta_1 <= 1.0:
            raise ValueError(f"Lion(beta_1={beta_1!r}): expected a number above 0, up to 1.")
        if not 0.0 <= beta_2 <= 1.0:
            raise ValueError(f"Lion(beta_2={beta_2!r}): expected a number from 0 to 1.")
        self.beta_1, self.beta_2 = float(beta_1), float(beta_2)

    def update(self, params: list[Tensor], grads: list[Tensor], slots: Slots, step: int, learning_rate: float) -> None:
        momentums = slots["momentum"]
        directions = torch._foreach_mul(momentums, self.beta_1)
        torch._foreach_add_(directions, grads, alpha=1.0 - self.beta_1)
        torch._foreach_sign_(directions)
        torch._foreach_add_(params, directions, alpha=-learning_rate)
        torch._foreach_mul_(momentums, self.beta_2)
        torch._foreach_add_(momentums, grads, alpha=1.0 - self.beta_2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2}
