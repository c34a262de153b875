"""Where the batches of streams come in on a worker: it asks the driver's reader for the slices of some steps ahead, and waits for none
longer than its generation lasts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from disttrain.collectives import GroupBroken
from disttrain.data import StreamPlan
from disttrain.elastic import messages as m
from disttrain.elastic.shipping import Shipment, unpack
from disttrain.training.job import Job

_AHEAD_NUMBERS = 64  # steps whose samples are made here: their numbers cost nothing
_AHEAD_SAMPLES = 4  # steps whose samples travel
_LOOK_S = 0.05  # how often a wait looks at the flag of its generation

Place = tuple[int, int]  # epoch, step
During = Callable[[str], AbstractContextManager[None]]


class Inlets:
    """Those of a worker, for one call after the other.

    Args:
        report: takes what is asked for.
        open_parts: turns the handle in `Portion` into the slices.
        during: says what the worker does while it waits.
    """

    def __init__(
        self, worker: str, report: Callable[[object], None], open_parts: Callable[[Any], Any], during: During
    ) -> None:  # fmt: skip
        self._worker, self._report, self._open, self._during = worker, report, open_parts, during
        self._inlets: dict[str, _Inlet] = {}
        self._call = -1

    def begin(self, call: int, job: Job) -> None:
        """Streams of this job come in from now on."""
        self.cancel()
        self._call, self._inlets = call, {}
        for kind, plan in job.program.plans:
            if isinstance(plan, StreamPlan):
                inlet = _Inlet(self._ask, self._open, self._during, kind.value, plan)
                plan.connect(inlet)
                self._inlets[kind.value] = inlet

    def form(self, ranks: tuple[int, int], aborted: threading.Event) -> None:
        """A generation in which slices of these virtual ranks are computed here."""
        for inlet in self._inlets.values():
            inlet.form(ranks, aborted)

    def heard(self, command: object) -> bool:
        """Take what came, if it is for streams, and wait no more where the call has been given up; from any thread."""
        if isinstance(command, m.Begin | m.Leave):
            self.cancel()
        if not isinstance(command, m.Portion):
            return False
        inlet = self._inlets.get(command.phase)
        if command.call == self._call and inlet is not None:
            inlet.take(command)
        return True

    def cancel(self) -> None:
        """Nobody waits any more; from any thread."""
        for inlet in list(self._inlets.values()):
            inlet.cancel()

    def _ask(self, phase: str, epoch: int, step: int, steps: int, ranks: tuple[int, int]) -> None:
        self._report(m.Wanted(self._worker, self._call, phase, epoch, step, steps, ranks))


class _Inlet:
    """Of one phase; see `disttrain.data.stream_plan.Inlet`."""

    def __init__(
        self, ask: Callable[..., None], open_parts: Callable[[Any], Any], during: During, phase: str,
        plan: StreamPlan,
    ) -> None:  # fmt: skip
        self._ask, self._open, self._during, self._phase, self._plan = ask, open_parts, during, phase, plan
        self._ahead = _AHEAD_SAMPLES if plan.brings_samples else _AHEAD_NUMBERS
        self._keeps = 0 if plan.brings_samples else _AHEAD_NUMBERS  # steps behind, for who reads ahead of those that are computed
        self._here: dict[Place, m.Portion] = {}
        self._opened: dict[Place, dict[int, Any]] = {}
        self._ends: dict[int, int] = {}  # by epoch, the step that is not there
        self._asked = (-1, 0, 0)  # epoch, first step, the one after the last
        self._ranks = (0, 0)
        self._aborted = threading.Event()
        self._cancelled = False
        self._changed = threading.Condition()

    def form(self, ranks: tuple[int, int], aborted: threading.Event) -> None:
        with self._changed:
            if ranks != self._ranks:
                self._ranks = ranks
                self._here, self._opened, self._asked = {}, {}, (-1, 0, 0)
            self._aborted = aborted

    def take(self, portion: m.Portion) -> None:
        with self._changed:
            if portion.ranks == self._ranks:
                self._here[portion.epoch, portion.step] = portion
                if portion.count is None:
                    self._ends[portion.epoch] = portion.step
                self._changed.notify_all()

    def cancel(self) -> None:
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()

    def is_here(self, epoch: int, step: int) -> bool:
        self._want(epoch, step)
        return (epoch, step) in self._here or step >= self._ends.get(epoch, step + 1)

    def count(self, epoch: int, step: int) -> int | None:
        if step >= self._ends.get(epoch, step + 1):
            return None
        return self._portion(epoch, step).count

    def key(self, epoch: int, step: int) -> int:
        return self._portion(epoch, step).key

    def part(self, epoch: int, step: int, virtual_rank: int) -> Any:
        place = epoch, step
        if place not in self._opened:
            parts = self._portion(epoch, step).parts
            if self._plan.brings_samples:
                parts = unpack(parts) if isinstance(parts, Shipment) else self._open(parts)
            self._opened[place] = parts
        part = self._opened[place][virtual_rank]
        return np.asarray(part, dtype=np.int64) if not self._plan.brings_samples else part

    def _portion(self, epoch: int, step: int) -> m.Portion:
        self._want(epoch, step)
        place = epoch, step
        if place not in self._here:
            with self._during("waiting for data"):
                self._wait_for(place)
        self._let_go_before(epoch, step - self._keeps)
        return self._here[place]

    def _wait_for(self, place: Place) -> None:
        with self._changed:
            while place not in self._here:
                if self._aborted.is_set() or self._cancelled:
                    raise GroupBroken("told to")
                self._changed.wait(_LOOK_S)

    def _let_go_before(self, epoch: int, step: int) -> None:
        asked_epoch, first, stop = self._asked
        if asked_epoch == epoch and first < step:
            self._asked = epoch, step, stop  # whoever goes back to before it asks again
        for place in [place for place in list(self._here) if place < (epoch, step)]:
            self._here.pop(place, None)
            self._opened.pop(place, None)

    def _want(self, epoch: int, step: int) -> None:
        """Ask for this step and some that follow, in time and not one by one."""
        asked_epoch, first, stop = self._asked
        until = min(step + self._ahead, self._plan.steps, self._ends.get(epoch, self._plan.steps) + 1)
        if epoch == asked_epoch and first <= step <= stop:
            if stop - step > self._ahead // 2 or until <= stop:
                return
            begin = stop
        else:
            if (epoch, step) in self._here and step < first:
                return  # behind who reads ahead
            begin = step
        self._asked = epoch, first if begin == stop else begin, until
        self._ask(self._phase, epoch, begin, until - begin, self._ranks)
