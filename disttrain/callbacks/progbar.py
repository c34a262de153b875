"""A progress bar for loops of one's own, as `keras.utils.Progbar`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from disttrain.callbacks.progress_bar import ProgressBar


class Progbar:
    """Shows how far a loop is, with the means of what it is told.

    Args:
        target: how many steps there will be; None if unknown.
        width, interval: change nothing.
        verbose: 0 for nothing, 1 for a bar, 2 for one line at the end.
        stateful_metrics: names of values that are shown as they are; all others are averaged over the steps.
        stateless_metrics: instead, names of values that are averaged; all others are shown as they are.
        unit_name: changes nothing.

    Example:
        >>> bar = Progbar(5, verbose=0)
        >>> bar.update(1, [("loss", 3.0)])
        >>> bar.add(2, [("loss", 0.0)])
        >>> bar.means()
        {'loss': 1.0}
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
        stateless_metrics: Iterable[str] | None = None,
        unit_name: str = "step",
    ) -> None:
        if stateful_metrics is not None and stateless_metrics is not None:
            raise ValueError("Progbar: expected stateful_metrics or stateless_metrics, not both.")
        self.target, self.verbose, self.unit_name = target, verbose, unit_name
        self.width, self.interval = width, interval
        self._as_they_are = set(stateful_metrics or ())
        self._averaged = None if stateless_metrics is None else set(stateless_metrics)
        self._sums: dict[str, tuple[float, float]] = {}
        self._seen = 0
        self._bar: ProgressBar | None = None

    def update(self, current: int, values: Iterable[tuple[str, Any]] | None = None, finalize: bool | None = None) -> None:
        """Show that `current` steps are done.

        Args:
            values: (name, value of the last steps) each.
            finalize: is it the end? Unless told, where `target` is reached; then values are shown as they are.
        """
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        steps = max(current - self._seen, 1)
        for name, value in values or ():
            number = float(np.mean(value.detach().cpu() if hasattr(value, "detach") else value))
            averaged = name not in self._as_they_are if self._averaged is None else name in self._averaged
            total, weight = self._sums.get(name, (0.0, 0.0)) if averaged and not finalize else (0.0, 0.0)
            share = steps if averaged and not finalize else 1
            self._sums[name] = (total + number * share, weight + share)
        self._seen = current
        if not self.verbose:
            return
        if self._bar is None:
            self._bar = ProgressBar(self.target, plain=self.verbose == 2)
            self._bar.start()
        self._bar.update(current, self.means())
        if finalize:
            self._bar.finish(self.means())
            self._bar = None

    def add(self, n: int, values: Iterable[tuple[str, Any]] | None = None) -> None:
        """Show that `n` more steps are done."""
        self.update(self._seen + n, values)

    def means(self) -> dict[str, float]:
        """What is shown of each value."""
        return {name: total / weight for name, (total, weight) in self._sums.items()}
