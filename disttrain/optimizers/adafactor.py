"""Adafactor."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from disttrain.optimizers.arguments import number
from disttrain.optimizers.base import Optimizer, Slots
from disttrain.optimizers.keras_variables import Entry
from disttrain.optimizers.learning_rate import LearningRate


class Adafactor(Optimizer):
    """Steps divided by the root of a mean square that is kept as its rows and columns (Shazeer & Stern 2018). With t = step + 1:

        b2 = 1 - t**beta_2_decay
        s = g**2 + epsilon_1
        r = b2 * r + (1 - b2) * mean of s over the last axis          of a variable with two axes or more,
        c = b2 * c + (1 - b2) * mean of s over the axis before         taken over its last two;
        v = r / (mean of r over its last axis) * c                     otherwise v = b2 * v + (1 - b2) * s
        u = g / sqrt(v)
        w -= max(epsilon_2, rms(w)) * min(lr, 1 / sqrt(t)) * u / max(1, rms(u) / clip_threshold)

    where rms is the root of the mean square of a whole variable.

    Slots: `row` (r; for a vector v itself) and `column` (c; a single 0 for a vector), in shapes that broadcast to the variable's.
    State, as Keras orders it: of each variable in turn r, c and v, where a vector's r and c are the whole number 0. Where v is made of r
    and c it is not kept here: a file gets it computed, and loading passes over it.

    Args:
        learning_rate: 0.001 unless told; the largest step, relative to the size of the weights.
        beta_2_decay: how fast the memory of the mean square grows, 0 or less.
        epsilon_1: added to squared gradients.
        epsilon_2: the least size of weights that steps are measured by.
        clip_threshold: the largest rms of u, above 0.
        relative_step: in Keras `min(lr, 1 / sqrt(t))` once more, which changes nothing; kept for its configs.
        weight_decay and the rest: see `Optimizer`.
    """

    slot_names = ("row", "column")
    elementwise = False

    def __init__(
        self, learning_rate: LearningRate = 0.001, beta_2_decay: float = -0.8, epsilon_1: float = 1e-30, epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0, relative_step: bool = True,
        weight_decay: float | None = None, clipnorm: float | None = None, clipvalue: float | None = None,
        global_clipnorm: float | None = None, use_ema: bool = False, ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None, loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None, name: str | None = None, **unknown: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum,
            ema_overwrite_frequency, loss_scale_factor, gradient_accumulation_steps, name, **unknown,
        )  # fmt: skip
        self.beta_2_decay = number(self, "beta_2_decay", beta_2_decay, "(-inf, 0]")
        self.epsilon_1, self.epsilon_2 = number(self, "epsilon_1", epsilon_1), number(self, "epsilon_2", epsilon_2)
        self.clip_threshold, self.relative_step = number(self, "clip_threshold", clip_threshold, "(0, inf)"), bool(relative_step)

    def initial_slot(self, slot: str, param: Tensor) -> Tensor:
        shape = list(param.shape)
        if param.ndim >= 2:
            shape[-1 if slot == "row" else -2] = 1
        elif slot == "column":
            shape = [1] * param.ndim
        return param.new_zeros(shape)

    def update(self, params: list[Tensor], grads: list[Tensor], slots: Slots, step: int, learning_rate: float) -> None:
        t = step + 1
        fresh, rate = t**self.beta_2_decay, min(learning_rate, 1.0 / math.sqrt(t))
        # One variable after the other: the means run over the axes of each, for which torch has no kernel that takes many.
        for param, grad, row, column in zip(params, grads, slots["row"], slots["column"], strict=True):
            squares = grad.square().add_(self.epsilon_1)
            if param.ndim >= 2:
                _write(row, rows(row).lerp(squares.mean(-1, keepdim=True), fresh))
                _write(column, columns(column).lerp(squares.mean(-2, keepdim=True), fresh))
                mean_square = _product(row, column)
            else:
                mean_square = row.lerp_(squares, fresh)
            update = grad / mean_square.sqrt()
            longest = (_rms(update) / self.clip_threshold).clamp_(min=1.0)
            param.sub_(update.mul_(_rms(param).clamp_(min=self.epsilon_2) * rate / longest))

    def own_entries(self) -> list[Entry]:
        found: list[Entry] = []
        for place, (row, column) in enumerate(zip(self.slots["row"], self.slots["column"], strict=True)):
            if row.ndim >= 2:
                found.append(Entry(f"row/{place}", rows(row).squeeze(-1), _into(row, -1)))
                found.append(Entry(f"column/{place}", columns(column).squeeze(-2), _into(column, -2)))
                seen = bool(row.count_nonzero())
                product = _product(row, column) if seen else torch.zeros_like(row).expand(torch.broadcast_shapes(row.shape, column.shape))
                found.append(Entry(f"velocity/{place}", product, lambda value: None))
            else:
                zero = torch.zeros((), dtype=torch.int32)
                found += [Entry(f"{slot}/{place}", zero, lambda value: None) for slot in ("row", "column")]
                found.append(Entry.of(f"velocity/{place}", row))
        return found

    def get_config(self) -> dict[str, Any]:
        own = ("beta_2_decay", "epsilon_1", "epsilon_2", "clip_threshold", "relative_step")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}


def rows(row: Tensor) -> Tensor:
    """The numbers of a `row` slot, `(..., n, 1)`: the runtime may have repeated them over the whole variable."""
    return row[..., :1]


def columns(column: Tensor) -> Tensor:
    """The numbers of a `column` slot, `(..., 1, m)`."""
    return column[..., :1, :]


def _product(row: Tensor, column: Tensor) -> Tensor:
    narrow = rows(row).contiguous()
    return narrow / narrow.mean(-2, keepdim=True) * columns(column)


def _write(slot: Tensor, value: Tensor) -> None:
    slot.copy_(value)  # broadcasts over a slot that was repeated


def _into(slot: Tensor, axis: int) -> Callable[[Tensor], None]:
    return lambda value: _write(slot, value.unsqueeze(axis).to(slot.device))


def _rms(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()
