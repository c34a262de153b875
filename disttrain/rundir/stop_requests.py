"""Asking a run to stop through its directory: from any machine that sees its storage, by whoever may write there.

stop/a0003                      to the driver of attempt 3: "once" finishes a step and keeps it, "now" does not wait
"""

from __future__ import annotations

from disttrain.checkpoint import Store

FOLDER = "stop"
_TIMES = {b"once": 1, b"now": 2}  # as often as Ctrl-C


def ask_to_stop(store: Store, attempt: int, *, now: bool = False) -> None:
    """Ask the driver of that attempt, which looks every second."""
    store.put(_path(attempt), b"now" if now else b"once")


def asked_to_stop(store: Store, attempt: int) -> int:
    """How often the driver of that attempt has been asked, as with Ctrl-C: 0, 1 or 2."""
    try:
        return _TIMES.get(store.read(_path(attempt), stop=16), 0)
    except FileNotFoundError:
        return 0


def _path(attempt: int) -> str:
    return f"{FOLDER}/a{attempt:04d}"
