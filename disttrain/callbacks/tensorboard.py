"""Everything about a training for TensorBoard, in Keras's layout, and what only the run itself knows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from disttrain.callbacks.base import Callback, Logs
from disttrain.callbacks.boards.arguments import checked_histograms, checked_hparams, checked_number, checked_update_freq
from disttrain.callbacks.boards.health import HealthCurves
from disttrain.callbacks.boards.log_directory import LogDirectory, Place
from disttrain.callbacks.boards.profile import Trace, batches_to_trace
from disttrain.callbacks.event_writer import OpenWriter
from disttrain.callbacks.rates import rates
from disttrain.clock import Clock, SystemClock

if TYPE_CHECKING:
    from disttrain.callbacks.boards.embeddings import Projector


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
        self._logs = LogDirectory(self.log_dir or "logs", open_writer, curves_by_batch=self.update_freq != "epoch")
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._in_fit, self._introduced, self._has_columns = False, False, False
        self._batches, self._epochs = 0, 0
        self._epoch_start = (0.0, 0)  # time, iterations
        self._batch_start_s = 0.0
        self._health = HealthCurves()
        self._projector: Projector | None = None
        self._trace: Trace | None = None

    # -- hooks ----------------------------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.abandon()  # what a fit without an end has left open
        self._in_fit, self._introduced, self._has_columns, self._batches, self._epochs = True, False, False, 0, 0
        self._health.begin()
        url = self._default_url() if self.log_dir is None else self.log_dir
        self._logs.begin(url, self.telemetry)
        if self.telemetry is not None:
            self.telemetry.tell("tensorboard", log_dir=url if "://" in url else os.path.abspath(url))
        if self.embeddings_freq:
            from disttrain.callbacks.boards.embeddings import Projector, embedding_layers  # late: each board loads where it is asked for

            self._projector = Projector(f"{url}/train", self.embeddings_metadata)
            self._projector.check(embedding_layers(self.model))

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._end_trace()
        if self.hparams:
            from disttrain.callbacks.boards.summaries import session_end_summary  # late: each board loads where it is asked for

            self._logs.summary("", session_end_summary(self._clock.wall_s()), 0)
        self._in_fit = False
        self._logs.close()

    def abandon(self) -> None:
        trace, self._trace, self._in_fit = self._trace, None, False
        try:
            if trace is not None:
                trace.stop()
        finally:
            self._logs.close()

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
            self._trace = self._logs.guarded("profile_batch", Trace)

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
            self._logs.scalars("train", "batch_{}", values, self._batches)

    def on_test_end(self, logs: Logs | None = None) -> None:
        if getattr(self.model, "optimizer", None) is not None:
            self._logs.scalars("validation", "evaluation_{}_vs_iterations", logs or {}, self._iterations())
        if not self._in_fit:
            self._logs.close()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        train = {name: value for name, value in logs.items() if not name.startswith("val_")}
        if self.model.optimizer is not None:
            train.update(rates(self.model.optimizer))
        if self.write_steps_per_second:
            begun_s, iterations = self._epoch_start
            taken_s = self._clock.monotonic_s() - begun_s
            train["steps_per_second"] = (self._iterations() - iterations) / taken_s if taken_s > 0 else 0.0
        self._logs.scalars("train", "epoch_{}", train, epoch)
        self._logs.scalars("validation", "epoch_{}", {n.removeprefix("val_"): v for n, v in logs.items() if n.startswith("val_")}, epoch)
        self._weights(epoch)
        if self._projector is not None and epoch % self.embeddings_freq == 0:
            from disttrain.callbacks.boards.embeddings import embedding_layers  # late: each board loads where it is asked for

            projector = self._projector
            self._logs.guarded("the embeddings", lambda: projector.write(embedding_layers(self.model)))
        if self.telemetry is not None:
            for tag, value, step in self._health.points(self.telemetry.health(), self._iterations()):
                self._logs.writer("run").add_scalar(tag, value, step)
        if self.hparams:
            if not self._has_columns:
                from disttrain.callbacks.boards.summaries import experiment_summary  # late: each board loads where it is asked for

                self._logs.summary("", experiment_summary(self.hparams, logs), 0)
                self._has_columns = True
            self._logs.scalars("", "hparams/{}", logs, epoch)
        self._epochs = epoch + 1
        self._logs.flush()

    # -- a restart ------------------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        self._logs.settle()
        return {
            "epochs": self._epochs, "batches": self._batches, "iterations": self._iterations(),
            "introduced": self._introduced, "has_columns": self._has_columns, "recoveries": self._health.recoveries,
            "url": self._logs.url,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._epochs, self._batches = state["epochs"], state["batches"]
        self._introduced, self._has_columns = state.get("introduced", False), state.get("has_columns", False)
        self._health.go_back(state["iterations"], state.get("recoveries", 0))
        if not self._in_fit and self.log_dir is None:  # of a fit that an earlier process finished: an evaluation goes there too
            self._logs.url = state.get("url", self._logs.url)
        self._logs.resume(Place(self._epochs, self._batches, state["iterations"]))

    def state_arrays(self) -> dict[str, np.ndarray]:
        return self._logs.unsettled()

    def capture_arrays(self) -> dict[str, np.ndarray]:
        return self._logs.unsettled()  # of bytes, which nobody changes

    def load_state_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self._logs.take_unsettled(arrays)

    # -- what is written ------------------------------------------------------------------------------------------------------------

    def _iterations(self) -> int:
        optimizer = getattr(self.model, "optimizer", None)
        return 0 if optimizer is None else int(optimizer.iterations)

    def _default_url(self) -> str:
        run_dir = self.telemetry.run_dir if self.telemetry is not None else None
        return f"{run_dir.rstrip('/')}/tensorboard" if run_dir else "logs"

    def _introduce(self) -> None:
        """What a run is, written once."""
        if not self._logs.takes_events:
            return
        from disttrain.callbacks.boards import summaries  # late: each board loads where it is asked for

        model, guarded = self.model, self._logs.guarded
        if self.write_graph:
            from disttrain.callbacks.boards.graph import graph_def  # late: each board loads where it is asked for

            graph = guarded("the graph", lambda: graph_def(model))
            if graph is not None:
                self._logs.writer("train").add_graph_def(graph)
                self._logs.summary("train", guarded("the conceptual graph", lambda: summaries.keras_summary(model)), 0)
        facts = dict(self.telemetry.facts) if self.telemetry is not None else {}
        texts = {
            "config": summaries.facts_markdown(facts, self.params) if facts or self.params else None,
            "model": guarded("the model's summary", lambda: summaries.model_markdown(model)),
            "optimizer": guarded("the optimizer's config", lambda: summaries.optimizer_markdown(getattr(model, "optimizer", None))),
        }
        for tag, text in texts.items():
            if text:
                self._logs.summary("run", summaries.text_summary(tag, text), 0)
        if self.hparams:
            self._logs.summary("", summaries.hparams_summary(self.hparams, self._logs.url, self._clock.wall_s()), 0)
        self._logs.flush()

    def _weights(self, epoch: int) -> None:
        wanted = self.histograms if self.histogram_freq and epoch % self.histogram_freq == 0 else ()
        pictures = self.write_images and epoch % (self.histogram_freq or 1) == 0
        if not wanted and not pictures:
            return
        from disttrain.callbacks.boards import weights as boards  # late: each board loads where it is asked for

        # What looks at the workers' state stands outside of the guard: its errors are those of the run.
        named = [] if wanted == ("gradients",) and not pictures else list(boards.weights_of(self.model))
        gradients = self.telemetry.gradients() if "gradients" in wanted and self.telemetry is not None else {}
        for tag, values in boards.histograms(named) if "weights" in wanted else ():
            self._logs.writer("train").add_histogram(tag, values, epoch)
        for tag, values in boards.histograms(gradients.items(), "gradient"):
            self._logs.writer("train").add_histogram(tag, values, epoch)
        if "activations" in wanted:
            from disttrain.callbacks.boards.activations import activations  # late: each board loads where it is asked for

            given = self._logs.guarded("the activations", lambda: activations(self.model, self.activation_samples)) or {}
            for tag, values in boards.histograms(given.items(), "activation"):
                self._logs.writer("train").add_histogram(tag, values, epoch)
        if pictures:
            drawn = self._logs.guarded("the pictures of weights", lambda: list(boards.image_summaries(named)))
            for summary in drawn or ():
                self._logs.summary("train", summary, epoch)

    def _end_trace(self) -> None:
        trace, self._trace = self._trace, None
        if trace is None:
            return
        from disttrain.callbacks.boards.summaries import text_summary  # late: each board loads where it is asked for

        folder = f"{self._logs.url}/train/plugins/profile"
        url = self._logs.guarded("the trace", lambda: trace.save(folder, self._batches))
        if url is not None:
            launched = getattr(self.telemetry, "run_dir", None)
            whose = "It shows the driver, which waits for the workers; their work is not in it." if launched else "It shows this process."
            self._logs.summary("run", text_summary("profile", f"`{url}` opens in https://ui.perfetto.dev. {whose}"), self._batches)
