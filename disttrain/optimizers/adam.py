"""Adam."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.base import Optimizer, Slots, fused
from disttrain.optimizers.schedules import LearningRateSchedule


class Adam(Optimizer):
    """Steps scaled by running means of the gradient and of its square (Kingma & Ba 2014). With t = step + 1:

        m += (g - m) * (1 - b1)
        v += (g**2 - v) * (1 - b2)
        w -= lr * sqrt(1 - b2**t) / (1 - b1**t) * m / (sqrt(v) + epsilon)

    This is the form before section 2.1 of the paper ("epsilon hat"): epsilon is outside the root and not corrected for bias, as in
    Keras. With `amsgrad` (Reddi et al. 2018) the largest v so far takes the place of v in the last line.

    Args:
        learning_rate: 0.001 unless told.
        beta_1, beta_2: memory of the two means, 0 to 1.
        epsilon: smallest divisor.
        amsgrad: divide by the largest v so far.
        common: see `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        for key, value in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0.0 <= value < 1.0:
                raise ValueError(f"{type(self).__name__}({key}={value!r}): expected a number from 0 to below 1.")
        self.beta_1, self.beta_2, self.epsilon, self.amsgrad = float(beta_1), float(beta_2), float(epsilon), bool(amsgrad)
        self.slot_names = ("momentum", "velocity", "velocity_hat") if self.amsgrad else ("momentum", "velocity")

    def update(self, params: list[Tensor], grads: list[Tensor], slots: Slots, step: int, learning_rate: float) -> None:
        correction_1, correction_2 = 1.0 - self.beta_1 ** (step + 1), math.sqrt(1.0 - self.beta_2 ** (step + 1))
        momentums, velocities, largest = slots["momentum"], slots["velocity"], slots.get("velocity_hat", [])
        if fused(params):
            # torch divides by sqrt(v) / correction_2 + eps, so with this eps the fraction is that of the rule above
            count = [torch.tensor(float(step + 1), device=param.device) for param in params[:1]] * len(params)
            torch._fused_adam_(
                params,
                grads,
                momentums,
                velocities,
                largest,
                count,
                lr=learning_rate,
                beta1=self.beta_1,
                beta2=self.beta_2,
                weight_decay=0.0,
                eps=self.epsilon / correction_2,
                amsgrad=self.amsgrad,
                maximize=False,
            )
            return
        torch._foreach_lerp_(momentums, grads, 1.0 - self.beta_1)
        torch._foreach_mul_(velocities, self.beta_2)
        torch._foreach_addcmul_(velocities, grads, grads, value=1.0 - self.beta_2)
        if self.amsgrad:
            torch._foreach_maximum_(largest, velocities)
        divisors = torch._foreach_sqrt(largest if self.amsgrad else velocities)
        torch._foreach_add_(divisors, self.epsilon)
        torch._foreach_addcdiv_(params, momentums, divisors, value=-learning_rate * correction_2 / correction_1)

    def get_config(self) -> dict[str, Any]:
        own = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon, "amsgrad": self.amsgrad}
        return {**super().get_config(), **own}
