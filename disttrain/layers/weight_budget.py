"""A limit on the bytes of weights that a model read from a file may make: a small file must not ask for all memory."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


class _Budget(threading.local):
    left_bytes: int | None = None


_budget = _Budget()


@contextmanager
def weight_budget(limit_bytes: int) -> Iterator[None]:
    """Within the block, in this thread, `charge` refuses weights beyond `limit_bytes` in all."""
    before, _budget.left_bytes = _budget.left_bytes, limit_bytes
    try:
        yield
    finally:
        _budget.left_bytes = before


def reads_a_file() -> bool:
    """Is a model of a file being made in this thread, whose sizes are not to be believed?"""
    return _budget.left_bytes is not None


def charge(shape: Sequence[int], dtype: torch.dtype) -> None:
    """Count a weight about to be made.

    Raises:
        ValueError: the budget is spent.
    """
    if _budget.left_bytes is None:
        return
    _budget.left_bytes -= math.prod(shape) * dtype.itemsize
    if _budget.left_bytes < 0:
        raise ValueError(
            f"a weight of shape {tuple(shape)} is more than the file can hold.\n  expected  a config whose weights are in the same file"
        )
