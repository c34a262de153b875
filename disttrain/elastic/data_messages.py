"""What driver and workers say to each other of data: a part of `messages`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it brings torch
    from disttrain.data.bad_samples import Skip


@dataclass(frozen=True, slots=True)
class Portion:
    """One batch of a stream, as far as it was asked for: how many samples it holds, None where the epoch is over before it, and by virtual
    rank the numbers of the samples, or a handle of the cluster for the samples."""

    call: int
    phase: str
    epoch: int
    step: int
    ranks: tuple[int, int]
    count: int | None
    key: int = 0
    parts: Any = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """This worker comes to some steps of a stream soon, and computes the slices of these virtual ranks. Answered by a `Portion` each."""

    worker: str
    call: int
    phase: str
    epoch: int
    step: int
    steps: int
    ranks: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Skipped:
    """This worker could not make a sample; it stops, and nobody is to make it."""

    worker: str
    call: int
    skip: Skip
