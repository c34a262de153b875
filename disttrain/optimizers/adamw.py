"""Adam with decoupled weight decay."""

from __future__ import annotations

from typing import Any

from disttrain.optimizers.adam import Adam
from disttrain.optimizers.learning_rate import LearningRate


class AdamW(Adam):
    """`w -= w * weight_decay * lr`, then the rule of `Adam` (Loshchilov & Hutter 2017).

    State: as `Adam`.

    Args:
        learning_rate: 0.001 unless told.
        weight_decay: 0.004 unless told, as in Keras (torch: 0.01).
        beta_1, beta_2, epsilon, amsgrad: see `Adam`.
        clipnorm and the rest: see `Optimizer`.
    """

    def __init__(
        self, learning_rate: LearningRate = 0.001, weight_decay: float = 0.004, beta_1: float = 0.9, beta_2: float = 0.999,
        epsilon: float = 1e-7, amsgrad: bool = False, clipnorm: float | None = None, clipvalue: float | None = None,
        global_clipnorm: float | None = None, use_ema: bool = False, ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None, loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None, name: str | None = None, **unknown: Any,
    ) -> None:  # fmt: skip
        if weight_decay is None:
            raise ValueError("Argument `weight_decay` must be a float. Received: weight_decay=None. Without decay it is Adam.")
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema,
            ema_momentum, ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name, **unknown,
        )  # fmt: skip
