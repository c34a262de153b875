"""Names of layers: snake_case of the class, numbered per class in this process, as Keras does."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from disttrain.identifiers import to_snake_case

_counts: dict[str, int] = defaultdict(int)


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.building: list[str] = []


_thread = _OfThread()


def auto_name(class_name: str) -> str:
    """The next name for an object of a class: `dense`, `dense_1`, `dense_2`, ..."""
    prefix = to_snake_case(class_name)
    number = _counts[prefix]
    _counts[prefix] += 1
    return f"{prefix}_{number}" if number else prefix


def clear_session() -> None:
    """Start counting names afresh, as in a new process."""
    _counts.clear()


@contextmanager
def building(name: str) -> Iterator[None]:
    """Within the block, the weights that are made belong to a layer of this name."""
    _thread.building.append(name)
    try:
        yield
    finally:
        _thread.building.pop()


def scope_of(name: str) -> str:
    """The names of the layers that are being built, one within the other, down to the one called `name`, with slashes between."""
    around = _thread.building
    return "/".join(around if around and around[-1] == name else [*around, name])
