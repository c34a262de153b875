"""Save the model as the training goes."""

from __future__ import annotations

import math
import os
import time
import warnings
from typing import Any

from disttrain.callbacks.arguments import every, nearest, real_number, verbosity, whole_number
from disttrain.callbacks.base import Logs, from_json, to_json
from disttrain.callbacks.monitor import MonitorCallback
from disttrain.callbacks.progress_bar import note


class ModelCheckpoint(MonitorCallback):
    """Calls `model.save` or `model.save_weights` after epochs or every so many batches; or keeps full checkpoints of the training.

    The files are for people. What a launch needs to resume after a failure it saves by itself; a fit in one process goes on from the full
    checkpoints of this callback: `model.fit(..., resume_from=filepath)`.

    Args:
        filepath: a path or URL ending in `.keras` (or `.h5`), or `.weights.h5` or `.safetensors` for weights only. `{epoch}` (from 1),
            `{batch}` (from 1) and the names in the logs are filled in, as in `"runs/{epoch:02d}-{val_loss:.2f}.keras"`. Folders are made.
            Or, without any ending, a folder for full checkpoints: weights, optimizer, callbacks, and where data and random numbers stand.
            `disttrain checkpoints` looks at them. Under a launch, which keeps its own, nothing is written there.
        monitor, mode: the value that says which model is best.
        verbose: 1 says what is saved.
        save_best_only: save only when the monitored value improves; where it is missing, warn and save. After NaN any number is better.
        save_weights_only: the weights without the model.
        save_freq: "epoch", or a number of batches, counted across epochs.
        initial_value_threshold: the value to beat at first.
        keep: full checkpoints that stay, the newest.
        every_seconds: keep a full checkpoint so often, in place of `save_freq`; training waits while it is written.
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
        *,
        keep: int | None = None,
        every_seconds: float | None = None,
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
        self.keeps_training = not self.save_weights_only and _is_folder(self.filepath)
        self._check_name()
        if not self.keeps_training and (keep is not None or every_seconds is not None):
            raise ValueError(
                f"ModelCheckpoint({'keep' if every_seconds is None else 'every_seconds'}=...): expected a path without an ending, a folder "
                "for full checkpoints; each file is written to its own name."
            )
        self.keep = 3 if keep is None else whole_number(self, "keep", keep, 1)
        self.every_seconds = None if every_seconds is None else real_number(self, "every_seconds", every_seconds, "seconds, above 0")
        if self.every_seconds is not None and (self.every_seconds <= 0 or self.save_best_only or save_freq != "epoch"):
            raise ValueError(
                f"ModelCheckpoint(every_seconds={every_seconds!r}): expected seconds, above 0, without save_freq and save_best_only."
            )
        self._saved_at = time.monotonic()
        self.batch_hooks = "sampled" if save_freq == "epoch" else "every"
        self._epoch = 0
        self._batches_since_saving = 0
        self._last_batch: int | None = None

    def _check_name(self) -> None:
        """Raise ValueError for a path that is neither a file of a known kind nor a folder."""
        endings = (".weights.h5", ".safetensors") if self.save_weights_only else (".keras", ".h5")
        if not self.keeps_training and not self.filepath.endswith(endings):
            kind = "weights" if self.save_weights_only else "a model, or a folder, which has no ending, for full checkpoints"
            raise ValueError(f"ModelCheckpoint(filepath={self.filepath!r}): expected a name ending in {' or '.join(endings)} for {kind}.")
        if self.keeps_training and "{" in self.filepath:
            raise ValueError(
                f"ModelCheckpoint(filepath={self.filepath!r}): expected one folder for all full checkpoints, with nothing to fill in.\n"
                "  try       keep=N for so many of them; disttrain checkpoints ls shows the epoch and the metrics of each"
            )

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._saved_at = time.monotonic()
        if self.keeps_training and self.telemetry is not None and self.telemetry.run_dir is not None:
            warnings.warn(
                f"ModelCheckpoint(filepath={self.filepath!r}) keeps nothing in a launch, which keeps full checkpoints of its own.",
                stacklevel=2,
            )

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.every_seconds is not None and time.monotonic() - self._saved_at >= self.every_seconds:
            self._save(self._epoch, batch, logs or {})
        if self.save_freq == "epoch":
            return
        new_epoch = self._last_batch is None or batch <= self._last_batch
        self._batches_since_saving += batch + 1 if new_epoch else batch - (self._last_batch or 0)
        self._last_batch = batch
        if self._batches_since_saving >= int(self.save_freq):
            self._batches_since_saving = 0
            self._save(self._epoch, batch, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        due = self.every_seconds is None or time.monotonic() - self._saved_at >= self.every_seconds
        if self.save_freq == "epoch" and (due or epoch + 1 == self.params.get("epochs")):
            self._save(epoch, None, logs or {})

    def _save(self, epoch: int, batch: int | None, logs: Logs) -> None:
        path = self._path(epoch, batch, logs)
        if not self._should_save(epoch, logs, path):
            return
        self._saved_at = time.monotonic()
        if self.keeps_training:
            if self.telemetry is not None:
                self.telemetry.keep_training(path, self.keep)
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


def _is_folder(path: str) -> bool:
    """Has its name no ending? A number behind a dot, as in `run-0.1`, is none."""
    ending = os.path.splitext(path.rstrip("/").rpartition("/")[2])[1]
    return not ending or ending[1:].isdigit()


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
