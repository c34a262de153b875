"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.base import Optimizer, Slots, fused
from disttrain.optimizers.schedules import LearningRateSchedule


class SGD(Optimizer):
    """Gradient descent.

    Without momentum `w -= lr * g`. With momentum m and velocity v:

        v = m * v - lr * g
        w += v                   or, with nesterov, w += m * v - lr * g

    The learning rate is inside the velocity, as in Keras and Sutskever et al. 2013; torch has it outside, which differs as soon as the
    rate changes.

    Args:
        learning_rate: 0.01 unless told.
        momentum: the part of the velocity that is kept, 0 to 1.
        nesterov: look ahead along the velocity.
        common: see `Optimizer`.
    """

    def __init__(
        self, learning_rate: float | LearningRateSchedule = 0.01, momentum: float = 0.0, nesterov: bool = False, **common: Any
    ) -> None:
        super().__init__(learning_rate, **common)
        if not 0.0 <= momentum <= 1.0:
            raise ValueError(f"SGD(momentum={momentum!r}): expected a number from 0 to 1, the part of the velocity that is kept.")
        self.momentum, self.nesterov = float(momentum), bool(nesterov)
        self.slot_names = ("momentum",) if self.momentum else ()

    def update(self, params: list[Tensor], grads: list[Tensor], slots: Slots, step: int, learning_rate: float) -> None:
        if not self.momentum:
            torch._foreach_add_(params, grads, alpha=-learning_rate)
            return
        velocities = slots["momentum"]
        if not self.nesterov and fused(params):
            # torch's rule is buf = m * buf + (1 - dampening) * g, then w -= rate * buf. With maximize, which turns g around,
            # dampening = 1 - lr and rate = -1, it is the rule above.
            torch._fused_sgd_(
                params,
                grads,
                velocities,
                weight_decay=0.0,
                momentum=self.momentum,
                lr=-1.0,
                dampening=1.0 - learning_rate,
                nesterov=False,
                maximize=True,
                is_first_step=False,
            )
            return
        torch._foreach_mul_(velocities, self.momentum)
        torch._foreach_add_(velocities, grads, alpha=-learning_rate)
        if self.nesterov:
            torch._foreach_add_(params, velocities, alpha=self.momentum)
            torch._foreach_add_(params, grads, alpha=-learning_rate)
        else:
            torch._foreach_add_(params, velocities)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}
