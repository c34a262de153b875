"""Follow the regularized leader."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.arguments import number
from disttrain.optimizers.base import Optimizer, Slots
from disttrain.optimizers.fused import powers
from disttrain.optimizers.learning_rate import LearningRate


class Ftrl(Optimizer):
    """Follow the regularized leader, proximal (McMahan et al. 2013, algorithm 1), for wide and sparse linear models. With p =
    -learning_rate_power, h = l2_shrinkage_regularization_strength and n' = n + g**2:

        z += g + 2 * h * w - (n'**p - n**p) / lr * w
        q = n'**p / lr + 2 * l2 + beta / lr
        w = (clip(z, -l1, l1) - z) / q
        n = n'

    So a weight is exactly 0 while |z| is no more than l1, also where q is 0 (Keras: NaN, seen with initial_accumulator_value=0).

    State, as Keras orders it: `accumulator` (n) and `linear` (z) of each variable in turn.

    Args:
        learning_rate: 0.001 unless told; above 0, since the rule divides by it.
        learning_rate_power: how fast steps shrink with n, 0 or less; 0 is a constant rate.
        initial_accumulator_value: where n starts, 0 or more.
        l1_regularization_strength, l2_regularization_strength: 0 or more; they are part of the rule, not of the loss.
        l2_shrinkage_regularization_strength: 0 or more; a penalty on the size of weights, added to the gradient.
        beta: the paper's, added to `sqrt(n)` in the rate.
        weight_decay and the rest: see `Optimizer`.
    """

    slot_names = ("accumulator", "linear")

    def __init__(
        self, learning_rate: LearningRate = 0.001, learning_rate_power: float = -0.5, initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0, l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0, beta: float = 0.0,
        weight_decay: float | None = None, clipnorm: float | None = None, clipvalue: float | None = None,
        global_clipnorm: float | None = None, use_ema: bool = False, ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None, loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None, name: str | None = None, **unknown: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name, **unknown,
        )  # fmt: skip
        self.learning_rate_power = self._signed("learning_rate_power", learning_rate_power, "(-inf, 0]", "negative")
        self.initial_accumulator_value = self._signed("initial_accumulator_value", initial_accumulator_value)
        self.l1_regularization_strength = self._signed("l1_regularization_strength", l1_regularization_strength)
        self.l2_regularization_strength = self._signed("l2_regularization_strength", l2_regularization_strength)
        self.l2_shrinkage_regularization_strength = self._signed(
            "l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength
        )
        self.beta = number(self, "beta", beta, "(-inf, inf)")

    def _signed(self, argument: str, value: Any, span: str = "[0, inf)", sign: str = "positive") -> float:
        return number(self, argument, value, span, f"`{argument}` needs to be {sign} or zero. Received: {argument}={value}.")

    def initial_slot(self, slot: str, param: Tensor) -> Tensor:
        value = self.initial_accumulator_value if slot == "accumulator" else 0.0
        return torch.full_like(param, value, memory_format=torch.contiguous_format)

    def update(self, params: list[Tensor], grads: list[Tensor], slots: Slots, step: int, learning_rate: float) -> None:
        if learning_rate == 0.0:
            raise ValueError(f"Ftrl divides by the learning rate, which is 0 in update {step + 1}: let its schedule start above 0.")
        accumulators, linears = slots["accumulator"], slots["linear"]
        power, l1, shrinkage = -self.learning_rate_power, self.l1_regularization_strength, self.l2_shrinkage_regularization_strength
        before = powers(accumulators, power)
        torch._foreach_addcmul_(accumulators, grads, grads)
        divisors = powers(accumulators, power)
        torch._foreach_add_(linears, grads)
        if shrinkage:
            torch._foreach_add_(linears, params, alpha=2.0 * shrinkage)
        torch._foreach_sub_(before, divisors)
        torch._foreach_addcmul_(linears, before, params, value=1.0 / learning_rate)
        torch._foreach_div_(divisors, learning_rate)
        torch._foreach_add_(divisors, 2.0 * self.l2_regularization_strength + self.beta / learning_rate)
        torch._foreach_clamp_min_(divisors, torch.finfo(divisors[0].dtype).tiny)  # nothing seen yet: 0 / tiny, not 0 / 0
        clipped = torch._foreach_clamp_max(linears, l1)
        torch._foreach_clamp_min_(clipped, -l1)
        torch._foreach_sub_(clipped, linears)
        torch._foreach_div_(clipped, divisors)
        torch._foreach_copy_(params, clipped)

    def get_config(self) -> dict[str, Any]:
        own = (
            "learning_rate_power",
            "initial_accumulator_value",
            "l1_regularization_strength",
            "l2_regularization_strength",
            "l2_shrinkage_regularization_strength",
            "beta",
        )
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}
