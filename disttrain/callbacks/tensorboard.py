"""Everything about a training for TensorBoard, in Keras's layout, and what only the run itself knows."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from disttrain.callbacks.base import Callback, Logs
from disttrain.callbacks.boards import restart
from disttrain.callbacks.boards.activations import activations
from disttrain.callbacks.boards.arguments import checked_histograms, checked_hparams, checked_number, checked_update_freq
from disttrain.callbacks.boards.embeddings import Projector, embedding_layers
from disttrain.callbacks.boards.graph import graph_def
from disttrain.callbacks.boards.health import HealthCurves
from disttrain.callbacks.boards.images import image_summary
from disttrain.callbacks.boards.profile import Trace, batches_to_trace
from disttrain.callbacks.boards.summaries import (
    experiment_summary,
    facts_markdown,
    hparams_summary,
    keras_summary,
    model_markdown,
    optimizer_markdown,
    session_end_summary,
    text_summary,
)
from disttrain.callbacks.boards.weights import histograms, images, weights_of
from disttrain.callbacks.event_writer import EventFileWriter, EventWriter, OpenWriter
from disttrain.clock import Clock, SystemClock

_ONCE = (
    "keras",
    "config",
    "model",
    "optimizer",
    "profile",
    "_hparams_/session_start_info",
    "_hparams_/experiment",
)  # tags that are not written again


class TensorBoard(Callback):
    """Writes what TensorBoard shows: `tensorboard --logdir LOG_DIR`, or `disttrain tensorboard RUN_DIR` for a launched run.

    `train/` and `validation/` hold Keras's tags: `epoch_<metric>` by epoch, `epoch_learning_rate`, `batch_<metric>` by batch,
    `evaluation_<metric>_vs_iterations`, `<layer>/<weight>/histogram` and `/image`, the graph of layers. `run/` holds the run's
    configuration as text and, over optimizer steps, `run/goodput`, `run/workers_alive`, `run/recoveries`, `run/recovery_seconds`,
    `run/checkpoint_seconds`, `run/step_seconds/<worker>`, `run/compute_seconds/<worker>`.

    Args:
        log_dir: a path or any fsspec URL; None for `tensorboard` in the run directory of a launch, else `logs`.
        histogram_freq: every so many epochs the histograms; 0 for none.
        write_graph: the graph of layers.
        write_images: weights as pictures, whenever there are histograms, or each epoch if there are none.
        write_steps_per_second: `epoch_steps_per_second`, and `batch_steps_per_second` beside the `batch_` curves.
        update_freq: "epoch", "batch", or a number of batches between the points of the `batch_` curves. Anything but "epoch" makes
            training stop at each batch for this callback, which costs time under a launch.
        profile_batch: trace these batches with torch's profiler: a number counted from 1, or (first, last). The file
            `train/plugins/profile/*.pt.trace.json` opens in https://ui.perfetto.dev. Under a launch it traces the driver.
        embeddings_freq: every so many epochs the tables of Embedding layers for the projector, the newest in place of the last.
        embeddings_metadata: labels of their rows: a file or a list, or a dict of those by layer name.
        histograms: of what: some of "weights", "gradients" (of the last step of the epoch; they cost a copy each step) and
            "activations" (of the layers at the top of the model).
        activation_samples: the input that the activations are for.
        hparams: a dict for the hyperparameters page.
        open_writer: opens the writer of a folder; event files unless told. With `torch.utils.tensorboard.SummaryWriter`, which has
            methods of its own for the rest, curves and histograms are written.
        clock: for the steps per second.

    Raises:
        ValueError: an argument out of its range, by name.

    After a restart the curves have no gap, no doubled point and no zig-zag: a checkpoint follows a flush, and points beyond it are
    purged (`boards/restart.py`). A new fit into the same folder appends, as with Keras. A folder that cannot be written to costs one
    warning; training goes on.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: int | str | tuple[int, int] = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
        *,
        histograms: Sequence[str] = ("weights",),
        activation_samples: Any = None,
        hparams: dict[str, Any] | None = None,
        open_writer: OpenWriter | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        self.log_dir = None if log_dir is None else os.fspath(log_dir).rstrip("/") or "/"
        self.histogram_freq = checked_number("histogram_freq", histogram_freq)
        self.write_graph, self.write_images, self.write_steps_per_second = write_graph, write_images, write_steps_per_second
        self.update_freq: str | int = checked_update_freq(update_freq)
        self.embeddings_freq = checked_number("embeddings_freq", embeddings_freq)
        self.embeddings_metadata = embeddings_metadata
        self.histograms = checked_histograms(histograms, self.histogram_freq, activation_samples)
        self.activation_samples = activation_samples
        self.hparams = checked_hparams(hparams)
        self._traced = batches_to_trace(profile_batch)
        self.batch_hooks = "sampled" if self.update_freq == "epoch" and self._traced is None else "every"
        self.wants_gradients = "gradients" in self.histograms
        self._open_writer: OpenWriter = open_writer if open_writer is not None else EventFileWriter
        self._has_own_files = self._open_writer is EventFileWriter  # other writers have other methods for anything but curves
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._folder: str | None = self.log_dir  # known when a fit begins, where it depends on the run
        self._writers: dict[str, EventWriter] = {}
        self._purge: dict[str, int] = {}
        self._unwritten: dict[str, bytes] = {}
        self._in_fit, self._introduced, self._has_columns = False, False, False
        self._batches, self._epochs = 0, 0
        self._resumed_at = (0, 0, 0)  # epochs, batches, iterations
        self._epoch_start = (0.0, 0)  # time, iterations
        self._batch_start_s = 0.0
        self._health = HealthCurves()
        self._projector: Projector | None = None
        self._trace: Trace | None = None
        self._warned: set[str] = set()

    # -- hooks ----------------------------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._close()
        self._in_fit, self._introduced, self._has_columns, self._batches, self._epochs = True, False, False, 0, 0
        self._purge = {}
        if self._trace is not None:  # of a fit that failed
            self._guarded("profile_batch", self._trace.stop)
            self._trace = None
        self._health.begin()
        folder = self._resolved()
        if self.telemetry is not None:
            self.telemetry.tell("tensorboard", log_dir=folder if "://" in folder else os.path.abspath(folder))
        if self.embeddings_freq:
            self._projector = Projector(f"{folder}/train", self.embeddings_metadata)
            self._projector.check(embedding_layers(self.model))

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._end_trace()
        if self.hparams:
            self._summary("", session_end_summary(self._clock.wall_s()), 0)
        self._in_fit = False
        self._close()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if not self._introduced:  # not before: a state may be loaded after on_train_begin
            self._introduced = True
            self._introduce()
        self._epochs = epoch
        if self.write_steps_per_second:
            self._epoch_start = (self._clock.monotonic_s(), self._iterations())

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._batch_start_s = self._clock.monotonic_s()
        if self._traced is not None and self._trace is None and self._traced[0] == self._batches + 1:
            self._guarded("profile_batch", self._begin_trace)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.batch_hooks == "sampled":
            return
        self._batches += 1
        if self._trace is not None and self._traced is not None and self._batches >= self._traced[1]:
            self._end_trace()
        if self.update_freq != "epoch" and self._batches % int(self.update_freq) == 0:
            values = dict(logs or {})
            if self.write_steps_per_second:
                taken_s = self._clock.monotonic_s() - self._batch_start_s
                values["steps_per_second"] = 1.0 / taken_s if taken_s > 0 else 0.0
            self._scalars("train", "batch_{}", values, self._batches)

    def on_test_end(self, logs: Logs | None = None) -> None:
        if getattr(self.model, "optimizer", None) is not None:
            self._scalars("validation", "evaluation_{}_vs_iterations", logs or {}, self._iterations())
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
            train["steps_per_second"] = (self._iterations() - iterations) / taken_s if taken_s > 0 else 0.0
        self._scalars("train", "epoch_{}", train, epoch)
        self._scalars("validation", "epoch_{}", {n.removeprefix("val_"): v for n, v in logs.items() if n.startswith("val_")}, epoch)
        self._weights(epoch)
        if self._projector is not None and epoch % self.embeddings_freq == 0:
            projector = self._projector
            self._guarded("the embeddings", lambda: projector.write(embedding_layers(self.model)))
        if self.telemetry is not None:
            for tag, value, step in self._health.points(self.telemetry.health(), self._iterations()):
                self._writer("run").add_scalar(tag, value, step)
        if self.hparams:
            if not self._has_columns:
                self._summary("", experiment_summary(self.hparams, logs), 0)
                self._has_columns = True
            self._scalars("", "hparams/{}", logs, epoch)
        self._epochs = epoch + 1
        self._flush()

    # -- a restart ------------------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        for writer in self._writers.values():
            if getattr(writer, "grows", True):
                writer.flush()  # what stands before a checkpoint must not be lost, as it is not written again
        return {
            "epochs": self._epochs, "batches": self._batches, "iterations": self._iterations(),
            "introduced": self._introduced, "has_columns": self._has_columns, "recoveries": self._health.recoveries,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._close()
        self._unwritten = {}
        self._epochs, self._batches = state["epochs"], state["batches"]
        self._introduced, self._has_columns = state.get("introduced", False), state.get("has_columns", False)
        self._health.go_back(state["iterations"], state.get("recoveries", 0))
        self._resumed_at = (self._epochs, self._batches, state["iterations"])
        self._purge = {
            "": self._epochs,
            "train": self._epochs if self.update_freq == "epoch" else self._batches + 1,
            "validation": state["iterations"] + 1,
            "run": state["iterations"] + 1,
        }

    def state_arrays(self) -> dict[str, np.ndarray]:
        # An object store must not get an object for each batch, so the checkpoint itself takes what is not in one yet.
        pending = {folder: writer.pending() for folder, writer in self._writers.items() if isinstance(writer, EventFileWriter)}
        return {f"pending/{folder}": np.frombuffer(data, dtype=np.uint8) for folder, data in pending.items() if data}

    def load_state_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self._unwritten = {name.removeprefix("pending/"): array.tobytes() for name, array in arrays.items()}

    def _first_step(self, folder: str, tag: str) -> float:
        """The first step that comes after the restart on the axis of this tag."""
        epochs, batches, iterations = self._resumed_at
        if tag in _ONCE:
            return float("inf")
        if folder == "run" or tag.endswith("_vs_iterations"):
            return iterations + 1
        weight = tag.endswith(("/histogram", "/image"))  # of a layer called batch_normalization, too
        return batches + 1 if tag.startswith("batch_") and not weight else epochs

    # -- writers --------------------------------------------------------------------------------------------------------------------

    def _resolved(self) -> str:
        if self._folder is None:
            run_url = getattr(self.telemetry, "run_url", None)
            self._folder = f"{run_url.rstrip('/')}/tensorboard" if run_url else "logs"
        return self._folder

    def _writer(self, folder: str) -> Any:
        if folder not in self._writers:
            place = f"{self._resolved()}/{folder}" if folder else self._resolved()
            purge_step, kept = self._purge.pop(folder, None), list[bytes]()
            if purge_step is not None and self._has_own_files:
                purge_step, kept = self._restart_of(folder, place, purge_step)
            writer = self._writers[folder] = self._open_writer(place, purge_step=purge_step)
            for event in kept:
                writer.add_event(event)  # type: ignore[attr-defined]  # of EventFileWriter, which alone keeps any
        return self._writers[folder]

    def _restart_of(self, folder: str, place: str, purge_step: int) -> tuple[int, list[bytes]]:
        unwritten = self._unwritten.pop(folder, b"")
        planned = self._guarded(
            "what the folder holds", lambda: restart.plan(place, purge_step, lambda tag: self._first_step(folder, tag), unwritten)
        )
        return planned if planned is not None else (purge_step, list(restart.records(unwritten)))

    def _scalars(self, folder: str, tag: str, values: dict[str, Any], step: int) -> None:
        for name, value in values.items():
            if isinstance(value, int | float):  # a metric with a value for each class has no curve
                self._writer(folder).add_scalar(tag.format(name), float(value), step)

    def _summary(self, folder: str, summary: Any, step: int) -> None:
        if summary is not None and self._has_own_files:
            self._writer(folder).add_summary(summary, step)

    def _flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _guarded(self, what: str, action: Callable[[], Any]) -> Any:
        """Its result; None and a warning, once, if it fails: a picture is not worth a training."""
        try:
            return action()
        except Exception as error:
            if what not in self._warned:
                self._warned.add(what)
                warnings.warn(f"TensorBoard: {what} left out ({type(error).__name__}: {error}).", stacklevel=3)
            return None

    # -- what is written ------------------------------------------------------------------------------------------------------------

    def _iterations(self) -> int:
        optimizer = getattr(self.model, "optimizer", None)
        return 0 if optimizer is None else int(optimizer.iterations)

    def _introduce(self) -> None:
        """What a run is, written once."""
        if not self._has_own_files:
            return
        graph = self._guarded("the graph", lambda: graph_def(self.model)) if self.write_graph else None
        if graph is not None:
            self._writer("train").add_graph_def(graph)
            self._summary("train", self._guarded("the conceptual graph", lambda: keras_summary(self.model)), 0)
        facts = dict(self.telemetry.facts) if self.telemetry is not None else {}
        texts = {
            "config": facts_markdown(facts, self.params) if facts or self.params else None,
            "model": self._guarded("the model's summary", lambda: model_markdown(self.model)),
            "optimizer": self._guarded("the optimizer's config", lambda: optimizer_markdown(getattr(self.model, "optimizer", None))),
        }
        for tag, text in texts.items():
            if text:
                self._summary("run", text_summary(tag, text), 0)
        if self.hparams:
            self._summary("", hparams_summary(self.hparams, self._resolved(), self._clock.wall_s()), 0)
        self._flush()

    def _weights(self, epoch: int) -> None:
        wanted = self.histograms if self.histogram_freq and epoch % self.histogram_freq == 0 else ()
        pictures = self.write_images and epoch % (self.histogram_freq or 1) == 0
        found: list[tuple[str, np.ndarray]] = []
        if pictures or "weights" in wanted:
            weights = list(weights_of(self.model))
            found += histograms(weights) if "weights" in wanted else ()
            for tag, pixels in images(weights) if pictures else ():
                self._summary("train", image_summary(tag, pixels), epoch)
        if "gradients" in wanted and self.telemetry is not None:
            found += histograms((self._guarded("the gradients", self.telemetry.gradients) or {}).items(), "gradient")
        if "activations" in wanted:
            given = self._guarded("the activations", lambda: activations(self.model, self.activation_samples)) or {}
            found += histograms(given.items(), "activation")
        for tag, values in found:
            self._writer("train").add_histogram(tag, values, epoch)

    def _begin_trace(self) -> None:
        self._trace = Trace()

    def _end_trace(self) -> None:
        trace, self._trace = self._trace, None
        if trace is None:
            return
        folder = f"{self._resolved()}/train/plugins/profile"
        url = self._guarded("the trace", lambda: trace.save(folder, self._batches))
        if url is not None:
            launched = getattr(self.telemetry, "run_url", None)
            whose = "It shows the driver, which waits for the workers; their work is not in it." if launched else "It shows this process."
            self._summary("run", text_summary("profile", f"`{url}` opens in https://ui.perfetto.dev. {whose}"), self._batches)
