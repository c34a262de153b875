"""A debugger's prompt at the terminal: what other threads have to say waits until it is closed, or it would stand amid what is typed."""

from __future__ import annotations

import sys
import threading
from types import FrameType

_lock = threading.Lock()
_held: list[str] = []


def to_say(text: str | None = None) -> list[str]:
    """What may be printed now: `text` after all that was held back; nothing while a prompt is open."""
    with _lock:
        if text is not None:
            _held.append(text)
        if prompt_is_open():
            return []
        lines, _held[:] = _held[:], []
        return lines


def prompt_is_open() -> bool:
    """Does the main thread wait for a command to a debugger (pdb, and what is built on it)? What it says itself is an answer."""
    if "pdb" not in sys.modules or threading.current_thread() is threading.main_thread():
        return False
    frame: FrameType | None = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_code.co_name == "cmdloop" and frame.f_globals.get("__name__") == "cmd":
            return True
        frame = frame.f_back
    return False
