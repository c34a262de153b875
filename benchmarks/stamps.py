"""When each training process began each step: a file of (monotonic nanoseconds, step number) pairs for each process.

The writing side is one store to mapped memory, so stamping costs nothing that a step would notice, and what was written survives SIGKILL.
CLOCK_MONOTONIC is one clock for all processes of a machine, so stamps of different processes compare.
"""

from __future__ import annotations

import mmap
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_MOST = 1 << 21  # stamps of one process; the file is sparse, only what is written takes room

_own: dict[str, tuple[NDArray[np.int64], list[int]]] = {}  # folder -> this process's file, how many stamps it holds


@dataclass(frozen=True)
class Stamp:
    """Process `pid` began the forward pass of `step` at `at_ns`."""

    at_ns: int
    step: int
    pid: int


def stamp(folder: str, step: int) -> None:
    """Write down that this process begins the forward pass of `step` now."""
    if folder not in _own:
        _own[folder] = _create(Path(folder) / f"{os.getpid()}.stamps"), [0]
    table, count = _own[folder]
    if count[0] == _MOST:
        raise RuntimeError(f"{folder}: this process has written {_MOST} stamps, and its file is full; make the run shorter.")
    # the time last: a reader takes a zero time for the end
    table[count[0], 1] = step
    table[count[0], 0] = time.monotonic_ns()
    count[0] += 1


def read(folder: Path, since_ns: int = 0) -> list[Stamp]:
    """All stamps after `since_ns` of all processes, in the order of time."""
    found = []
    for path in folder.glob("*.stamps"):
        table = np.memmap(path, dtype=np.int64, mode="r").reshape(-1, 2)
        times = table[:, 0]
        stop = _count(times)
        start = int(np.searchsorted(times[:stop], since_ns, side="right"))
        found += [Stamp(int(at), int(step), int(path.stem)) for at, step in table[start:stop]]
    return sorted(found, key=lambda one: one.at_ns)


def _create(path: Path) -> NDArray[np.int64]:
    """The file under its name only once it has its full size: a reader may look at any moment."""
    hidden = path.with_suffix(".new")
    with open(hidden, "wb+") as file:
        file.truncate(_MOST * 16)
        mapped = mmap.mmap(file.fileno(), _MOST * 16)
    hidden.rename(path)
    return np.frombuffer(mapped, dtype=np.int64).reshape(-1, 2)


def _count(times: NDArray[np.int64]) -> int:
    """How many stamps there are: the times are all positive up to the first zero."""
    low, high = 0, len(times)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if times[middle] else (low, middle)
    return low
