"""AdamW without a schedule."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.arguments import number, whole_number
from disttrain.optimizers.base import Optimizer, Slots
from disttrain.optimizers.learning_rate import LearningRate


class ScheduleFreeAdamW(Optimizer):
    """AdamW on a fast sequence z, and an average x of it in the place of a schedule (Defazio et al. 2024). With t = step + 1:

        v += (g**2 - v) * (1 - b2)
        x = (w - (1 - b1) * z) / b1                            the average so far; w lies between it and z
        z -= lr' * g / (sqrt(v / (1 - b2**t)) + epsilon)        lr' = lr * min(t / warmup_steps, 1)
        x += (z - x) / t
        w = (1 - b1) * z + b1 * x

    State, as Keras orders it: `momentum` (z, at first the weight itself) and `velocity` (v) of each variable in turn.

    Args:
        learning_rate: 0.0025 unless told.
        beta_1: how near w lies to the average, above 0 to 1.
        beta_2: memory of the mean square, 0 to below 1.
        epsilon: smallest divisor.
        warmup_steps: updates until the learning rate is reached.
        weight_decay and the rest: see `Optimizer`.
    """

    slot_names = ("momentum", "velocity")

    def __init__(
        self, learning_rate: LearningRate = 0.0025, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
        warmup_steps: int = 0,
        weight_decay: float | None = None, clipnorm: float | None = None, clipvalue: float | None = None,
        global_clipnorm: float | None = None, use_ema: bool = False, ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None, loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None, name: str | None = None, **unknown: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name, **unknown,
        )  # fmt: skip
        self.beta_1, self.beta_2 = number(self, "beta_1", beta_1, "(0, 1]"), number(self, "beta_2", beta_2, "[0, 1)")
        self.epsilon, self.warmup_steps = number(self, "epsilon", epsilon), whole_number(self, "warmup_steps", warmup_steps, 0)

    def initial_slot(self, slot: str, param: Tensor) -> Tensor:
        return param.clone(memory_format=torch.contiguous_format) if slot == "momentum" else super().initial_slot(slot, param)

    def update(self, params: list[Tensor], grads: list[Tensor], slots: Slots, step: int, learning_rate: float) -> None:
        fast, velocities, t = slots["momentum"], slots["velocity"], step + 1
        rate = learning_rate * min(t / self.warmup_steps, 1.0) if self.warmup_steps else learning_rate
        torch._foreach_mul_(velocities, self.beta_2)
        torch._foreach_addcmul_(velocities, grads, grads, value=1.0 - self.beta_2)
        divisors = torch._foreach_sqrt(velocities)
        torch._foreach_div_(divisors, math.sqrt(1.0 - self.beta_2**t))
        torch._foreach_add_(divisors, self.epsilon)
        torch._foreach_add_(params, fast, alpha=self.beta_1 - 1.0)
        torch._foreach_div_(params, self.beta_1)
        torch._foreach_addcdiv_(fast, grads, divisors, value=-rate)
        torch._foreach_lerp_(params, fast, 1.0 / t)
        torch._foreach_lerp_(params, fast, 1.0 - self.beta_1)

    def get_config(self) -> dict[str, Any]:
        own = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon, "warmup_steps": self.warmup_steps}
        return {**super().get_config(), **own}
