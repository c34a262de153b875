"""TensorBoard's event files, written without TensorFlow and without a thread, into any folder that fsspec opens."""

from __future__ import annotations

import itertools
import os
import socket
import warnings
from typing import Any, Protocol

import numpy as np

from disttrain.clock import Clock, SystemClock

_FLUSH_EVERY_S = {True: 10.0, False: 60.0}  # can the file grow? An object store gets a new object each time
_FLUSH_BYTES = 1 << 18  # or when there is that much: each checkpoint, and each boundary kept for one, copies what waits
_numbers = itertools.count()


class EventWriter(Protocol):
    """What the TensorBoard callback writes curves and histograms to; `torch.utils.tensorboard.SummaryWriter` is one."""

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
    """Event files in a folder: one that grows, or where files cannot grow, in an object store, a new one at each flush.

    A folder that cannot be written to costs one warning, never the training: what could not be written is kept and tried again at
    the next flush, in a new file, since the old one may end in half a record.

    Attributes:
        grows: files of this folder can grow, so that a flush costs little.

    Args:
        folder: of one run, such as `logs/train`; a path or any fsspec URL.
        purge_step: tell TensorBoard to forget the points of older files from this step on.
        fit: put at the end of the files' names, to tell whose they are.
        clock: where the time of each event comes from.

    Raises:
        ImportError: tensorboard is not installed.
    """

    def __init__(self, folder: str, /, *, purge_step: int | None = None, fit: str = "", clock: Clock | None = None) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.plugins.histogram.summary_v2 import histogram_pb
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError as error:
            raise ImportError("the TensorBoard callback needs tensorboard.\n  try       pip install tensorboard") from error
        self.folder, self._ending = folder.rstrip("/"), f".{fit}" if fit else ""
        self._events, self._summaries, self._histogram = event_pb2, summary_pb2, histogram_pb
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._records = RecordWriter(_Into(self._pending))
        self.grows = "://" not in self.folder or self.folder.startswith(("file://", "local://"))
        self._name = ""  # of the file that grows, once there is one
        self._flushed_s = self._clock.monotonic_s()
        self._warned = False
        self._version = self._event(file_version="brain.Event:2", step=purge_step or 0)
        if purge_step is not None:
            start = self._event(session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START), step=purge_step)
            self.add_event(start)  # TensorBoard takes the first it sees in a folder for the beginning, and purges at the next
            self.add_event(start)

    def add_scalar(self, tag: str, value: float, step: int, /) -> None:
        """A point of a curve."""
        self.add_summary(self._summaries.Summary(value=[self._summaries.Summary.Value(tag=tag, simple_value=value)]), step)

    def add_histogram(self, tag: str, values: np.ndarray, step: int, /) -> None:
        """A distribution, in 30 buckets."""
        self.add_summary(self._histogram(tag, values), step)

    def add_summary(self, summary: Any, step: int, /) -> None:
        """What a plugin of TensorBoard shows, as a `Summary`."""
        self.add_event(self._event(summary=summary, step=step))

    def add_graph_def(self, graph: Any, /) -> None:
        """What the graph page shows, as a `GraphDef`."""
        self.add_event(self._event(graph_def=graph.SerializeToString(), step=0))

    def add_event(self, event: bytes, /) -> None:
        """A serialized `Event`, as it is."""
        self._records.write(event)
        self._pending_bytes += len(event)
        if self._pending_bytes >= _FLUSH_BYTES or self._clock.monotonic_s() - self._flushed_s >= _FLUSH_EVERY_S[self.grows]:
            self.flush()

    def pending(self) -> bytes:
        """The records that a flush would write."""
        return b"".join(self._pending)

    def flush(self) -> None:
        """Make what was written visible."""
        self._flushed_s, self._pending_bytes = self._clock.monotonic_s(), 0
        if not self._pending:
            return
        try:
            self._append(self.pending())
            self._pending.clear()
        except Exception as error:  # a store may fail in ways of its own
            self._name = ""
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"TensorBoard: {self.folder} cannot be written to ({type(error).__name__}: {error}). "
                    "Training goes on; the points are kept in memory and tried again.",
                    stacklevel=2,
                )

    def close(self) -> None:
        """Write no more."""
        self.flush()

    def _event(self, **fields: Any) -> bytes:
        event: bytes = self._events.Event(wall_time=self._clock.wall_s(), **fields).SerializeToString()
        return event

    def _append(self, data: bytes) -> None:
        import fsspec  # late: loads when a file is opened

        if not self._name or not self.grows:
            head: list[bytes] = []
            type(self._records)(_Into(head)).write(self._version)  # a reader wants it at the top of every file
            data = b"".join([*head, data])
            # The readers take the files of a folder in the order of their names.
            self._name = f"events.out.tfevents.{int(self._clock.wall_s()):010d}{this_process()}{next(_numbers):06d}{self._ending}"
        files, path = fsspec.core.url_to_fs(f"{self.folder}/{self._name}")
        if self.grows:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "ab") as file:  # not kept open: a training that fails would leave it so
                file.write(data)
        else:
            files.pipe_file(path, data)


def this_process() -> str:
    """What the names of all files have in them that this process writes."""
    return f".{socket.gethostname()}.{os.getpid():07d}."


class _Into:
    """A file for RecordWriter that is a list of pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.write = pieces.append
