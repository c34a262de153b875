"""The event files of a log directory: opened when there is something to write, and after a restart purged of what comes again."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from disttrain.callbacks.event_writer import EventFileWriter, EventWriter, OpenWriter, this_process
from disttrain.errors import DisttrainError
from disttrain.telemetry import Telemetry

_ONCE = (
    "keras",
    "config",
    "model",
    "optimizer",
    "profile",
    "_hparams_/session_start_info",
    "_hparams_/experiment",
)  # tags that are not written again


class Place(NamedTuple):
    """How far a training is, on each axis that curves have."""

    epochs: int = 0
    batches: int = 0
    iterations: int = 0


class LogDirectory:
    """A folder for each run that TensorBoard lists: `train`, `validation`, `run`, and "" for what stands above them.

    Args:
        url: where it is, a path or URL; a fit may name another.
        open_writer: opens the writer of a folder.
        curves_by_batch: does `train` have points for batches?

    Attributes:
        url: where it is.
        takes_events: are its files event files? A writer of another kind has other methods for all but curves and histograms.
    """

    def __init__(self, url: str, open_writer: OpenWriter | None, curves_by_batch: bool) -> None:
        self._open: OpenWriter = EventFileWriter if open_writer is None else open_writer
        self.takes_events = self._open is EventFileWriter
        self._curves_by_batch = curves_by_batch
        self.url, self._fit = url, ""
        self._writers: dict[str, EventWriter] = {}
        self._begun: set[str] = set()  # folders that this fit has written to
        self._resumed: Place | None = None
        self._unwritten: dict[str, bytes] = {}
        self._warned: set[str] = set()

    def begin(self, url: str, telemetry: Telemetry | None) -> None:
        """A fit begins, afresh unless `resume` follows. What an earlier attempt of the same fit left here, it will write again."""
        self.close()
        self.url, self._fit = url, _fit_of(telemetry)
        self._begun, self._resumed, self._unwritten = set(), None, {}

    def resume(self, place: Place) -> None:
        """The fit goes on from `place`; what lies beyond it in the files will be written again."""
        self.close()
        self._begun, self._resumed, self._unwritten = set(), place, {}

    def writer(self, folder: str) -> Any:
        """That of a folder."""
        if folder not in self._writers:
            place = f"{self.url}/{folder}" if folder else self.url
            purge_step, kept = None, list[bytes]()
            if folder not in self._begun:
                self._begun.add(folder)
                purge_step, kept = self._purge(folder, place)
            writer = EventFileWriter(place, purge_step=purge_step, fit=self._fit) if self.takes_events else None
            self._writers[folder] = writer if writer is not None else self._open(place, purge_step=purge_step)
            for event in kept:
                self._writers[folder].add_event(event)  # type: ignore[attr-defined]  # of EventFileWriter, which alone keeps any
        return self._writers[folder]

    def scalars(self, folder: str, tag: str, values: dict[str, Any], step: int) -> None:
        """A point for each value that is a number; a metric with a value for each class has no curve."""
        for name, value in values.items():
            if isinstance(value, int | float):
                self.writer(folder).add_scalar(tag.format(name), float(value), step)

    def summary(self, folder: str, summary: Any, step: int) -> None:
        """What a plugin shows, as a `Summary`; None for nothing."""
        if summary is not None and self.takes_events:
            self.writer(folder).add_summary(summary, step)

    def flush(self) -> None:
        """Make what was written visible."""
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Let go of the files; the next point opens new ones."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def settle(self) -> None:
        """Before a checkpoint: what stands before it must not be lost, as it is not written again."""
        for writer in self._writers.values():
            if getattr(writer, "grows", True):
                writer.flush()

    def unsettled(self) -> dict[str, np.ndarray]:
        """What the checkpoint itself must take: an object store must not get an object for each batch."""
        pending = {folder: writer.pending() for folder, writer in self._writers.items() if isinstance(writer, EventFileWriter)}
        return {f"pending/{folder}": np.frombuffer(data, dtype=np.uint8) for folder, data in pending.items() if data}

    def take_unsettled(self, arrays: dict[str, np.ndarray]) -> None:
        """The inverse of `unsettled`."""
        self._unwritten = {name.removeprefix("pending/"): array.tobytes() for name, array in arrays.items()}

    def guarded(self, what: str, action: Callable[[], Any]) -> Any:
        """The result of `action`; None and a warning, once, if it fails: a picture is not worth a training."""
        try:
            return action()
        except DisttrainError:  # of the run itself: too few workers are left, for instance
            raise
        except Exception as error:
            if what not in self._warned:
                self._warned.add(what)
                warnings.warn(f"TensorBoard: {what} left out ({type(error).__name__}: {error}).", stacklevel=3)
            return None

    def _purge(self, folder: str, place: str) -> tuple[int | None, list[bytes]]:
        """From which step on a folder is to be purged, and what to write once more after that."""
        resumed = self._resumed
        if resumed is None:
            if self.takes_events and self._fit:
                self.guarded("clearing the folder", lambda: _remove_files_of(place, self._fit))
            return None, []
        if folder == "train" and self._curves_by_batch:
            step = resumed.batches + 1
        else:
            step = resumed.epochs if folder in ("", "train") else resumed.iterations + 1
        if not self.takes_events:
            return step, []
        from disttrain.callbacks.boards import restart  # late: only where a folder is gone on with

        unwritten = self._unwritten.pop(folder, b"")
        what = "what the folder holds"
        planned = self.guarded(what, lambda: restart.plan(place, step, lambda tag: _first_step(folder, tag, resumed), unwritten))
        return planned if planned is not None else (step, list(restart.records(unwritten)))


def _first_step(folder: str, tag: str, resumed: Place) -> float:
    """The first step that comes after the restart on the axis of this tag."""
    if tag in _ONCE:
        return float("inf")
    if folder == "run" or tag.endswith("_vs_iterations"):
        return resumed.iterations + 1
    weight = tag.endswith(("/histogram", "/image"))  # of a layer called batch_normalization, too
    return resumed.batches + 1 if tag.startswith("batch_") and not weight else resumed.epochs


def _fit_of(telemetry: Telemetry | None) -> str:
    """What the names of the files of one fit of one run end in, whichever process wrote them; "" without a launch."""
    if telemetry is None or telemetry.run_dir is None or "call" not in telemetry.facts:
        return ""
    run = hashlib.sha256(telemetry.run_dir.encode()).hexdigest()[:8]
    return f"{run}-{telemetry.facts['call']}"


def _remove_files_of(place: str, fit: str) -> None:
    """Remove what an attempt of this fit wrote that died before its first checkpoint: all of it comes again."""
    import fsspec  # late: loads when a file is opened

    files, path = fsspec.core.url_to_fs(place)
    for name in files.ls(path, detail=False) if files.exists(path) else ():
        if "tfevents" in name and name.endswith(f".{fit}") and this_process() not in name:  # which may have a second such callback
            files.rm_file(name)
