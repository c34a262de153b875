"""Nadam."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.arguments import number
from disttrain.optimizers.base import Optimizer, Slots
from disttrain.optimizers.keras_variables import Entry
from disttrain.optimizers.learning_rate import LearningRate


class Nadam(Optimizer):
    """Adam with Nesterov momentum (Dozat 2015), whose momentum warms up by `0.96**t`. With t = step + 1:

        u(t) = b1 * (1 - 0.96**t / 2)
        p = u(1) * u(2) * ... * u(t)
        m += (g - m) * (1 - b1)
        v += (g**2 - v) * (1 - b2)
        w -= lr * (u(t+1) * m / (1 - p * u(t+1)) + (1 - u(t)) * g / (1 - p)) / (sqrt(v / (1 - b2**t)) + epsilon)

    State, as Keras orders it: `momentum` (m) and `velocity` (v) of each variable in turn, then `u_product` (p), one number. That is
    part of `state_dict`, as the count of steps is.

    Args:
        learning_rate: 0.001 unless told.
        beta_1, beta_2: memory of the two means, 0 to below 1.
        epsilon: smallest divisor.
        weight_decay and the rest: see `Optimizer`.
    """

    slot_names = ("momentum", "velocity")

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
        self.beta_1, self.beta_2 = number(self, "beta_1", beta_1, "[0, 1)"), number(self, "beta_2", beta_2, "[0, 1)")
        self.epsilon = number(self, "epsilon", epsilon)
        self.u_product = 1.0

    def update(self, params: list[Tensor], grads: list[Tensor], slots: Slots, step: int, learning_rate: float) -> None:
        now, following = (self.beta_1 * (1.0 - 0.5 * 0.96**t) for t in (step + 1, step + 2))
        self.u_product *= now
        momentums, velocities = slots["momentum"], slots["velocity"]
        torch._foreach_lerp_(momentums, grads, 1.0 - self.beta_1)
        torch._foreach_mul_(velocities, self.beta_2)
        torch._foreach_addcmul_(velocities, grads, grads, value=1.0 - self.beta_2)
        divisors = torch._foreach_sqrt(velocities)
        torch._foreach_div_(divisors, math.sqrt(1.0 - self.beta_2 ** (step + 1)))
        torch._foreach_add_(divisors, self.epsilon)
        torch._foreach_addcdiv_(params, momentums, divisors, value=-learning_rate * following / (1.0 - self.u_product * following))
        torch._foreach_addcdiv_(params, grads, divisors, value=-learning_rate * (1.0 - now) / (1.0 - self.u_product))

    def own_entries(self) -> list[Entry]:
        product = torch.tensor(self.u_product, dtype=torch.float32)
        return [*super().own_entries(), Entry("u_product", product, lambda value: setattr(self, "u_product", float(value)))]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "u_product": self.u_product}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.u_product = float(state["u_product"])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
