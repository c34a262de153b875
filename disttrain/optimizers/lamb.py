"""Lamb."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.arguments import number
from disttrain.optimizers.base import Optimizer, Slots
from disttrain.optimizers.learning_rate import LearningRate


class Lamb(Optimizer):
    """Adam whose step is as long as the weight, for large batches (You et al. 2019, algorithm 2). With t = step + 1:

        m += (g - m) * (1 - b1)
        v += (g**2 - v) * (1 - b2)
        u = m / (1 - b1**t) / (sqrt(v / (1 - b2**t)) + epsilon)
        w -= lr * |w| / |u| * u

    where `|w| / |u|`, the ratio of the Euclidean norms of a whole variable, is 1 if one of them is 0. Weight decay is decoupled and
    comes first, as with every optimizer of Keras; the paper has it inside u.

    State, as Keras orders it: `momentum` (m) and `velocity` (v) of each variable in turn.

    Args:
        learning_rate: 0.001 unless told.
        beta_1, beta_2: memory of the two means, 0 to below 1.
        epsilon: smallest divisor.
        weight_decay and the rest: see `Optimizer`.
    """

    slot_names = ("momentum", "velocity")
    elementwise = False

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

    def update(self, params: list[Tensor], grads: list[Tensor], slots: Slots, step: int, learning_rate: float) -> None:
        momentums, velocities = slots["momentum"], slots["velocity"]
        torch._foreach_lerp_(momentums, grads, 1.0 - self.beta_1)
        torch._foreach_mul_(velocities, self.beta_2)
        torch._foreach_addcmul_(velocities, grads, grads, value=1.0 - self.beta_2)
        divisors = torch._foreach_div(velocities, 1.0 - self.beta_2 ** (step + 1))
        torch._foreach_sqrt_(divisors)
        torch._foreach_add_(divisors, self.epsilon)
        updates = torch._foreach_div(momentums, 1.0 - self.beta_1 ** (step + 1))
        torch._foreach_div_(updates, divisors)
        weights, lengths = torch.stack(torch._foreach_norm(params)), torch.stack(torch._foreach_norm(updates))
        ratios = torch.where((weights > 0) & (lengths > 0), weights / lengths, 1.0)
        torch._foreach_mul_(updates, list(ratios.unbind()))
        torch._foreach_add_(params, updates, alpha=-learning_rate)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
