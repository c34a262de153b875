"""Telling a launch that somebody is about to look at the state: the newest is on the workers, and is fetched then and only then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

What = Literal["weights", "slots"]

_on_read: Callable[[What], None] | None = None


def on_read(action: Callable[[What], None] | None) -> None:
    """Call `action` before weights, or slots of an optimizer, are read or written from outside a training step; None to stop."""
    global _on_read
    _on_read = action


def sync_before_read(what: What = "weights") -> None:
    """Something is about to be read or written."""
    if _on_read is not None:
        _on_read(what)
