"""Lower the learning rate when a value no longer improves."""

from __future__ import annotations

from typing import Any

from disttrain.callbacks.arguments import real_number, verbosity, whole_number
from disttrain.callbacks.base import Logs, from_json, to_json
from disttrain.callbacks.monitor import MonitorCallback
from disttrain.callbacks.progress_bar import note
from disttrain.callbacks.rates import named, rated, rates


class ReduceLROnPlateau(MonitorCallback):
    """Multiplies the learning rate by `factor` after `patience` epochs without an improvement.

    Args:
        monitor, mode, min_delta: see `MonitorCallback`.
        factor: below 1.
        patience: epochs to wait.
        verbose: 1 says what is set.
        cooldown: epochs after a reduction in which nothing is counted.
        min_lr: no lower than this.

    Puts `learning_rate`, as it was in the epoch, into the logs.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        self.factor = real_number(self, "factor", factor)
        if not 0 <= self.factor < 1:
            raise ValueError(
                f"ReduceLROnPlateau(factor={factor!r}): expected a number from 0 to below 1, which the learning rate is multiplied by."
            )
        self.min_lr = real_number(self, "min_lr", min_lr, "a learning rate, 0 or more")
        if self.min_lr < 0:
            raise ValueError(f"ReduceLROnPlateau(min_lr={min_lr!r}): expected a learning rate, 0 or more.")
        self.patience, self.cooldown = whole_number(self, "patience", patience), whole_number(self, "cooldown", cooldown)
        self.verbose = verbosity(self, verbose)
        self.cooldown_counter, self.wait = 0, 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best, self.cooldown_counter, self.wait = None, 0, 0

    def in_cooldown(self) -> bool:
        """Was the rate reduced less than `cooldown` epochs ago?"""
        return self.cooldown_counter > 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        self.find_direction(logs)
        logs.update(rates(self.model.optimizer))
        current = self.monitored(logs, "ReduceLROnPlateau")
        if current is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self.is_improvement(current, self.best):
            self.best, self.wait = current, 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        for name, optimizer in rated(self.model.optimizer).items():
            old = float(optimizer.learning_rate)
            if old <= self.min_lr:
                continue
            optimizer.learning_rate = new = max(old * self.factor, self.min_lr)
            self.cooldown_counter, self.wait = self.cooldown, 0
            if self.verbose:
                note(f"Epoch {epoch + 1}: ReduceLROnPlateau reducing {named(name)}learning rate to {new}.")

    def state_dict(self) -> dict[str, Any]:
        return {"best": to_json(self.best), "wait": self.wait, "cooldown_counter": self.cooldown_counter}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.wait, self.cooldown_counter = from_json(state["best"]), state["wait"], state["cooldown_counter"]
