"""Runs of a folder, each in a few figures: what stands in their directories, read and never changed."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from disttrain.checkpoint import read_attempts
from disttrain.checkpoint.trouble import file_system
from disttrain.clock import Clock, SystemClock
from disttrain.errors import DisttrainError
from disttrain.rundir.directory import RunDirectory
from disttrain.rundir.finished_calls import read_finished

_STARTED = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True)
class Summary:
    """One run.

    Attributes:
        state: as `disttrain status` says; "damaged" where that cannot be read, and `problem` says why.
        epoch, epochs, step: how far it is; None where that is not known.
        metric, best: the best value of a metric over the epochs of the newest fit that is finished: the smallest val_loss, or loss.
        age_s: since its newest attempt began.
        size_bytes: of all its files; None where the storage does not say.
    """

    run: str
    state: str
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    metric: str | None = None
    best: float | None = None
    age_s: float | None = None
    size_bytes: int | None = None
    problem: str | None = None


def runs_in(folder: str, clock: Clock | None = None) -> list[Summary]:
    """The runs right below a folder, any fsspec URL, by name."""
    fs, root = file_system(folder)
    trimmed, clock = root.rstrip("/"), clock or SystemClock()
    return [summary(f"{folder.rstrip('/')}/{name}", fs, f"{trimmed}/{name}", clock) for name in run_names(folder)]


def run_names(folder: str) -> list[str]:
    """The names of the run directories right below a folder, sorted; [] where there is none."""
    fs, root = file_system(folder)
    root = root.rstrip("/")
    try:
        found = sorted(
            os.path.basename(str(entry["name"]).rstrip("/")) for entry in fs.ls(root, detail=True) if entry["type"] == "directory"
        )
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [name for name in found if fs.exists(f"{root}/{name}/attempts")]


def summary(run_dir: str, fs: Any, path: str, clock: Clock) -> Summary:
    """One run, whatever state it is in."""
    try:
        size = int(fs.du(path))
    except Exception:  # some kinds of storage cannot say, and files come and go meanwhile
        size = None
    try:
        directory = RunDirectory(run_dir)
        status = directory.status()
        metric, best = best_of(directory)
        return Summary(
            run_dir, status["state"], status.get("epoch"), status.get("epochs"), status.get("step"), metric, best,
            _age_s(status.get("driver", {}).get("started"), clock), size,
        )  # fmt: skip
    except (DisttrainError, OSError) as error:
        return Summary(run_dir, "damaged", size_bytes=size, problem=str(error).splitlines()[0])


def best_of(directory: RunDirectory) -> tuple[str | None, float | None]:
    """(metric, its best value) of the newest finished fit; (None, None) where none has said."""
    finished = read_finished(directory.store, read_attempts(directory.store, newest_run=True))
    for _, record in sorted(finished.items(), reverse=True):
        history = record.get("history") or {}
        for name in ("val_loss", "loss"):
            values = [value for value in history.get(name, []) if isinstance(value, int | float) and value == value]
            if values:
                return name, min(values)
    return None, None


def _age_s(started: Any, clock: Clock) -> float | None:
    try:
        return max(0.0, clock.wall_s() - time.mktime(time.strptime(str(started), _STARTED)))
    except ValueError:
        return None
