"""Adam."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.arguments import number
from disttrain.optimizers.base import Optimizer, Slots
from disttrain.optimizers.fused import fused, in_whole_vectors
from disttrain.optimizers.learning_rate import LearningRate


class Adam(Optimizer):
    """Steps scaled by running means of the gradient and of its square (Kingma & Ba 2014). With t = step + 1:

        m += (g - m) * (1 - b1)
        v += (g**2 - v) * (1 - b2)
        w -= lr * sqrt(1 - b2**t) / (1 - b1**t) * m / (sqrt(v) + epsilon)

    This is the form before section 2.1 of the paper ("epsilon hat"): epsilon is outside the root and not corrected for bias, as in
    Keras. torch adds its `eps` after the correction, which is `eps * sqrt(1 - b2**t)` here: where gradients are about as small as
    epsilon, the first steps are shorter than torch's. With `amsgrad` (Reddi et al. 2018) the largest v so far takes the place of v in
    the last line.

    State, as Keras orders it: `momentum` (m) and `velocity` (v) of each variable in turn; then with amsgrad `velocity_hat` of each.

    Args:
        learning_rate: 0.001 unless told.
        beta_1, beta_2: memory of the two means, 0 to below 1.
        epsilon: smallest divisor.
        amsgrad: divide by the largest v so far.
        weight_decay and the rest: see `Optimizer`.
    """

    def __init__(
        self, learning_rate: LearningRate = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
        amsgrad: bool = False,
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
        self.epsilon, self.amsgrad = number(self, "epsilon", epsilon), bool(amsgrad)
        self.slot_names = ("momentum", "velocity", "velocity_hat") if self.amsgrad else ("momentum", "velocity")
        self._count: Tensor | None = None  # the step as the fused kernels read it, kept so that no tensor is made in a step

    def slot_groups(self) -> tuple[tuple[str, ...], ...]:
        return (("momentum", "velocity"), *((("velocity_hat",),) if self.amsgrad else ()))

    def decay_and_update(
        self, params: list[Tensor], grads: list[Tensor], slots: Slots, learning_rate: float, numbers: Sequence[int] | None
    ) -> None:
        if self._decayed is None and type(self).update is Adam.update and fused(params):  # a subclass may have a rule of its own
            self._fused_update(params, grads, slots, self.updates, learning_rate, self.weight_decay or 0.0)
        else:
            super().decay_and_update(params, grads, slots, learning_rate, numbers)

    def update(self, params: list[Tensor], grads: list[Tensor], slots: Slots, step: int, learning_rate: float) -> None:
        if fused(params):
            self._fused_update(params, grads, slots, step, learning_rate, 0.0)
            return
        largest = slots["velocity_hat"] if self.amsgrad else None
        adam_update(
            params, grads, slots["momentum"], slots["velocity"], largest, step, learning_rate, self.beta_1, self.beta_2, self.epsilon
        )

    def _fused_update(
        self, params: list[Tensor], grads: list[Tensor], slots: Slots, step: int, learning_rate: float, weight_decay: float
    ) -> None:
        if self._count is None or self._count.device != params[0].device:
            self._count = torch.empty((), device=params[0].device)
        count, correction = self._count.fill_(step + 1), math.sqrt(1.0 - self.beta_2 ** (step + 1))

        def kernel(
            params: list[Tensor], grads: list[Tensor], momentums: list[Tensor], velocities: list[Tensor], largest: Sequence[Tensor] = ()
        ) -> None:
            # torch divides by sqrt(v) / correction + eps, so with this eps the fraction is that of the rule above
            torch._fused_adamw_(
                params,
                grads,
                momentums,
                velocities,
                list(largest),
                [count] * len(params),
                lr=learning_rate,
                beta1=self.beta_1,
                beta2=self.beta_2,
                weight_decay=weight_decay,
                eps=self.epsilon / correction,
                amsgrad=self.amsgrad,
                maximize=False,
            )

        in_whole_vectors(kernel, params, grads, *(slots[slot] for slot in self.slot_names))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_count": None}

    def get_config(self) -> dict[str, Any]:
        own = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon, "amsgrad": self.amsgrad}
        return {**super().get_config(), **own}


def adam_update(
    params: list[Tensor], grads: list[Tensor], momentums: list[Tensor], velocities: list[Tensor], largest: list[Tensor] | None,
    step: int, learning_rate: float, beta_1: float, beta_2: float, epsilon: float,
) -> None:  # fmt: skip
    """The rule of `Adam` in plain operations, in place; with `largest`, that of amsgrad."""
    torch._foreach_lerp_(momentums, grads, 1.0 - beta_1)
    torch._foreach_mul_(velocities, beta_2)
    torch._foreach_addcmul_(velocities, grads, grads, value=1.0 - beta_2)
    if largest is not None:
        torch._foreach_maximum_(largest, velocities)
    divisors = torch._foreach_sqrt(velocities if largest is None else largest)
    torch._foreach_add_(divisors, epsilon)
    rate = learning_rate * math.sqrt(1.0 - beta_2 ** (step + 1)) / (1.0 - beta_1 ** (step + 1))
    torch._foreach_addcdiv_(params, momentums, divisors, value=-rate)
