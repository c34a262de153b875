"""Telling a launch that somebody is about to look at weights: the newest ones are on the workers, and are fetched then and only then."""

from __future__ import annotations

from collections.abc import Callable

_on_look: Callable[[], None] | None = None


def on_look(action: Callable[[], None] | None) -> None:
    """Call `action` before weights are read or written from outside a training step; None to stop."""
    global _on_look
    _on_look = action


def look() -> None:
    """Weights are about to be read or written."""
    if _on_look is not None:
        _on_look()
