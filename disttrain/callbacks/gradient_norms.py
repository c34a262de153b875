"""The length of the gradient, to see it vanish or explode."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from disttrain.callbacks.arguments import every
from disttrain.callbacks.base import Callback, Logs, from_json, to_json


class GradientNorms(Callback):
    """Puts `gradient_norm`, the Euclidean norm of the gradient of a step over all weights, into the logs.

    Put it before callbacks that are to see it; History sees it anywhere. Keeping the gradient costs a copy of it each step; it is
    fetched only when it is measured.

    Args:
        per_layer: also `gradient_norm/<layer>` for each layer with weights.
        freq: "epoch" measures the last step of each epoch. A number measures after every so many batches of the epoch, into the logs
            of that batch; the logs of the epoch then have the means.

    The first norm that is NaN or infinite is warned of, with its layers.
    """

    wants_gradients = True

    def __init__(self, per_layer: bool = False, freq: str | int = "epoch") -> None:
        super().__init__()
        self.per_layer, self.freq = bool(per_layer), every(self, "freq", freq)
        self.batch_hooks = "sampled" if self.freq == "epoch" else "every"
        self._warned = False
        self._sums: dict[str, float] = {}
        self._measured = 0
        self._epoch: int | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._warned, self._epoch = False, None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if epoch != self._epoch:  # else resumed within it
            self._epoch, self._sums, self._measured = epoch, {}, 0

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.freq == "epoch" or (batch + 1) % int(self.freq):
            return
        norms = self._measure()
        self._sums = {name: self._sums.get(name, 0.0) + norm for name, norm in norms.items()}
        self._measured += bool(norms)
        if logs is not None:
            logs.update(norms)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        means = {name: total / self._measured for name, total in self._sums.items()}
        if logs is not None:
            logs.update(self._measure() if self.freq == "epoch" else means)

    def state_dict(self) -> dict[str, Any]:
        sums = {name: to_json(total) for name, total in self._sums.items()}
        return {"warned": self._warned, "epoch": self._epoch, "measured": self._measured, "sums": sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._warned, self._epoch, self._measured = state["warned"], state["epoch"], state["measured"]
        self._sums = {name: from_json(total) for name, total in state["sums"].items()}

    def _measure(self) -> dict[str, float]:
        gradients = {} if self.telemetry is None else self.telemetry.gradients()
        if not gradients:
            return {}
        squares: dict[str, float] = {}
        for name, gradient in gradients.items():
            layer = name.rpartition(".")[0] or name
            flat = np.asarray(gradient, dtype=np.float64).ravel()
            squares[layer] = squares.get(layer, 0.0) + float(flat @ flat)
        layers = {layer: math.sqrt(square) for layer, square in squares.items()}
        self._warn_of([layer for layer, norm in layers.items() if not math.isfinite(norm)])
        norms = {"gradient_norm": math.sqrt(sum(squares.values()))}
        return {**norms, **{f"gradient_norm/{layer}": norm for layer, norm in layers.items()}} if self.per_layer else norms

    def _warn_of(self, layers: list[str]) -> None:
        if layers and not self._warned:
            self._warned = True
            shown = ", ".join(layers[:8]) + (", ..." if len(layers) > 8 else "")
            warnings.warn(f"GradientNorms: the gradient is NaN or infinite in {shown}.", stacklevel=3)
