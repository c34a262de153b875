"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.arguments import number
from disttrain.optimizers.base import Optimizer, Slots
from disttrain.optimizers.fused import fused, in_whole_vectors
from disttrain.optimizers.learning_rate import LearningRate


class SGD(Optimizer):
    """Gradient descent.

    Without momentum `w -= lr * g`. With momentum m and velocity v:

        v = m * v - lr * g
        w += v                   or, with nesterov, w += m * v - lr * g

    The learning rate is inside the velocity, as in Keras and Sutskever et al. 2013; torch has it outside, which differs as soon as the
    rate changes.

    State, as Keras orders it: with momentum, `momentum` (the velocity) of each variable.

    Args:
        learning_rate: 0.01 unless told.
        momentum: the part of the velocity that is kept, 0 to 1.
        nesterov: look ahead along the velocity.
        weight_decay and the rest: see `Optimizer`.

    Example:
        >>> weight = torch.tensor([1.0])
        >>> SGD(0.5).apply_to([weight], [torch.tensor([1.0])])
        >>> weight
        tensor([0.5000])
    """

    def __init__(
        self, learning_rate: LearningRate = 0.01, momentum: float = 0.0, nesterov: bool = False,
        weight_decay: float | None = None, clipnorm: float | None = None, clipvalue: float | None = None,
        global_clipnorm: float | None = None, use_ema: bool = False, ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None, loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None, name: str | None = None, **unknown: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name, **unknown,
        )  # fmt: skip
        told = f"SGD(momentum={momentum!r}): `momentum` must be a float between [0, 1]."
        self.momentum, self.nesterov = number(self, "momentum", momentum, "[0, 1]", told), bool(nesterov)
        self.slot_names = ("momentum",) if self.momentum else ()

    def update(self, params: list[Tensor], grads: list[Tensor], slots: Slots, step: int, learning_rate: float) -> None:
        if not self.momentum:
            torch._foreach_add_(params, grads, alpha=-learning_rate)
            return
        velocities = slots["momentum"]
        if not self.nesterov and fused(params):
            in_whole_vectors(lambda *lists: self._fused(learning_rate, *lists), params, grads, velocities)
            return
        torch._foreach_mul_(velocities, self.momentum)
        torch._foreach_add_(velocities, grads, alpha=-learning_rate)
        if self.nesterov:
            torch._foreach_add_(params, velocities, alpha=self.momentum)
            torch._foreach_add_(params, grads, alpha=-learning_rate)
        else:
            torch._foreach_add_(params, velocities)

    def _fused(self, learning_rate: float, params: list[Tensor], grads: list[Tensor], velocities: list[Tensor]) -> None:
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

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}
