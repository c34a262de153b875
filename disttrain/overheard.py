"""Who listens to what this command prints: what its streams have written is told to the listeners of the moment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str, bytes], None]  # the stream's name, what was written to it

_listeners: list[Listener] = []


@contextmanager
def overhearing(listener: Listener) -> Iterator[None]:
    """Inside the block, `listener` is told; it must not print."""
    _listeners.append(listener)
    os.register_at_fork(after_in_child=_listeners.clear)  # of a process that the script forks, nobody listens, and locks may be held
    try:
        yield
    finally:
        if listener in _listeners:
            _listeners.remove(listener)


def tell(stream: str, data: bytes) -> None:
    """`data` was written to `stream`."""
    for listener in tuple(_listeners):
        listener(stream, data)
