"""RMSprop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.arguments import number
from disttrain.optimizers.base import Optimizer, Slots
from disttrain.optimizers.learning_rate import LearningRate


class RMSprop(Optimizer):
    """Steps divided by the root of a running mean of the squared gradient (Hinton 2012, lecture 6e):

        v = rho * v + (1 - rho) * g**2
        w -= lr * g / sqrt(v + epsilon)

    Epsilon is inside the root, as in Keras; torch has it outside. With `centered`, `v - a**2` takes the place of v, where
    `a = rho * a + (1 - rho) * g`. With momentum, `b = momentum * b + lr * g / sqrt(...)` and `w -= b`.

    State, as Keras orders it: `velocity` of all variables, then with momentum `momentum` of all, then with `centered`
    `average_gradient` of all.

    Args:
        learning_rate: 0.001 unless told.
        rho: memory of the means, 0 to 1.
        momentum: the part of the last step that is kept, 0 or more.
        epsilon: added inside the root.
        centered: divide by the variance instead of the mean square.
        weight_decay and the rest: see `Optimizer`.
    """

    def __init__(
        self, learning_rate: LearningRate = 0.001, rho: float = 0.9, momentum: float = 0.0, epsilon: float = 1e-7,
        centered: bool = False,
        weight_decay: float | None = None, clipnorm: float | None = None, clipvalue: float | None = None,
        global_clipnorm: float | None = None, use_ema: bool = False, ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None, loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None, name: str | None = None, **unknown: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name, **unknown,
        )  # fmt: skip
        self.rho, self.momentum = number(self, "rho", rho, "[0, 1]"), number(self, "momentum", momentum)
        self.epsilon, self.centered = number(self, "epsilon", epsilon), bool(centered)
        optional = (("momentum", self.momentum > 0), ("average_gradient", self.centered))
        self.slot_names = ("velocity", *(slot for slot, wanted in optional if wanted))

    def slot_groups(self) -> tuple[tuple[str, ...], ...]:
        return tuple((slot,) for slot in self.slot_names)

    def update(self, params: list[Tensor], grads: list[Tensor], slots: Slots, step: int, learning_rate: float) -> None:
        velocities = slots["velocity"]
        torch._foreach_mul_(velocities, self.rho)
        torch._foreach_addcmul_(velocities, grads, grads, value=1.0 - self.rho)
        divisors = torch._foreach_add(velocities, self.epsilon)
        if self.centered:
            averages = slots["average_gradient"]
            torch._foreach_mul_(averages, self.rho)
            torch._foreach_add_(averages, grads, alpha=1.0 - self.rho)
            torch._foreach_addcmul_(divisors, averages, averages, value=-1.0)
        torch._foreach_sqrt_(divisors)
        if not self.momentum:
            torch._foreach_addcdiv_(params, grads, divisors, value=-learning_rate)
            return
        momentums = slots["momentum"]
        torch._foreach_mul_(momentums, self.momentum)
        torch._foreach_addcdiv_(momentums, grads, divisors, value=learning_rate)
        torch._foreach_add_(params, momentums, alpha=-1.0)

    def get_config(self) -> dict[str, Any]:
        own = {"rho": self.rho, "momentum": self.momentum, "epsilon": self.epsilon, "centered": self.centered}
        return {**super().get_config(), **own}
