"""Telling a launch that somebody is about to look at the state: the newest is on the workers, and is fetched then and only then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

What = Literal["weights", "slots"]

_on_look: Callable[[What], None] | None = None


def on_look(action: Callable[[What], None] | None) -> None:
    """Call `action` before weights, or slots of an optimizer, are read or written from outside a training step; None to stop."""
    global _on_look
    _on_look = action


def look(what: What = "weights") -> None:
    """Something is about to be read or written."""
    if _on_look is not None:
        _on_look(what)
