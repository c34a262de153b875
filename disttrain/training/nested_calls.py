"""Calls that a callback makes have numbers of their own, by where they are made: the same in every process and after every restart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from disttrain.seeds import fold_in


@dataclass
class _Place:
    """The hooks of a boundary, and how many calls they have made."""

    key: int
    calls: int = 0


_place: ContextVar[_Place | None] = ContextVar("place of nested calls", default=None)  # hooks of another thread are none of ours


@contextmanager
def inside_hooks(key: int, tick: int) -> Iterator[None]:
    """Within the block, in this thread, calls are those of the hooks at `tick` of the call that `key` belongs to."""
    before = _place.set(_Place(fold_in(key, "hooks", tick + 1)))
    try:
        yield
    finally:
        _place.reset(before)


def next_nested_call() -> int | None:
    """The number of the next call; None where no hook makes it, so that it is one of the script's own."""
    place = _place.get()
    if place is None:
        return None
    place.calls += 1
    return fold_in(place.key, place.calls)
