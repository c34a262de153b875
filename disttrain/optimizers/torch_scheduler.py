"""A scheduler of torch's: its counters in JSON types, and one step of it."""

from __future__ import annotations

import warnings
from typing import Any

from torch.optim import lr_scheduler

from disttrain.errors import UsageError
from disttrain.optimizers.plain_values import like, plain_dict


class TorchScheduler:
    """A scheduler of torch's with its counters in JSON types.

    Args:
        scheduler: torch's.
    """

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler

    def state_dict(self) -> dict[str, Any]:
        """What it counts; functions are left out."""
        return plain_dict(self.scheduler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.scheduler.load_state_dict(like(self.scheduler.state_dict(), state))

    def step(self, value: float | None) -> None:
        """One step of it, by a measured value if it is given one."""
        with warnings.catch_warnings():  # whether updates come first is seen where the script calls it
            warnings.simplefilter("ignore", UserWarning)
            type(self.scheduler).step(self.scheduler, *(() if value is None else (value,)))


def check_scheduler(scheduler: Any, optimizer: Any) -> None:
    """Raise UsageError for what cannot step after each update of `optimizer`."""
    name = type(scheduler).__name__
    if not isinstance(scheduler, lr_scheduler.LRScheduler):
        raise UsageError(
            f"scheduler={scheduler!r}: expected a scheduler of torch.optim.lr_scheduler, or one built on those.\n"
            "  try       LambdaLR(optimizer, function)"
        )
    if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
        raise UsageError(
            "ReduceLROnPlateau waits for a measured value, which there is at the end of an epoch.\n"
            "  try       callbacks=[dt.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: scheduler.step(logs['val_loss']))]"
        )
    if scheduler.optimizer is not optimizer:
        raise UsageError(f"scheduler={name}(...) is that of another optimizer.\n  expected  one made with the optimizer beside it")
