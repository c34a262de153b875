"""What a call logs: names, the metrics behind them, and the sums that they are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from disttrain.training.compiled.metrics import bind, distinct, numbers
from disttrain.training.program import Kind
from disttrain.training.step.custom_step import CustomStep


class LogAccumulator:
    """The sums of a phase: means over samples, times samples; then the states of metrics.

    Args:
        means: what the default steps average: `loss`, the losses of outputs, what layers added by `add_metric`.
        compiled: the compiled metrics.
        own: metrics that the model and its layers hold.
        reported: those of `own` that are logged.
        scripts: steps of the script's own, by phase.

    Attributes:
        metrics: every metric, each once.
        width: how many numbers the means take, in every phase.
        states: how many the metrics' states take.
    """

    def __init__(
        self, means: Sequence[str], compiled: Any, own: Sequence[Any], reported: Sequence[Any], scripts: dict[Kind, CustomStep]
    ) -> None:
        self.means, self.compiled, self.reported, self.scripts = list(means), compiled, list(reported), scripts
        entries = [] if compiled is None else compiled.metrics
        self.metrics = distinct([*entries, *own])
        self.own = [metric for metric in self.metrics if not any(metric is entry for entry in entries)]
        self.width = max([len(self.means), *(len(script.means) for script in scripts.values())])
        self.states = sum(variable.numel() for variable in self._variables())

    def _variables(self) -> list[Tensor]:
        return distinct(variable for metric in self.metrics for variable in metric.variables)

    def bind(self, vector: Tensor) -> None:
        """Let the metrics keep their states in `vector`."""
        bind(self._variables(), vector)

    def results(self, phase: Kind, sums: Sequence[float], count: float) -> dict[str, Any]:
        """The logs of a phase, as Python numbers, for the sums of means over `count` samples and what the metrics hold now."""
        script = self.scripts.get(phase)
        with torch.no_grad():
            if script is not None:
                return numbers(script.results([value / count for value in sums[: len(script.means)]]))
            logs: dict[str, Any] = {name: value / count for name, value in zip(self.means, sums, strict=False)}
            if self.compiled is not None:
                logs.update(self.compiled.result())
            logs.update({metric.name: metric.result() for metric in self.reported})
            return numbers(logs)
