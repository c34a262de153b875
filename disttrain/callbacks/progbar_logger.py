"""The progress bar as a callback."""

from __future__ import annotations

from typing import Any, TextIO

from disttrain.callbacks.base import Callback, Logs
from disttrain.callbacks.progress_bar import ProgressBar
from disttrain.clock import Clock


class ProgbarLogger(Callback):
    """Draws a bar for each epoch; content with the newest batch now and then. `verbose=2` prints one plain line for each epoch instead.

    On a terminal and in a notebook the bar moves; in a pipe or a log a long epoch has a line every few seconds.

    Args:
        stream: where to print; standard output unless told.
        clock: where time comes from.
    """

    batch_hooks = "sampled"

    def __init__(self, stream: TextIO | None = None, clock: Clock | None = None) -> None:
        super().__init__()
        self._stream, self._clock = stream, clock
        self._bar: ProgressBar | None = None
        self._in_fit = False

    @property
    def _verbose(self) -> int:
        verbose: Any = self.params.get("verbose", 1)
        return 1 if verbose == "auto" else int(verbose)

    def _open(self, title: str = "") -> None:
        if self._verbose:
            plain = self._verbose == 2
            self._bar = ProgressBar(self.params.get("steps"), title, stream=self._stream, clock=self._clock, plain=plain)
            self._bar.start()

    def _close(self, logs: Logs | None) -> None:
        if self._bar is not None:
            self._bar.finish(logs)
            self._bar = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._in_fit = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.abandon()  # a bar is there still if the training was stopped within an epoch

    def abandon(self) -> None:
        self._in_fit = False
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def make_room(self) -> None:
        """Other callbacks are about to be called, and may print."""
        if self._bar is not None:
            self._bar.make_room()

    def show_validation(self, batch: int, steps: int | None, logs: Logs | None = None) -> None:
        """Within `fit`: batch `batch` of a validation of `steps` is done."""
        if self._bar is not None:
            self._bar.validates(batch + 1, steps, logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        epochs = self.params.get("epochs", 1)
        self._open(f"Epoch {epoch + 1}/{epochs}" if epochs > 1 else "")

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self._bar is not None:
            self._bar.update(batch + 1, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._close(logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._open()

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self._bar is not None and not self._in_fit:
            self._bar.update(batch + 1, logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._close(logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._open()

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self._bar is not None:
            self._bar.update(batch + 1)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._close(None)
