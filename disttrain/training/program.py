"""What a call does, tick by tick. Pure.

A *tick* is the unit that is completed or redone as a whole: a training step, a validation step, or a boundary, at which the workers wait
for the callbacks. Every worker stops between ticks, so its state is that of some tick and nothing in between.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from disttrain.data import BatchPlan


class Kind(enum.Enum):
    """What a tick is."""

    TRAIN = "train"
    VALIDATE = "validate"  # also the steps of evaluate
    PREDICT = "predict"
    BATCH_BOUNDARY = "batch boundary"  # after a step, where a callback asked to see every batch
    TEST_BOUNDARY = "test boundary"  # before validation, where a callback has a say in it
    EPOCH_BOUNDARY = "epoch boundary"
    END = "end"


BOUNDARIES = frozenset({Kind.BATCH_BOUNDARY, Kind.TEST_BOUNDARY, Kind.EPOCH_BOUNDARY})


@dataclass(frozen=True, slots=True)
class Position:
    """A tick, and where it lies: `step` counts within the phase of the epoch, from 0; `phase` is what a batch boundary follows."""

    tick: int
    kind: Kind
    epoch: int
    step: int
    phase: Kind


@dataclass(frozen=True)
class Program:
    """The ticks of one call of fit, evaluate or predict.

    Args:
        plans: (phase, plan) of an epoch: TRAIN and perhaps VALIDATE for fit; VALIDATE for evaluate; PREDICT for predict.
        initial_epoch, epochs: the first epoch and the one after the last, as in Keras.
        validation_freq: validate after every so many epochs, or after the epochs listed (counted from 1).
        every_batch: phases in which steps are followed by boundaries.
        batches_per_hook: how many steps lie between two of those, 1 or more; Keras's steps_per_execution.
        before_validation: a boundary lies before the validation of an epoch.
    """

    plans: tuple[tuple[Kind, BatchPlan], ...]
    initial_epoch: int = 0
    epochs: int = 1
    validation_freq: int | Sequence[int] = 1
    every_batch: frozenset[Kind] = frozenset()
    boundaries: bool = True
    batches_per_hook: int = 1
    before_validation: bool = False
    _starts: list[int] = field(init=False, repr=False, compare=False)
    _plans: dict[Kind, BatchPlan] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_plans", dict(self.plans))
        starts = [0]
        for epoch in range(self.initial_epoch, self.epochs):
            starts.append(starts[-1] + sum(self._ticks_of(kind) for kind, _ in self._phases(epoch)) + self.boundaries)
        object.__setattr__(self, "_starts", starts)

    @property
    def ticks(self) -> int:
        """How many ticks the call takes when nothing stops it early."""
        return self._starts[-1]

    @property
    def key(self) -> int:
        """What tells this call from the others of a script: the seed of its first phase."""
        return self.plans[0][1].seed

    def plan(self, phase: Kind) -> BatchPlan:
        """The batches of a phase."""
        return self._plans[phase]

    def validates(self, epoch: int) -> bool:
        """Is this epoch followed by validation?"""
        number = epoch + 1
        return number % self.validation_freq == 0 if isinstance(self.validation_freq, int) else number in self.validation_freq

    def at(self, tick: int) -> Position:
        """What tick number `tick` is; END from the last one on."""
        if tick >= self.ticks:
            return Position(tick, Kind.END, self.epochs, 0, Kind.END)
        number = bisect_right(self._starts, tick) - 1
        epoch = self.initial_epoch + number
        left = tick - self._starts[number]
        for kind, _ in self._phases(epoch):
            ticks = self._ticks_of(kind)
            if left < ticks:
                if self._opens(kind):
                    if left == 0:
                        return Position(tick, Kind.TEST_BOUNDARY, epoch, 0, Kind.TEST_BOUNDARY)
                    left, ticks = left - 1, ticks - 1
                if kind not in self.every_batch:
                    return Position(tick, kind, epoch, left, kind)
                group, within = divmod(left, self.batches_per_hook + 1)
                if within == self.batches_per_hook or left == ticks - 1:
                    return Position(tick, Kind.BATCH_BOUNDARY, epoch, left - group - 1, kind)
                return Position(tick, kind, epoch, left - group, kind)
            left -= ticks
        return Position(tick, Kind.EPOCH_BOUNDARY, epoch, 0, Kind.EPOCH_BOUNDARY)

    def next_step(self, tick: int) -> tuple[int, int] | None:
        """(epoch, step) of the training step that comes next, from a tick on; None where none does."""
        position = self.at(tick)
        if position.phase is Kind.TRAIN:
            return position.epoch, position.step + (position.kind is Kind.BATCH_BOUNDARY)
        following = position.epoch + 1
        return None if position.kind is Kind.END or following >= self.epochs else (following, 0)

    def tick_of(self, epoch: int, step: int) -> int:
        """The tick of a step of the first phase of an epoch; that of its end, for a step behind the last."""
        if epoch >= self.epochs:
            return self.ticks
        kind, plan = self.plans[0]
        start = self._starts[max(0, epoch - self.initial_epoch)]
        if step >= plan.steps:
            return start + self._ticks_of(kind)
        return start + step + (step // self.batches_per_hook if kind in self.every_batch else 0)

    def after_phase(self, position: Position) -> int:
        """The tick that follows the phase that `position` lies in: where a stop in the middle of an epoch goes on."""
        tick = self._starts[position.epoch - self.initial_epoch]
        for kind, _ in self._phases(position.epoch):
            tick += self._ticks_of(kind)
            if kind is position.phase:
                return tick
        return tick

    def _phases(self, epoch: int) -> Sequence[tuple[Kind, BatchPlan]]:
        if len(self.plans) == 1:
            return self.plans
        training = any(kind is Kind.TRAIN for kind, _ in self.plans)
        return [(kind, plan) for kind, plan in self.plans if not (training and kind is Kind.VALIDATE and not self.validates(epoch))]

    def _ticks_of(self, kind: Kind) -> int:
        steps = self.plan(kind).steps
        return steps + (-(-steps // self.batches_per_hook) if kind in self.every_batch else 0) + self._opens(kind)

    def _opens(self, kind: Kind) -> bool:
        """Does a boundary lie before this phase?"""
        return self.before_validation and kind is Kind.VALIDATE
