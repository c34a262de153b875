"""Curves and histograms for TensorBoard."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from disttrain.callbacks.base import Callback, Logs
from disttrain.callbacks.event_writer import EventFileWriter, EventWriter, OpenWriter
from disttrain.clock import Clock, SystemClock


class TensorBoard(Callback):
    """Writes Keras's tags: in `train/` and `validation/` `epoch_loss`, `epoch_<metric>` by epoch; in `train/` `epoch_learning_rate`, and
    `batch_loss`, `batch_<metric>` by batch; in `validation/` `evaluation_<name>_vs_iterations`.

    Args:
        log_dir: a path or URL.
        histogram_freq: every so many epochs a histogram of each weight; 0 for none.
        write_graph: taken for Keras's sake and ignored: there is no graph to write.
        update_freq: "epoch", "batch", or a number of batches between the points of the `batch_` curves.
        write_steps_per_second: also `epoch_steps_per_second`.
        open_writer: opens the writer of a folder; event files unless told. `torch.utils.tensorboard.SummaryWriter` will do.
        clock: for the steps per second.

    After a restart the points that will be written again are purged: from the epoch on where there are epoch curves only, else from the
    batch on. An epoch's point that then stands twice has the same value, as every step gives the same bits again.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: int = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
        open_writer: OpenWriter | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        unsupported = {
            "write_images": write_images,
            "profile_batch": profile_batch,
            "embeddings_freq": embeddings_freq,
            "embeddings_metadata": embeddings_metadata,
        }
        for key, value in unsupported.items():
            if value:
                raise ValueError(f"TensorBoard({key}={value!r}): not supported; leave it out.")
        if update_freq not in ("epoch", "batch") and (not isinstance(update_freq, int) or isinstance(update_freq, bool) or update_freq < 1):
            raise ValueError(f"TensorBoard(update_freq={update_freq!r}): expected 'epoch', 'batch' or a number of batches, 1 or more.")
        self.log_dir = os.fspath(log_dir).rstrip("/")
        self.histogram_freq, self.write_graph, self.write_steps_per_second = histogram_freq, write_graph, write_steps_per_second
        self.update_freq: str | int = 1 if update_freq == "batch" else update_freq
        self.batch_hooks = "sampled" if update_freq == "epoch" else "every"
        self._open_writer: OpenWriter = open_writer if open_writer is not None else EventFileWriter
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._writers: dict[str, EventWriter] = {}
        self._purge: dict[str, int] = {}
        self._in_fit = False
        self._batches, self._epochs = 0, 0
        self._epoch_start = (0.0, 0)  # time, iterations

    def _writer(self, folder: str) -> EventWriter:
        if folder not in self._writers:
            self._writers[folder] = self._open_writer(f"{self.log_dir}/{folder}", purge_step=self._purge.pop(folder, None))
        return self._writers[folder]

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._close()
        self._in_fit, self._batches, self._epochs = True, 0, 0

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._in_fit = False
        self._close()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epochs = epoch
        if self.write_steps_per_second:
            self._epoch_start = (self._clock.monotonic_s(), int(self.model.optimizer.iterations))

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.update_freq == "epoch":
            return
        self._batches += 1
        if self._batches % int(self.update_freq) == 0:
            self._scalars("train", "batch_{}", logs or {}, self._batches)

    def on_test_end(self, logs: Logs | None = None) -> None:
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:
            self._scalars("validation", "evaluation_{}_vs_iterations", logs or {}, int(optimizer.iterations))
        if not self._in_fit:
            self._close()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        train = {name: value for name, value in logs.items() if not name.startswith("val_")}
        if self.model.optimizer is not None:
            train["learning_rate"] = float(self.model.optimizer.learning_rate)
        if self.write_steps_per_second:
            begun_s, iterations = self._epoch_start
            taken_s = self._clock.monotonic_s() - begun_s
            train["steps_per_second"] = (int(self.model.optimizer.iterations) - iterations) / taken_s if taken_s > 0 else 0.0
        self._scalars("train", "epoch_{}", train, epoch)
        self._scalars("validation", "epoch_{}", {n.removeprefix("val_"): v for n, v in logs.items() if n.startswith("val_")}, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for name, weight in self.model.named_weights():
                self._writer("train").add_histogram(f"{name}/histogram", np.asarray(weight.detach().cpu()), epoch)
        for writer in self._writers.values():
            writer.flush()
        self._epochs = epoch + 1

    def _scalars(self, folder: str, tag: str, values: dict[str, Any], step: int) -> None:
        for name, value in values.items():
            if isinstance(value, int | float):  # a metric with a value for each class has no curve
                self._writer(folder).add_scalar(tag.format(name), float(value), step)

    def state_dict(self) -> dict[str, Any]:
        optimizer = getattr(self.model, "optimizer", None)
        return {"epochs": self._epochs, "batches": self._batches, "iterations": 0 if optimizer is None else int(optimizer.iterations)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._epochs, self._batches = state["epochs"], state["batches"]
        self._purge = {
            "train": self._epochs if self.update_freq == "epoch" else self._batches + 1,
            "validation": state["iterations"] + 1,
        }
