"""Save the model as the training goes."""

from __future__ import annotations

import math
import os
import warnings
from typing import Any

from disttrain.callbacks.arguments import every, nearest, real_number, verbosity
from disttrain.callbacks.base import Logs, from_json, to_json
from disttrain.callbacks.monitor import MonitorCallback
from disttrain.callbacks.progress_bar import note


class ModelCheckpoint(MonitorCallback):
    """Calls `model.save` or `model.save_weights` after epochs or every so many batches.

    These are files for people. What a run needs to resume after a failure it saves by itself.

    Args:
        filepath: a path or URL ending in `.keras` (or `.h5`), or `.weights.h5` or `.safetensors` for weights only. `{epoch}` (from 1),
            `{batch}` (from 1) and the names in the logs are filled in, as in `"runs/{epoch:02d}-{val_loss:.2f}.keras"`. Folders are made.
        monitor, mode: the value that says which model is best.
        verbose: 1 says what is saved.
        save_best_only: save only when the monitored value improves; where it is missing, warn and save. After NaN any number is better.
        save_weights_only: the weights without the model.
        save_freq: "epoch", or a number of batches, counted across epochs.
        initial_value_threshold: the value to beat at first.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        threshold = initial_value_threshold
        if threshold is not None:
            threshold = real_number(self, "initial_value_threshold", threshold, "a number, or None")
        super().__init__(monitor, mode, threshold)
        if not isinstance(filepath, str | os.PathLike):
            raise ValueError(f"ModelCheckpoint(filepath={filepath!r}): expected a path or URL.")
        self.filepath = os.fspath(filepath)
        self.save_best_only, self.save_weights_only = bool(save_best_only), bool(save_weights_only)
        self.verbose, self.save_freq = verbosity(self, verbose), every(self, "save_freq", save_freq)
        endings = (".weights.h5", ".safetensors") if save_weights_only else (".keras", ".h5")
        if not self.filepath.endswith(endings):
            kind = "weights" if save_weights_only else "a model"
            raise ValueError(f"ModelCheckpoint(filepath={self.filepath!r}): expected a name ending in {' or '.join(endings)} for {kind}.")
        self.batch_hooks = "sampled" if save_freq == "epoch" else "every"
        self._epoch = 0
        self._batches_since_saving = 0
        self._last_batch: int | None = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            return
        new_epoch = self._last_batch is None or batch <= self._last_batch
        self._batches_since_saving += batch + 1 if new_epoch else batch - (self._last_batch or 0)
        self._last_batch = batch
        if self._batches_since_saving >= int(self.save_freq):
            self._batches_since_saving = 0
            self._save(self._epoch, batch, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, None, logs or {})

    def _save(self, epoch: int, batch: int | None, logs: Logs) -> None:
        path = self._path(epoch, batch, logs)
        if not self._should_save(epoch, logs, path):
            return
        _make_folder_of(path)
        try:
            if self.save_weights_only:
                self.model.save_weights(path)
            else:
                self.model.save(path)
        except IsADirectoryError:
            raise IsADirectoryError(
                f"ModelCheckpoint(filepath={self.filepath!r}): {path} is a folder; expected the name of a file."
            ) from None

    def _should_save(self, epoch: int, logs: Logs, path: str) -> bool:
        if not self.save_best_only:
            self._say(f"Epoch {epoch + 1}: saving model to {path}")
            return True
        self.find_direction(logs)
        current = self.monitored(logs, "ModelCheckpoint(save_best_only=True)")
        if current is None:
            return True
        if isinstance(current, list):
            warnings.warn(f"ModelCheckpoint(save_best_only=True): {self.monitor!r} is not one number; saving each time.", stacklevel=2)
            return True
        if self.best is not None and math.isnan(self.best):
            self.best = None  # which nothing would be better than
        before = "None" if self.best is None else f"{self.best:.5f}"
        if not self.is_improvement(current, self.best):
            self._say(f"Epoch {epoch + 1}: {self.monitor} did not improve from {before}")
            return False
        self._say(f"Epoch {epoch + 1}: {self.monitor} improved from {before} to {current:.5f}, saving model to {path}")
        self.best = None if math.isnan(current) else current
        return True

    def _path(self, epoch: int, batch: int | None, logs: Logs) -> str:
        """Raises KeyError for a name in the template that is not in the logs."""
        values = {**({} if batch is None else {"batch": batch + 1}), **logs, "epoch": epoch + 1}
        try:
            return self.filepath.format(**values)
        except KeyError as error:
            known = nearest(str(error.args[0]), list(values))
            raise KeyError(
                f"ModelCheckpoint(filepath={self.filepath!r}): no {error.args[0]!r} to fill in; expected one of {known}."
            ) from None

    def _say(self, text: str) -> None:
        if self.verbose:
            note(text)

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": to_json(self.best),
            "epoch": self._epoch,
            "batches_since_saving": self._batches_since_saving,
            "last_batch": self._last_batch,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self._epoch = from_json(state["best"]), state["epoch"]
        self._batches_since_saving, self._last_batch = state["batches_since_saving"], state["last_batch"]


def _make_folder_of(path: str) -> None:
    folder = path.rpartition("/")[0]
    if not folder:
        return
    if "://" not in path:
        os.makedirs(folder, exist_ok=True)
        return
    import fsspec  # late: loads when a file is opened

    files, inside = fsspec.core.url_to_fs(folder)
    files.makedirs(inside, exist_ok=True)
