"""A learning rate for each epoch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from disttrain.callbacks.arguments import function, verbosity
from disttrain.callbacks.base import Callback, Logs
from disttrain.callbacks.progress_bar import note
from disttrain.callbacks.rates import named, rated, rates


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch to `schedule(epoch, learning_rate)`, or `schedule(epoch)` if it takes one argument.

    Args:
        schedule: gives a float; epochs count from 0.
        verbose: 1 says what is set.

    Puts `learning_rate` into the logs of the epoch. The optimizers within a MultiOptimizer are set one by one, each from its own rate.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        self.schedule = function(self, "schedule", schedule, "schedule(epoch, learning_rate) or schedule(epoch)")
        self.verbose = verbosity(self, verbose)
        self._last: tuple[int, dict[str, float]] | None = None  # the epoch whose rates were set, and the rates by name

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._last = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizers = rated(self.model.optimizer)
        if self._last is not None and self._last[0] == epoch:  # resumed within the epoch: asking again would reduce twice
            for name, rate in self._last[1].items():
                optimizers[name].learning_rate = rate
            return
        found = {name: self._asked(epoch, optimizer) for name, optimizer in optimizers.items()}
        for name, rate in found.items():
            optimizers[name].learning_rate = rate
            if self.verbose:
                note(f"Epoch {epoch + 1}: LearningRateScheduler setting {named(name)}learning rate to {rate}.")
        self._last = (epoch, found)

    def _asked(self, epoch: int, optimizer: Any) -> float:
        rate = self.schedule(epoch, float(optimizer.learning_rate)) if self._takes_rate() else self.schedule(epoch)
        if not isinstance(rate, float):  # NumPy's float64 is one
            item = getattr(rate, "item", None)
            rate = item() if item is not None else rate
        if not isinstance(rate, float):
            raise ValueError(f"LearningRateScheduler: schedule({epoch}) gave {rate!r}; expected a float.")
        return rate

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs.update(rates(self.model.optimizer))

    def state_dict(self) -> dict[str, Any]:
        return {"last": None if self._last is None else list(self._last)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        last = state["last"]
        self._last = None if last is None else (last[0], dict(last[1]) if isinstance(last[1], dict) else {"learning_rate": last[1]})

    def _takes_rate(self) -> bool:
        """Asked of the signature: a TypeError from inside the schedule must not be taken for an answer."""
        try:
            inspect.signature(self.schedule).bind(0, 0.0)
        except TypeError:
            return False
        except ValueError:  # a builtin without a signature
            return True
        return True
