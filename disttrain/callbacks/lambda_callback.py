"""A callback from functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from disttrain.callbacks.arguments import function, nearest
from disttrain.callbacks.base import HOOKS, Callback

Hook = Callable[..., Any] | None
_ARGUMENTS = {"epoch": "epoch, logs", "batch": "batch, logs"}  # by the word before _begin and _end


class LambdaCallback(Callback):
    """Calls the functions it is given, by the names of the hooks: `LambdaCallback(on_epoch_end=lambda epoch, logs: print(logs))`.

    Functions for epochs and batches take `(epoch, logs)` or `(batch, logs)`, the others `(logs)`.

    What is given by another name becomes an attribute of that name.

    Raises:
        ValueError: a name that begins as a hook does and is none; the valid ones are listed, nearest first.
    """

    def __init__(
        self,
        on_epoch_begin: Hook = None,
        on_epoch_end: Hook = None,
        on_train_begin: Hook = None,
        on_train_end: Hook = None,
        on_train_batch_begin: Hook = None,
        on_train_batch_end: Hook = None,
        **hooks: Hook,
    ) -> None:
        super().__init__()
        hooks = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **hooks,
        }
        for name, hook in hooks.items():
            if name not in HOOKS and not name.startswith("on_"):
                setattr(self, name, hook)
                continue
            if name not in HOOKS:
                raise ValueError(f"LambdaCallback({name}=...): no such hook.\n  expected  one of {nearest(name, HOOKS)}, nearest first")
            if hook is not None:
                setattr(self, name, function(self, name, hook, f"{name}({_ARGUMENTS.get(name.split('_')[-2], 'logs')})"))
