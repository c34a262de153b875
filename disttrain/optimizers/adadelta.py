"""Adadelta."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.arguments import number
from disttrain.optimizers.base import Optimizer, Slots
from disttrain.optimizers.learning_rate import LearningRate


class Adadelta(Optimizer):
    """Steps as long as the steps of late, whatever the scale of the gradients (Zeiler 2012, algorithm 1):

        a = rho * a + (1 - rho) * g**2
        d = g * sqrt(x + epsilon) / sqrt(a + epsilon)
        x = rho * x + (1 - rho) * d**2
        w -= lr * d

    State, as Keras orders it: `accumulated_grad` (a) and `accumulated_delta_var` (x) of each variable in turn.

    Args:
        learning_rate: 0.001 unless told, as in Keras; 1.0 is the paper's, and torch's.
        rho: memory of the two means, 0 to 1.
        epsilon: added inside the roots; it sets the length of the first steps.
        weight_decay and the rest: see `Optimizer`.
    """

    slot_names = ("accumulated_grad", "accumulated_delta_var")

    def __init__(
        self, learning_rate: LearningRate = 0.001, rho: float = 0.95, epsilon: float = 1e-7,
        weight_decay: float | None = None, clipnorm: float | None = None, clipvalue: float | None = None,
        global_clipnorm: float | None = None, use_ema: bool = False, ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None, loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None, name: str | None = None, **unknown: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name, **unknown,
        )  # fmt: skip
        self.rho, self.epsilon = number(self, "rho", rho, "[0, 1]"), number(self, "epsilon", epsilon)

    def update(self, params: list[Tensor], grads: list[Tensor], slots: Slots, step: int, learning_rate: float) -> None:
        squares, squared_steps = slots["accumulated_grad"], slots["accumulated_delta_var"]
        torch._foreach_mul_(squares, self.rho)
        torch._foreach_addcmul_(squares, grads, grads, value=1.0 - self.rho)
        divisors = torch._foreach_add(squares, self.epsilon)
        torch._foreach_sqrt_(divisors)
        steps = torch._foreach_add(squared_steps, self.epsilon)
        torch._foreach_sqrt_(steps)
        torch._foreach_mul_(steps, grads)
        torch._foreach_div_(steps, divisors)
        torch._foreach_mul_(squared_steps, self.rho)
        torch._foreach_addcmul_(squared_steps, steps, steps, value=1.0 - self.rho)
        torch._foreach_add_(params, steps, alpha=-learning_rate)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rho": self.rho, "epsilon": self.epsilon}
