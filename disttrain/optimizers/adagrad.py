"""Adagrad."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.arguments import number
from disttrain.optimizers.base import Optimizer, Slots
from disttrain.optimizers.learning_rate import LearningRate


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients (Duchi et al. 2011):

        a += g**2
        w -= lr * g / sqrt(a + epsilon)

    The sum starts at `initial_accumulator_value` and epsilon is inside the root, as in Keras; torch starts at 0 and has it outside,
    so its fused kernel does not serve.

    State, as Keras orders it: `accumulator` of each variable.

    Args:
        learning_rate: 0.001 unless told; 1.0 is the paper's.
        initial_accumulator_value: where the sum starts, 0 or more.
        epsilon: added inside the root.
        weight_decay and the rest: see `Optimizer`.
    """

    slot_names = ("accumulator",)

    def __init__(
        self, learning_rate: LearningRate = 0.001, initial_accumulator_value: float = 0.1, epsilon: float = 1e-7,
        weight_decay: float | None = None, clipnorm: float | None = None, clipvalue: float | None = None,
        global_clipnorm: float | None = None, use_ema: bool = False, ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None, loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None, name: str | None = None, **unknown: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name, **unknown,
        )  # fmt: skip
        self.initial_accumulator_value = number(self, "initial_accumulator_value", initial_accumulator_value)
        self.epsilon = number(self, "epsilon", epsilon)

    def initial_slot(self, slot: str, param: Tensor) -> Tensor:
        return torch.full_like(param, self.initial_accumulator_value, memory_format=torch.contiguous_format)

    def update(self, params: list[Tensor], grads: list[Tensor], slots: Slots, step: int, learning_rate: float) -> None:
        torch._foreach_addcmul_(slots["accumulator"], grads, grads)
        divisors = torch._foreach_add(slots["accumulator"], self.epsilon)
        torch._foreach_sqrt_(divisors)
        torch._foreach_addcdiv_(params, grads, divisors, value=-learning_rate)

    def get_config(self) -> dict[str, Any]:
        own = {"initial_accumulator_value": self.initial_accumulator_value, "epsilon": self.epsilon}
        return {**super().get_config(), **own}
