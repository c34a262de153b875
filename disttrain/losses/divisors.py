"""What a loss divides by where only the data tell: a count over the whole batch, of which a slice sees its part.

A batch is cut into slices, whose losses are added up, each times its share of the samples. A mean over samples comes out right by itself.
One over something else (tokens that are not ignored, weights of classes, steps that a mask leaves) needs the count of the batch: the pass
of every slice stops here until the counts are added up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Slice:
    """A slice whose pass is running.

    Args:
        total: the sum of a number over all slices.
        fraction: samples of this slice over samples of the batch.
    """

    total: Callable[[Tensor], Tensor]
    fraction: float


_running: ContextVar[Slice | None] = ContextVar("slice of a batch", default=None)
_slices = 0  # how many run, in all threads: what torch compiles can look at a number, not at a ContextVar
_counting = threading.Lock()


def is_whole() -> bool:
    """Is what runs here no slice, so that its own counts are those of the batch?"""
    return _slice() is None


def batch_divisor(count: Tensor | float, least: float | None = None) -> Tensor:
    """What to divide a sum over this slice by, so that the batch gets its sum over its count.

    Outside a training this is `count`. A loss of one's own whose divisor is no number of samples divides by this:

        loss = (values * mask).sum() / batch_divisor(mask.sum())

    Args:
        count: that of this slice; no gradient goes through it.
        least: the count of the batch is taken for at least this.
    """
    local = torch.as_tensor(count).detach()
    running = _slice()
    whole = local if running is None else running.total(local)
    if least is not None:
        whole = whole.clamp(min=least)
    return whole if running is None or running.fraction == 1.0 else whole * running.fraction


@contextmanager
def within_slice(of: Slice | None) -> Iterator[None]:
    """Let `batch_divisor` ask over all slices inside the block, in this thread; None leaves things as they are."""
    if of is None:
        yield
        return
    token = _running.set(of)
    _count(1)
    try:
        yield
    finally:
        _count(-1)
        _running.reset(token)


def _slice() -> Slice | None:
    return _running.get() if _slices else None


def _count(more: int) -> None:
    global _slices
    with _counting:
        _slices += more
