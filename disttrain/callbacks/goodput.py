"""How much of the time went into training, and what took the rest."""

from __future__ import annotations

from disttrain.callbacks.arguments import verbosity
from disttrain.callbacks.base import Callback, Logs
from disttrain.callbacks.progress_bar import note
from disttrain.telemetry import Health

_PARTS = {"recovery": "losses of workers", "save": "checkpoints", "data": "waiting for data", "callback": "callbacks"}


class Goodput(Callback):
    """Puts `goodput`, the share of the time so far that went into training steps, from 0 to 1, into the logs of each epoch.

    Put it before callbacks that are to see it; History sees it anywhere.

    Args:
        verbose: 1 prints a summary at the end: `Goodput 97.5 % of 812 s: losses of workers 1.2 % (2), checkpoints 0.3 % (9), ...`.
        parts: also `goodput/recovery_seconds`, `goodput/save_seconds`, `goodput/data_seconds` and `goodput/callback_seconds`.
    """

    def __init__(self, verbose: int = 1, parts: bool = False) -> None:
        super().__init__()
        self.verbose, self.parts = verbosity(self, verbose), bool(parts)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is None or self.telemetry is None:
            return
        health = self.telemetry.health()
        logs["goodput"] = health.goodput
        if self.parts:
            logs.update({f"goodput/{part}_seconds": float(getattr(health, f"{part}_seconds")) for part in _PARTS})

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.verbose and self.telemetry is not None:
            note(summary(self.telemetry.health()))


def summary(health: Health) -> str:
    """One line: the goodput, and each thing that took time, in percent of it, the largest first.

    Example:
        >>> summary(Health(elapsed_seconds=200.0, recovery_seconds=10.0, save_seconds=2.0))
        'Goodput 94.0 % of 200 s: losses of workers 5.0 % (0), checkpoints 1.0 % (0).'
    """
    elapsed_s = health.elapsed_seconds
    counts = {
        "recovery": f" ({health.earlier_recoveries + len(health.recoveries)})",
        "save": f" ({health.earlier_saves + len(health.saves)})",
    }
    lost = sorted(((float(getattr(health, f"{part}_seconds")), part) for part in _PARTS), reverse=True)
    shares = [
        f"{_PARTS[part]} {100 * seconds / elapsed_s:.1f} %{counts.get(part, '')}" for seconds, part in lost if seconds > 0 < elapsed_s
    ]
    return f"Goodput {100 * health.goodput:.1f} % of {elapsed_s:.0f} s: {', '.join(shares) or 'nothing was lost'}."
