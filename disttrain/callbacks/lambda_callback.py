"""A callback from functions."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from disttrain.callbacks.base import HOOKS, Callback


class LambdaCallback(Callback):
    """Calls the functions it is given, by the names of the hooks: `LambdaCallback(on_epoch_end=lambda epoch, logs: print(logs))`.

    Functions for epochs and batches take `(epoch, logs)` or `(batch, logs)`, the others `(logs)`.

    Raises:
        ValueError: there is no hook of that name; the valid ones are listed, nearest first.
    """

    def __init__(self, **hooks: Callable[..., Any] | None) -> None:
        super().__init__()
        for name, function in hooks.items():
            if name not in HOOKS:
                nearest = difflib.get_close_matches(name, HOOKS, n=len(HOOKS), cutoff=0.0)
                raise ValueError(f"LambdaCallback({name}=...): no such hook.\n  expected  one of {', '.join(nearest)}, nearest first")
            if function is not None:
                setattr(self, name, function)
