"""What callbacks keep as of one moment, held cheaply until somebody asks for it: at each boundary it is captured, and few are saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from disttrain.callbacks.base import Callback


def capture(callback: Callback) -> Callable[[], dict[str, Any]]:
    """What `callback.state_dict()` gives now, as a function that gives it later, a copy each time."""
    if _is_for(callback, "capture_state", "state_dict"):
        return callback.capture_state()
    return Callback.capture_state(callback)


def capture_arrays(callback: Callback) -> dict[str, np.ndarray]:
    """What `callback.state_arrays()` gives now, whatever the callback changes afterwards."""
    if _is_for(callback, "capture_arrays", "state_arrays"):
        return callback.capture_arrays()
    return Callback.capture_arrays(callback)


def _is_for(callback: Callback, capturing: str, state: str) -> bool:
    """Was it written for this state? A subclass may override the state alone, and what it adds must be captured too."""
    if state in vars(callback):
        return False
    owner = next(cls for cls in type(callback).__mro__ if capturing in vars(cls) or state in vars(cls))
    return capturing in vars(owner)
