"""TensorBoard's event files, written without TensorFlow and without a thread."""

from __future__ import annotations

import itertools
import os
import socket
from typing import Any, Protocol

import numpy as np

from disttrain.clock import Clock, SystemClock

_number = itertools.count()


class EventWriter(Protocol):
    """What the TensorBoard callback writes to; `torch.utils.tensorboard.SummaryWriter` is one."""

    def add_scalar(self, tag: str, value: float, step: int, /) -> Any:
        """A point of a curve."""

    def add_histogram(self, tag: str, values: np.ndarray, step: int, /) -> Any:
        """A distribution."""

    def flush(self) -> None:
        """Make what was written visible."""

    def close(self) -> None:
        """Write no more."""


class OpenWriter(Protocol):
    """Opens a writer for a folder. What the folder already holds from `purge_step` on is superseded, if that is given."""

    def __call__(self, folder: str, /, *, purge_step: int | None = None) -> EventWriter: ...


class EventFileWriter:
    """An event file in a folder, which may be any URL that tensorboard's own file layer opens.

    Args:
        folder: of one run, such as `logs/train`.
        purge_step: tell TensorBoard to forget points of older files from this step on; they are about to be written again.
        clock: where the time of each event comes from.
    """

    def __init__(self, folder: str, /, *, purge_step: int | None = None, clock: Clock | None = None) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.compat.tensorflow_stub.io import gfile
            from tensorboard.plugins.histogram.summary_v2 import histogram_pb
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError as error:
            raise ImportError("the TensorBoard callback needs tensorboard.\n  try       pip install tensorboard") from error
        self._events, self._summaries, self._histogram = event_pb2, summary_pb2, histogram_pb
        self._clock: Clock = clock if clock is not None else SystemClock()
        gfile.makedirs(folder)
        seconds = int(self._clock.wall_s())
        name = f"events.out.tfevents.{seconds:010d}.{socket.gethostname()}.{os.getpid()}.{next(_number)}"
        self._file = gfile.GFile(f"{folder.rstrip('/')}/{name}", "wb")
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2", step=purge_step or 0)
        if purge_step is not None:
            self._write(session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START), step=purge_step)
        self.flush()

    def _write(self, **fields: Any) -> None:
        self._records.write(self._events.Event(wall_time=self._clock.wall_s(), **fields).SerializeToString())

    def add_scalar(self, tag: str, value: float, step: int, /) -> None:
        """A point of a curve."""
        summary = self._summaries.Summary(value=[self._summaries.Summary.Value(tag=tag, simple_value=value)])
        self._write(summary=summary, step=step)

    def add_histogram(self, tag: str, values: np.ndarray, step: int, /) -> None:
        """A distribution, in 30 buckets."""
        self._write(summary=self._histogram(tag, values), step=step)

    def flush(self) -> None:
        """Make what was written visible."""
        self._records.flush()

    def close(self) -> None:
        """Write no more."""
        self._records.close()
