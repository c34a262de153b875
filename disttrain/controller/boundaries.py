"""The callbacks of a call, on the script's thread: their hooks at boundaries, their samples, and the way back to a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from disttrain.clock import Clock
from disttrain.controller.callback_history import CallbackHistory
from disttrain.controller.telemetry import CallStatistics
from disttrain.elastic import messages as m
from disttrain.rundir.resume import ResumePoint
from disttrain.training.boundary_decision import BoundaryDecision
from disttrain.training.hooks import CallHooks, FitHooks
from disttrain.training.job import Job
from disttrain.training.program import Position
from disttrain.training.step.step_owners import counting_in
from disttrain.training.trainability import Frozen


class Boundaries:
    """What the script's thread does for a call. Nothing here runs on the controller's, but for `history.at`, `frozen_at` and what
    tells it of saves: a boundary's state is noted before anybody can ask for it.

    Args:
        hooks: the callbacks of the call.
        keeps: does the call keep checkpoints? Then the callbacks' counters are noted at each boundary.

    Attributes:
        history: of the callbacks of a fit, once those before the first step have run.
        handled: the last boundary whose hooks were begun; `handling`: that whose hooks run, or ran last.
        at_boundary: do all workers wait, so that their state can be fetched?
    """

    def __init__(
        self, job: Job, hooks: FitHooks | CallHooks, statistics: CallStatistics, clock: Clock, resume: ResumePoint | None, *, keeps: bool
    ) -> None:
        self.job, self._hooks, self._statistics, self._clock, self._resume, self._keeps = job, hooks, statistics, clock, resume, keeps
        self._fit = hooks if isinstance(hooks, FitHooks) else None
        self.history: CallbackHistory | None = None
        self.handled = self.handling = -1
        self.at_boundary = False

    def open(self) -> Job:
        """The hooks before the first step; the job as they left it."""
        if self._fit is None:
            assert isinstance(self._hooks, CallHooks)
            self._hooks.begin()
            return self.job
        hooks, resume = self._fit, self._resume
        if resume is None:
            hooks.begin()
        else:
            hooks.begin(resume.extra["hooks"], resume.arrays)
        self.history = CallbackHistory(hooks, 0 if resume is None else resume.tick)
        self.job = replace(self.job, start_tick=hooks.start_tick)
        counted = self.job.model.optimizer.calls if resume is None else resume.extra["meta"]["optimizer"]["iterations"]
        self._statistics.first_step = self._statistics.step = counted
        return self.job

    def run(self, report: m.AtBoundary, logs: dict[str, Any]) -> BoundaryDecision:
        """The hooks of a boundary; for one whose hooks have run, what they decided then."""
        position = self.job.program.at(report.tick)
        self.handling = report.tick
        known = report.tick <= self._hooks.handled
        if self._fit is not None:
            self.job.model.optimizer.load_state_dict(report.optimizer)
            self._statistics.step = report.optimizer["iterations"]
            counting = counting_in(self.job.model) if report.others else {}
            for name, counters in report.others.items():
                counting[name].load_state_dict(counters)
        self.at_boundary = self._fit is not None
        began = self._clock.monotonic_s()
        try:
            decision = self._hooks.boundary(position, logs)
        finally:
            self.at_boundary = False
        self._statistics.callback_seconds += self._clock.monotonic_s() - began
        if not known and self.history is not None:
            if self._keeps:
                self.history.note(report.tick + 1)
            if decision.frozen is not None:
                self.history.note_frozen(report.tick + 1, decision.frozen)
        return decision

    def sampler(self, position: Position, logs: dict[str, Any]) -> Callable[[], None]:
        """What shows the newest batch to callbacks that are content with one now and then."""
        return lambda: self._hooks.sample(position, logs)

    def frozen_at(self, tick: int) -> Frozen | None:
        """What training must not change at a tick; None where nothing is trained."""
        return None if self.history is None else self.history.frozen_at(tick)

    def pin(self, tick: int) -> None:
        """The workers go on at `tick`; `go_back_to(tick)` follows."""
        if self.history is not None:
            self.history.pin(tick)

    def go_back_to(self, tick: int) -> None:
        """The callbacks as they were at `tick`."""
        if self.history is not None:
            self.history.go_back_to(tick)
