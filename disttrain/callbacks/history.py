"""What `fit` returns: the logs of every epoch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from disttrain.callbacks.base import Callback, Logs, from_json, to_json


class History(Callback):
    """Records the logs of each epoch.

    Attributes:
        history: for each name, in sorted order, a list with a number for each epoch.
        epoch: the epochs, counted from `initial_epoch`.

    Example:
        >>> history = History()
        >>> history.on_train_begin()
        >>> history.on_epoch_end(0, {"loss": 0.5, "accuracy": 0.8})
        >>> history.history
        {'accuracy': [0.8], 'loss': [0.5]}
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
        self.history = dict(sorted(self.history.items()))
        if self.model is not None:
            self.model.history = self

    def state_dict(self) -> dict[str, Any]:
        return {"history": {name: to_json(values) for name, values in self.history.items()}, "epoch": list(self.epoch)}

    def capture_state(self) -> Callable[[], dict[str, Any]]:
        """By the lengths of the lists, which only grow: a boundary after many epochs costs what the first one did."""
        kept = {name: (values, len(values)) if isinstance(values, list) else copy.deepcopy(values) for name, values in self.history.items()}
        epoch, count = self.epoch, len(self.epoch)

        def state() -> dict[str, Any]:
            history = {name: to_json(entry[0][: entry[1]] if isinstance(entry, tuple) else entry) for name, entry in kept.items()}
            return {"history": history, "epoch": epoch[:count]}

        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = {name: from_json(values) for name, values in state["history"].items()}
        self.epoch = list(state["epoch"])
