"""Adamax."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.arguments import number
from disttrain.optimizers.base import Optimizer, Slots
from disttrain.optimizers.learning_rate import LearningRate


class Adamax(Optimizer):
    """Adam with the largest gradient of late in the place of the root of the mean square (Kingma & Ba 2014, section 7.1). t = step + 1:

        m += (g - m) * (1 - b1)
        u = max(b2 * u, |g|)
        w -= lr / (1 - b1**t) * m / (u + epsilon)

    Epsilon is outside the maximum, as in Keras; torch has it inside.

    State, as Keras orders it: `momentum` (m) and `norm` (u) of each variable in turn.

    Args:
        learning_rate: 0.001 unless told.
        beta_1: memory of the mean, 0 to below 1.
        beta_2: memory of the largest gradient, 0 to 1.
        epsilon: smallest divisor.
        weight_decay and the rest: see `Optimizer`.
    """

    slot_names = ("momentum", "norm")

    def __init__(
        self, learning_rate: LearningRate = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
        weight_decay: float | None = None, clipnorm: float | None = None, clipvalue: float | None = None,
        global_clipnorm: float | None = None, use_ema: bool = False, ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None, loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None, name: str | None = None, **unknown: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name, **unknown,
        )  # fmt: skip
        self.beta_1, self.beta_2 = number(self, "beta_1", beta_1, "[0, 1)"), number(self, "beta_2", beta_2, "[0, 1]")
        self.epsilon = number(self, "epsilon", epsilon)

    def update(self, params: list[Tensor], grads: list[Tensor], slots: Slots, step: int, learning_rate: float) -> None:
        momentums, norms = slots["momentum"], slots["norm"]
        torch._foreach_lerp_(momentums, grads, 1.0 - self.beta_1)
        torch._foreach_mul_(norms, self.beta_2)
        torch._foreach_maximum_(norms, torch._foreach_abs(grads))
        divisors = torch._foreach_add(norms, self.epsilon)
        torch._foreach_addcdiv_(params, momentums, divisors, value=-learning_rate / (1.0 - self.beta_1 ** (step + 1)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
