"""Stop when a value no longer improves."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from disttrain.callbacks.arguments import real_number, verbosity, whole_number
from disttrain.callbacks.base import Logs, from_json, to_json
from disttrain.callbacks.monitor import MonitorCallback
from disttrain.callbacks.progress_bar import note
from disttrain.errors import CheckpointMismatch


class EarlyStopping(MonitorCallback):
    """Ends the training after `patience` epochs in a row without an improvement.

    Args:
        monitor, min_delta, mode: see `MonitorCallback`.
        patience: epochs to wait; the epoch after the best one is the first.
        verbose: 1 says when it stops and what it restores.
        baseline: an improvement ends the wait only if it is also better than this.
        restore_best_weights: at the end of training, stopped early or not, bring back the weights of the best epoch.
        start_from_epoch: epochs before this one count for nothing, not even as the best.

    Attributes:
        stopped_epoch: the epoch after which it stopped, from 0; 0 if it did not.
        best, best_epoch, wait: as they stand.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience, self.verbose = whole_number(self, "patience", patience), verbosity(self, verbose)
        self.baseline = None if baseline is None else real_number(self, "baseline", baseline, "a number, or None")
        self.restore_best_weights = bool(restore_best_weights)
        self.start_from_epoch = whole_number(self, "start_from_epoch", start_from_epoch)
        self._reset()

    def _reset(self) -> None:
        self.wait, self.stopped_epoch, self.best_epoch = 0, 0, 0
        self.best = None
        self.best_weights: list[np.ndarray] | None = None
        self._weights_lost = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        self.find_direction(logs)
        current = self.monitored(logs, "EarlyStopping")
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None and not self._weights_lost:
            self._keep(epoch)
        self.wait += 1
        if self.is_improvement(current, self.best):
            self.best, self.best_epoch = current, epoch
            if self.restore_best_weights:
                self._keep(epoch)
            if self.baseline is None or self.is_improvement(current, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch > 0 and self.verbose:
            note(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if not self.restore_best_weights:
            return
        if self._weights_lost:
            warnings.warn(
                f"EarlyStopping(restore_best_weights=True): the weights of the best epoch, {self.best_epoch + 1}, were lost in a restart; "
                "the model keeps those of the last epoch.",
                stacklevel=2,
            )
        elif self.best_weights is not None:
            if self.verbose:
                note(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)

    def _keep(self, epoch: int) -> None:
        self.best_weights = [np.array(weight, copy=True) for weight in self.model.get_weights()]
        self.best_epoch, self._weights_lost = epoch, False

    def state_dict(self) -> dict[str, Any]:
        return {
            "wait": self.wait,
            "stopped_epoch": self.stopped_epoch,
            "best": to_json(self.best),
            "best_epoch": self.best_epoch,
            "has_best_weights": self.best_weights is not None or self._weights_lost,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.wait, self.stopped_epoch = state["wait"], state["stopped_epoch"]
        self.best, self.best_epoch = from_json(state["best"]), state["best_epoch"]
        self.best_weights, self._weights_lost = None, state["has_best_weights"]  # until load_state_arrays brings them

    def state_arrays(self) -> dict[str, np.ndarray]:
        return {f"best_weights/{number}": weight for number, weight in enumerate(self.best_weights or [])}

    def capture_arrays(self) -> dict[str, np.ndarray]:
        return self.state_arrays()  # replaced by others, never changed

    def load_state_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        found = [arrays[f"best_weights/{number}"] for number in range(len(arrays))]
        if (weights := getattr(self.model, "weights", None)) is not None:
            kept, expected = [tuple(weight.shape) for weight in found], [tuple(weight.shape) for weight in weights]
            if kept != expected:
                number = next((number for number, pair in enumerate(zip(kept, expected, strict=False)) if pair[0] != pair[1]), -1)
                differs = f"{len(kept)} weights" if number < 0 else f"weight {number} with the shape {kept[number]}"
                wanted = f"{len(expected)}" if number < 0 else f"{expected[number]}"
                raise CheckpointMismatch(
                    f"EarlyStopping: the best weights that a checkpoint kept are of another model: {differs}, expected {wanted}.\n"
                    "  expected  the model that the run began with\n"
                    "  try       that model, or another run directory"
                )
        self.best_weights, self._weights_lost = found, False
