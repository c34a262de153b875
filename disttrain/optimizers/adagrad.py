"""Adagrad."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.base import Optimizer, Slots
from disttrain.optimizers.schedules import LearningRateSchedule


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients (Duchi et al. 2011):

        a += g**2
        w -= lr * g / sqrt(a + epsilon)

    The sum starts at `initial_accumulator_value` and epsilon is inside the root, as in Keras; torch starts at 0 and has it outside.

    Args:
        learning_rate: 0.001 unless told.
        initial_accumulator_value: where the sum starts, 0 or more.
        epsilon: added inside the root.
        common: see `Optimizer`.
    """

    slot_names = ("accumulator",)

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        if initial_accumulator_value < 0.0:
            raise ValueError(f"Adagrad(initial_accumulator_value={initial_accumulator_value!r}): expected a number of 0 or more.")
        self.initial_accumulator_value, self.epsilon = float(initial_accumulator_value), float(epsilon)

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
