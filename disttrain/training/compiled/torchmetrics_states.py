"""Torchmetrics in a step: what they hold is taken over slice by slice, and what is no sum is put together by their own rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from disttrain.metrics import TorchMetric


class TorchmetricsStates:
    """The torchmetrics of a call.

    Args:
        metrics: all metrics of the call.
        slices: of a batch.
        step_samples, phase_samples: of the largest batch and of the longest phase.

    Attributes:
        gathers: are there states that are no sums?
        step_size: numbers that a step needs for states that are no sums.
        phase_size: numbers that are kept of a phase.
    """

    def __init__(self, metrics: Sequence[Any], slices: int, step_samples: int, phase_samples: int) -> None:
        self.metrics = [metric for metric in metrics if isinstance(metric, TorchMetric)]
        self.step_samples, self._slices = step_samples, slices
        self._states = [state for metric in self.metrics for state in metric.gathered]
        self.gathers = bool(self._states)
        self._step_sizes = [state.size(slices, step_samples) for state in self._states]
        self._phase_sizes = [state.kept(phase_samples) for state in self._states]
        self.step_size, self.phase_size = sum(self._step_sizes), sum(self._phase_sizes)

    # -- a slice --------------------------------------------------------------------------------------------------------------------

    def begin_slice(self) -> None:
        """Nothing is measured yet, beside what the variables hold."""
        for metric in self.metrics:
            metric.begin_slice()

    def save(self) -> list[Any]:
        """What the running slice has, beside the variables; another one may go on."""
        return [metric.save() for metric in self.metrics]

    def restore(self, kept: list[Any]) -> None:
        """The inverse of `save`."""
        for metric, of_metric in zip(self.metrics, kept, strict=True):
            metric.restore(of_metric)

    def collect(self) -> None:
        """Let the variables hold what the slice gave to the metrics."""
        for metric in self.metrics:
            metric.collect()

    def write(self, target: Tensor, rank: int, rows: tuple[int, int, int]) -> None:
        """The slice's part of what is no sum into `target`, which is zero."""
        for state, part in zip(self._states, target.split(self._step_sizes), strict=True):
            state.write(part, rank, rows)

    # -- a step, a phase ------------------------------------------------------------------------------------------------------------

    def fold(self, kept: Tensor, step: Tensor, before: int, count: int) -> None:
        """Put a step of `count` samples, its slices added up, to what is `kept` of `before` samples."""
        slices = min(self._slices, count)
        for state, whole, part in zip(self._states, kept.split(self._phase_sizes), step.split(self._step_sizes), strict=True):
            state.fold(whole, part, slices, before, count)

    def read(self, kept: Tensor, count: int) -> None:
        """Let the next results be those of `count` samples, of which this is kept."""
        parts = iter(kept.split(self._phase_sizes))
        for metric in self.metrics:
            metric.read([next(parts) for _ in metric.gathered], count)
