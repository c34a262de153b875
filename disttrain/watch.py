"""Telling a launch that somebody is about to look at the state: the newest is on the workers, and is fetched then and only then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

What = Literal["weights", "slots"]


class _Watch(threading.local):
    """Of each thread its own: who looks from another one than the callbacks' sees what is there, and two fits do not meet here."""

    on_read: Callable[[What], None] | None = None


_watch = _Watch()


def on_read(action: Callable[[What], None] | None) -> None:
    """Call `action` before weights, or slots of an optimizer, are read or written in this thread outside a training step; None to stop."""
    _watch.on_read = action


def sync_before_read(what: What = "weights") -> None:
    """Something is about to be read or written."""
    action = _watch.on_read
    if action is not None:
        action(what)
