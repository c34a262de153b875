"""Muon."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.adam import adam_update
from disttrain.optimizers.arguments import number, whole_number
from disttrain.optimizers.base import Optimizer, Slots
from disttrain.optimizers.keras_variables import Entry
from disttrain.optimizers.learning_rate import LearningRate
from disttrain.optimizers.weight_decay import variable_names


class Muon(Optimizer):
    """Momentum whose step is made orthogonal, for matrices, and AdamW for all else (Jordan et al. 2024; Liu et al. 2025). A matrix:

        m = momentum * m + g
        d = g + momentum * m with nesterov, m without
        w -= lr * sqrt(max(rows, columns)) * rms_rate * orthogonal(d)

    where `orthogonal` brings all singular values near 1 by `ns_steps` Newton-Schulz steps of `muon_a * x + (muon_b * x x' + muon_c *
    (x x')**2) x` on `d / |d|`. The other variables follow the rule of `Adam` with `adam_lr_ratio * lr`. Decay is `weight_decay` for
    matrices and `adam_weight_decay` for the others, both times lr.

    AdamW takes what has not exactly two axes; with `exclude_embeddings` what has "embedding" in its name; and what `exclude_layers` fits.
    Names are those given to `build`, such as `dense.kernel`; a variable without a name is judged by its shape.

    Slots: `momentum`, and `velocity` (of a matrix under Muon's own rule a single 0).
    State, as Keras orders it: of each variable in turn `momentum` and, under AdamW only, `velocity`.

    Args:
        learning_rate: 0.001 unless told.
        adam_beta_1, adam_beta_2, epsilon: see `Adam`.
        adam_weight_decay: decay of what AdamW takes, or None.
        weight_decay: decay of the matrices, or None.
        exclude_layers: regular expressions, searched for in the names of variables; the output layer's name belongs here.
        exclude_embeddings: leave embeddings to AdamW.
        muon_a, muon_b, muon_c: coefficients of the Newton-Schulz step.
        adam_lr_ratio: what AdamW's learning rate is multiplied by.
        momentum: the part of m that is kept.
        ns_steps: Newton-Schulz steps, 0 or more.
        nesterov: look ahead along the momentum.
        rms_rate: size of a step, so that Adam's learning rates suit; None leaves the factors after lr out.
        clipnorm and the rest: see `Optimizer`.
    """

    slot_names = ("momentum", "velocity")
    elementwise = False

    def __init__(
        self, learning_rate: LearningRate = 0.001, adam_beta_1: float = 0.9, adam_beta_2: float = 0.999,
        adam_weight_decay: float | None = 0.004, epsilon: float = 1e-7, weight_decay: float | None = 0.004,
        clipnorm: float | None = None, clipvalue: float | None = None, global_clipnorm: float | None = None, use_ema: bool = False,
        ema_momentum: float = 0.99, ema_overwrite_frequency: int | None = None, loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None, name: str | None = None, exclude_layers: Sequence[str] | None = None,
        exclude_embeddings: bool = True, muon_a: float = 3.4445, muon_b: float = -4.7750, muon_c: float = 2.0315,
        adam_lr_ratio: float = 1, momentum: float = 0.95, ns_steps: int = 5, nesterov: bool = True, rms_rate: float | None = 0.2,
        **unknown: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name, **unknown,
        )  # fmt: skip
        self.adam_beta_1 = number(self, "adam_beta_1", adam_beta_1, "[0, 1)")
        self.adam_beta_2 = number(self, "adam_beta_2", adam_beta_2, "[0, 1)")
        self.adam_weight_decay = None if adam_weight_decay is None else number(self, "adam_weight_decay", adam_weight_decay)
        self.epsilon, self.momentum = number(self, "epsilon", epsilon), number(self, "momentum", momentum, "[0, 1]")
        if isinstance(exclude_layers, str):
            raise ValueError(f"Muon(exclude_layers={exclude_layers!r}): expected a list of names or regular expressions.")
        self.exclude_layers, self.exclude_embeddings = list(exclude_layers or []), bool(exclude_embeddings)
        self.muon_a, self.muon_b, self.muon_c = muon_a, muon_b, muon_c
        self.adam_lr_ratio, self.nesterov = number(self, "adam_lr_ratio", adam_lr_ratio), bool(nesterov)
        self.ns_steps = whole_number(self, "ns_steps", ns_steps, 0)
        self.rms_rate = None if rms_rate is None else number(self, "rms_rate", rms_rate)
        self._adamw: list[bool] = []

    def build(self, params: Sequence[Tensor], names: Sequence[str] | None = None) -> None:
        super().build(params, names)
        self._adamw = [self._takes_adamw(p, name) for p, name in zip(params, variable_names(params, names), strict=True)]
        self.slots["velocity"] = [
            velocity if adamw else velocity.new_zeros([1] * velocity.ndim)
            for velocity, adamw in zip(self.slots["velocity"], self._adamw, strict=True)
        ]

    def _takes_adamw(self, param: Tensor, name: str) -> bool:
        if param.ndim != 2 or (self.exclude_embeddings and "embedding" in name.lower()):
            return True
        return any(re.search(keyword, name) for keyword in self.exclude_layers)

    def decay_and_update(
        self, params: list[Tensor], grads: list[Tensor], slots: Slots, learning_rate: float, numbers: Sequence[int] | None
    ) -> None:
        by_adamw = self.facts_of(self._adamw, params, numbers)
        decays = [True] * len(params) if self._decayed is None else self.facts_of(self._decayed, params, numbers)
        for adamw, weight_decay in ((True, self.adam_weight_decay), (False, self.weight_decay)):
            places = [place for place, taken in enumerate(by_adamw) if taken is adamw]
            decayed = [params[place] for place in places if decays[place]]
            if weight_decay and decayed:
                torch._foreach_mul_(decayed, 1.0 - weight_decay * learning_rate)
            if places:
                rule = self._adamw_rule if adamw else self._muon_rule
                rule(
                    learning_rate,
                    *([tensors[place] for place in places] for tensors in (params, grads, slots["momentum"], slots["velocity"])),
                )

    def _adamw_rule(
        self, learning_rate: float, params: list[Tensor], grads: list[Tensor], momentums: list[Tensor], velocities: list[Tensor]
    ) -> None:
        rate = learning_rate * self.adam_lr_ratio
        adam_update(params, grads, momentums, velocities, None, self.updates, rate, self.adam_beta_1, self.adam_beta_2, self.epsilon)

    def _muon_rule(self, learning_rate: float, params: list[Tensor], grads: list[Tensor], momentums: list[Tensor], _: list[Tensor]) -> None:
        torch._foreach_mul_(momentums, self.momentum)
        torch._foreach_add_(momentums, grads)
        directions = torch._foreach_add(grads, momentums, alpha=self.momentum) if self.nesterov else momentums
        for param, direction in zip(params, directions, strict=True):  # products of matrices: of each its own
            length = 1.0 if self.rms_rate is None else math.sqrt(max(param.shape)) * self.rms_rate
            param.sub_(self._orthogonal(direction), alpha=learning_rate * length)

    def _orthogonal(self, x: Tensor) -> Tensor:
        """Nearly `U V'` of the matrix `x = U S V'`."""
        tall = x.shape[0] > x.shape[1]
        x = x.T if tall else x
        x = x / (torch.linalg.matrix_norm(x) + 1e-7)
        for _ in range(self.ns_steps):
            squared = x @ x.T
            x = self.muon_a * x + (self.muon_b * squared + self.muon_c * squared @ squared) @ x
        return x.T if tall else x

    def own_entries(self) -> list[Entry]:
        found: list[Entry] = []
        for place, adamw in enumerate(self._adamw):
            slots = self.slot_names if adamw else ("momentum",)
            found += [Entry.of(f"{slot}/{place}", self.slots[slot][place]) for slot in slots]
        return found

    def get_config(self) -> dict[str, Any]:
        own = (
            "adam_beta_1", "adam_beta_2", "epsilon", "exclude_layers", "muon_a", "muon_b", "muon_c", "adam_lr_ratio", "momentum",
            "ns_steps", "nesterov", "exclude_embeddings", "adam_weight_decay", "rms_rate",
        )  # fmt: skip
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}
