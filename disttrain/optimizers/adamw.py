"""Adam with decoupled weight decay."""

from __future__ import annotations

from typing import Any

from disttrain.optimizers.adam import Adam
from disttrain.optimizers.schedules import LearningRateSchedule


class AdamW(Adam):
    """`w -= w * weight_decay * lr`, then the rule of `Adam` (Loshchilov & Hutter 2017).

    Args:
        learning_rate: 0.001 unless told.
        weight_decay: 0.004 unless told, as in Keras (torch: 0.01).
        beta_1, beta_2, epsilon, amsgrad: see `Adam`.
        common: see `Optimizer`.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **common: Any,
    ) -> None:
        if weight_decay is None:
            raise ValueError("AdamW(weight_decay=None): expected a number; without decay it is Adam.")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **common)
