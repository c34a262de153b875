"""A learning rate for each epoch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from disttrain.callbacks.arguments import function, verbosity
from disttrain.callbacks.base import Callback, Logs
from disttrain.callbacks.progress_bar import note


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch to `schedule(epoch, learning_rate)`, or `schedule(epoch)` if it takes one argument.

    Args:
        schedule: gives a float; epochs count from 0.
        verbose: 1 says what is set.

    Puts `learning_rate` into the logs of the epoch.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        self.schedule = function(self, "schedule", schedule, "schedule(epoch, learning_rate) or schedule(epoch)")
        self.verbose = verbosity(self, verbose)
        self._last: tuple[int, float] | None = None  # the epoch whose rate was set, and the rate

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._last = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        if self._last is not None and self._last[0] == epoch:  # resumed within the epoch: asking again would reduce twice
            optimizer.learning_rate = self._last[1]
            return
        rate = self.schedule(epoch, float(optimizer.learning_rate)) if self._takes_rate() else self.schedule(epoch)
        if not isinstance(rate, float):  # NumPy's float64 is one
            item = getattr(rate, "item", None)
            rate = item() if item is not None else rate
        if not isinstance(rate, float):
            raise ValueError(f"LearningRateScheduler: schedule({epoch}) gave {rate!r}; expected a float.")
        optimizer.learning_rate = rate
        self._last = (epoch, rate)
        if self.verbose:
            note(f"Epoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)

    def state_dict(self) -> dict[str, Any]:
        return {"last": None if self._last is None else list(self._last)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._last = None if state["last"] is None else (state["last"][0], state["last"][1])

    def _takes_rate(self) -> bool:
        """Asked of the signature: a TypeError from inside the schedule must not be taken for an answer."""
        try:
            inspect.signature(self.schedule).bind(0, 0.0)
        except TypeError:
            return False
        except ValueError:  # a builtin without a signature
            return True
        return True
