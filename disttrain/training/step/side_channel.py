"""What a slice contributes besides its gradients: sums of losses and metrics, changes of buffers, and what its worker asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

REQUESTS = ("save", "pause", "stop", "writing")  # what a worker may ask or tell all; summed with the step, so all see it at the same step

MARKS = 3  # of a part of a scripted step: its number, that squared, and the value that it brings


@dataclass(frozen=True, slots=True)
class SideChannelLayout:
    """Where the numbers of a side_channel, a float64 vector, lie.

    Args:
        means: of losses and other means over samples, each times the samples of the slice.
        states: of the variables of metrics.
        buffers: of the changes of the model's buffers.
        rows: of the model's row states.
        audits: that are 0 in the sum where workers agree.
        marks: that tell which part of a step of the script's own the workers are at.
        gathered: of the states of torchmetrics that are no sums, by slice or sample.
        moved: of the changes of parameters that a step of the script's own writes into.
    """

    means: int
    states: int
    buffers: int = 0
    rows: int = 0
    marks: int = 0
    gathered: int = 0
    moved: int = 0
    audits: int = 0

    @property
    def sums(self) -> int:
        """Means and states: what is added up over the steps of a phase."""
        return self.means + self.states

    @property
    def size(self) -> int:
        """All numbers."""
        return self.sums + self.buffers + self.rows + self.marks + self.gathered + self.moved + self.audits + len(REQUESTS)

    def states_of(self, side_channel: Tensor) -> Tensor:
        """The states of metrics, a view."""
        return side_channel[self.means : self.sums]

    def buffers_of(self, side_channel: Tensor) -> Tensor:
        """The changes of buffers, a view."""
        return side_channel[self.sums : self.sums + self.buffers]

    def rows_of(self, side_channel: Tensor) -> Tensor:
        """The row states, a view."""
        start = self.sums + self.buffers
        return side_channel[start : start + self.rows]

    def marks_of(self, side_channel: Tensor) -> Tensor:
        """The marks, a view."""
        start = self.sums + self.buffers + self.rows
        return side_channel[start : start + self.marks]

    def audits_of(self, side_channel: Tensor) -> Tensor:
        """The audits, a view."""
        start = self.sums + self.buffers + self.rows + self.marks + self.gathered + self.moved
        return side_channel[start : start + self.audits]

    def gathered_of(self, side_channel: Tensor) -> Tensor:
        """What is gathered of torchmetrics, a view."""
        start = self.sums + self.buffers + self.rows + self.marks
        return side_channel[start : start + self.gathered]

    def moved_of(self, side_channel: Tensor) -> Tensor:
        """The changes of those parameters, a view."""
        start = self.sums + self.buffers + self.rows + self.marks + self.gathered
        return side_channel[start : start + self.moved]

    def request(self, side_channel: Tensor, requests: Sequence[bool]) -> None:
        """Write what this worker asks for."""
        for number, wanted in enumerate(requests):
            side_channel[self.size - len(REQUESTS) + number] = float(wanted)

    def agreed(self, side_channel: Tensor) -> tuple[bool, ...]:
        """What any worker asked for."""
        return tuple(request > 0 for request in side_channel[self.size - len(REQUESTS) : self.size].tolist())

    def read(self, side_channel: Tensor) -> tuple[float, tuple[bool, ...]]:
        """(the sum of the losses, what any worker asked for), in one copy: for numbers on a GPU the host waits."""
        loss, *requests = torch.cat([side_channel[:1], side_channel[self.size - len(REQUESTS) : self.size]]).tolist()
        return loss, tuple(request > 0 for request in requests)
