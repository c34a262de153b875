"""The driver's only loop: hear what happened, let the two machines say what to do, do it. One controller carries one call.

It runs on a thread of its own. The script's thread waits in `Controller.run` and carries out what the loop posts to the mailbox: the
callbacks. So while a callback works for a minute, commits go on, deaths are heard and the status stays true.

It makes no choices: `orchestrator.decide` says what becomes of the group, `orchestrator.call.advance` what becomes of the call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from disttrain import orchestrator as o
from disttrain.controller.boundaries import Boundaries
from disttrain.controller.bulk import BulkCollector
from disttrain.controller.commits import Committed, Committer
from disttrain.controller.environment import CallEnvironment, KeptGroup, WorkerFacts
from disttrain.controller.feeding import Feeding
from disttrain.controller.fetching import Fetch, Fetching
from disttrain.controller.group import GroupControl
from disttrain.controller.mailbox import Done, Gone, Mailbox, Question
from disttrain.controller.predictions import Outputs
from disttrain.controller.reporting import Reporting
from disttrain.controller.saving import Saving
from disttrain.controller.telemetry import CallStatistics
from disttrain.controller.trust import Trust
from disttrain.elastic import messages as m
from disttrain.errors import Interrupted
from disttrain.orchestrator import call as calls
from disttrain.orchestrator import call_events as happened
from disttrain.orchestrator import call_states as c
from disttrain.orchestrator.call_events import Boundary
from disttrain.rundir.resume import ResumePoint
from disttrain.training.boundary_decision import BoundaryDecision
from disttrain.training.hooks import CallHooks, FitHooks
from disttrain.training.job import Job
from disttrain.training.program import Kind, Position

_LOOK_S = 0.2  # the longest the loop waits before it looks at clocks and flags
_BOUNDARIES_KEPT = 8  # the call's machine knows of two at most, and late ones come in between
_COMMIT_LOOK_S = 0.01  # while a commit is under way


class Controller:
    """Carries one call through the cluster.

    Args:
        put_job: packs the job as it is and gives it to the cluster; called on the script's thread, after the hooks before the first step.
        state: where the call before left the orchestrator; None before the first.
        hooks: the callbacks of the call.
        saves: None when nothing is kept.
        resume: the checkpoint of this call to go on from.
        sequence_base: saves of this call are numbered from here on.
        kept: the group that the workers keep from the call before.
        mailbox: how the script's thread is reached.
    """

    def __init__(
        self, around: CallEnvironment, number: int, job: Job, put_job: Callable[[Job], Any], *, state: o.State | None,
        facts: dict[str, WorkerFacts], hooks: FitHooks | CallHooks, saves: Committer | None, resume: ResumePoint | None,
        sequence_base: int, kept: KeptGroup | None = None, mailbox: Mailbox | None = None,
    ) -> None:  # fmt: skip
        self.around, self.number, self.job = around, number, job
        self.hooks = hooks if isinstance(hooks, FitHooks) else None
        self.cluster, self.policy, self.console, self._clock = around.cluster, around.policy, around.console, around.clock
        self.facts, self.resume = facts, resume
        self.statistics = CallStatistics(around.policy.workers, clock=around.clock)
        self.outputs = Outputs(job)
        self.boundaries = Boundaries(job, hooks, self.statistics, self._clock, resume, keeps=saves is not None)
        self.mailbox = mailbox or Mailbox(getattr(self.cluster, "wake", lambda: None))
        self.feeding = Feeding(job, number, self.cluster, self.mailbox, around.console, resume)
        self.saving = Saving(around, number, job, saves, self.boundaries, self.statistics, self.feeding)
        self.reporting = Reporting(around, job.program, self.statistics, facts)
        self.group = GroupControl(
            around, number, job.program, state=state, committed=None if resume is None else o.Commit(resume.name, resume.tick),
            kept=kept or KeptGroup(), reporting=self.reporting, predicts_from=self._predicts_from if job.kind == "predict" else None,
            frozen_at=self.boundaries.frozen_at, pin=self.boundaries.pin,
            advance=self._advance, replicas=lambda: self.trust.replicas,
            skips=lambda: self.feeding.skips,
        )  # fmt: skip
        self.trust = Trust(around, facts, self.saving, self.group, lambda: self.call.known.stop, lambda: self._handle)
        self.call: c.CallState = calls.open_call(saves=saves is not None, committed=None if resume is None else resume.tick)
        self.bulk = BulkCollector(self.cluster, self._unreachable)
        self.fetching = Fetching(self.cluster, number, self.bulk)
        self.result: dict[str, Any] | None = None
        self.final_commit: str | None = None
        self._thread = threading.Thread(target=self._loop, name="controller", daemon=True)
        self._stopped_by_script = False
        self._put_job, self._handle = put_job, None
        self._settings = around.settings(job.kind, sequence_base)
        self._final_tick = -1
        self._interrupted = 0  # so often, as far as the call's machine knows
        self._at: dict[Boundary, m.AtBoundary] = {}  # the reports of the boundaries that the call's machine knows of
        self._decisions: dict[int, BoundaryDecision] = {}  # of the newest boundary

    @property
    def state(self) -> o.State:
        """The orchestrator's; the next call goes on from it."""
        return self.group.state

    # -- the two threads ------------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Carry the call to its end: on the script's thread, which runs the callbacks.

        Raises:
            Interrupted: the user asked to stop; a checkpoint was committed where there was time.
            DisttrainError, or what the user's code raised in a worker or in a callback.
        """
        self.open()
        self._thread.start()
        try:
            self.mailbox.serve()
        finally:
            self._stopped_by_script = True
            if hasattr(self.cluster, "wake"):
                self.cluster.wake()
            self._thread.join()

    def _loop(self) -> None:
        try:
            while not self._stopped_by_script and not isinstance(self.call, c.Over):
                self.turn(self.wait_s())
            self.mailbox.end()
        except BaseException as error:  # handed to the script's thread, which waits for it
            self.fetching.give_up()
            self.mailbox.end(error)

    def open(self) -> None:
        """Let the script's thread run the hooks before the first step."""

        def hooks_and_job() -> Any:
            job = self.boundaries.open()
            return job, self._put_job(job)  # not earlier: a rate or weights that those hooks set hold from the first step on

        self.mailbox.do("open", hooks_and_job)

    def turn(self, wait_s: float) -> None:
        """Hear whatever came, or wait a little; then look at clocks and flags."""
        if isinstance(self.call, c.Opening):
            # No worker knows of the call: what is reported, a death say, is heard of once they do, and no clock runs.
            self._hear_script(_LOOK_S)
        else:
            for report in self.cluster.reports(wait_s):
                self._hear(report)
            self._hear_script(0.0)
            self._look_at_clocks()
        self._look_at_saves()
        self._look_at_flags()

    def wait_s(self) -> float:
        """How long the next turn may wait."""
        wait = _COMMIT_LOOK_S if self.saving.busy else _LOOK_S
        if not self.mailbox.idle and not hasattr(self.cluster, "wake"):
            wait = min(wait, 0.005)
        deadline = o.next_deadline(self.state, self.policy)
        if deadline is not None:
            wait = min(wait, max(0.0, deadline - self._clock.monotonic_s()))
        return wait

    # -- hearing the workers --------------------------------------------------------------------------------------------------------

    def _hear(self, report: Any) -> None:
        now = self._clock.monotonic_s()
        if isinstance(report, o.WorkerLost | o.Silent | o.StartFailed):
            self.group.hear_cluster(report, now)
            return
        if isinstance(report, m.Printed):
            self.console.printed(report.worker, self.reporting.rank_of(report.worker), report.stream, report.text)
            return
        if isinstance(report, m.Collected):
            self.bulk.arrived(report)
            return
        if isinstance(report, m.Beat):
            self.group.beat(report, now)
            return
        if getattr(report, "call", None) != self.number:
            return  # a late word about an earlier call
        self.reporting.heard[report.worker] = now
        current = getattr(report, "generation", None) == self.group.generation
        match report:
            case m.Ready() | m.Digested() | m.Audited() | m.ShardWritten() | m.PlaceFailed():
                self.trust.hear(report, now)
            case m.Stopped():
                self.group.patience.rests(report.worker, now)
                self.group.stopped(report, now)
            case m.Progress() if current:
                self._progress(report, now)
            case m.AtBoundary() if current:
                self._at_boundary(report, now)
            case m.Wanted() | m.Skipped():
                self.feeding.hear(report)
            case m.SnapshotTaken():
                self.saving.begun(report, self.group.generation)
            case m.Predicted():
                self.bulk.take(report.worker, report.parts, self._predicted)
            case m.Fetched():
                self.fetching.fetched(report)
            case m.Timed():
                self.statistics.step_times[report.worker] = report.step_times
            case m.Finished() if current:
                self._finished(report)
            case m.Failed():
                self.group.decide(o.UserError(report.worker, max(0, report.generation), report.tick, now), failed=report)
            case _:
                pass

    def _unreachable(self, worker: str, reason: str) -> None:
        """What a worker left for us cannot be had: others hold the same state, so that worker goes."""
        self.console.event("collect failed", f"worker {worker} could not deliver: {reason}", worker=worker)
        self.cluster.kill(worker)

    def _progress(self, report: m.Progress, now: float) -> None:
        self.group.decide(o.Progress(report.generation, report.tick, now))
        self.around.first_step()
        position = self.reporting.progress(report, now)
        if self.mailbox.idle and (self.hooks is None or position.kind in (Kind.TRAIN, Kind.VALIDATE)):
            self.mailbox.do("sample", self.boundaries.sampler(position, report.logs))

    def _at_boundary(self, report: m.AtBoundary, now: float) -> None:
        self.group.decide(o.Progress(report.generation, report.tick, now))
        self.reporting.works(report.generation, report.tick, now)
        boundary = Boundary(report.generation, report.tick)
        self._at = dict([*self._at.items(), (boundary, report)][-_BOUNDARIES_KEPT:])
        self._advance(happened.BoundaryReached(boundary, complete=self._is_complete(report.tick)))

    def _is_complete(self, tick: int) -> bool:
        """Are the outputs here that the hooks of a predict's boundary are to see?"""
        return self.job.kind != "predict" or self.outputs.first_missing() > self.job.program.at(tick).step

    def _predicts_from(self) -> int:
        return self.outputs.goes_on_at(self.boundaries.handled)

    def _predicted(self, parts: dict[int, Any]) -> None:
        self.outputs.take(parts)
        if isinstance(self.call, c.Awaiting) and self._is_complete(self.call.boundary.tick):
            self._advance(happened.OutputsArrived())
        self._look_for_delivery()

    def _finished(self, report: m.Finished) -> None:
        if report.result is None and self.job.kind != "predict":
            return
        generation, self._final_tick = report.generation, report.tick
        self._advance(happened.StepsDone(generation, report.tick))
        if self.job.kind == "predict":
            self._look_for_delivery()
            return

        def here(result: dict[str, Any]) -> None:
            if generation == self.group.generation:
                self.result = result
                self._advance(happened.Delivered(generation))

        self.bulk.take(report.worker, report.result, here)

    def _look_for_delivery(self) -> None:
        if self.job.kind == "predict" and isinstance(self.call, c.Finishing) and self.outputs.reach(self.call.tick):
            self.result = {}
            self._advance(happened.Delivered(self.call.known.generation))

    # -- hearing the script ---------------------------------------------------------------------------------------------------------

    def _hear_script(self, wait_s: float) -> None:
        for answer in self.mailbox.answers(wait_s):
            if isinstance(answer, Question):
                if isinstance(self.call, c.InHooks) and self.call.back is not None:
                    answer.answer(error=Gone())
                else:
                    self.fetching.begin(answer)
                continue
            self._done(answer)
        self.fetching.look(self.group.members, self.group.generation)

    def _done(self, done: Done) -> None:
        match done.what:
            case "open":
                self.job, self._handle = done.result
                self._advance(happened.HooksDone(-1))
            case ("hooks", int(tick)):
                if not done.given_up:
                    self._decisions = {tick: done.result}
                self._advance(happened.HooksDone(tick))
            case ("back", int(tick)):
                self._advance(happened.RolledBack(tick))
            case _:
                pass

    def gradients(self) -> dict[str, Any]:
        """The gradient of the last step before the boundary, from a worker that took part in it; called from within a hook."""
        for place in range(len(self.group.members) if self.at_boundary else 0):
            found = self.fetch("gradients", place)
            if found:
                return found
        return {}

    def fetch(self, what: str, place: int = 0) -> dict[str, Any]:
        """Weights, slots or gradients as they are at the boundary where the workers wait; called from within a hook.

        Args:
            place: the rank of the worker that is asked.
        """
        found: dict[str, Any] = self.mailbox.ask(Fetch(what, self.boundaries.handling, place))
        return found

    @property
    def at_boundary(self) -> bool:
        """Do all workers wait for the hooks of a fit, so that their state can be fetched?"""
        return self.boundaries.at_boundary

    # -- what the call's machine says -----------------------------------------------------------------------------------------------

    def _advance(self, event: happened.CallEvent) -> None:
        decision = calls.advance(self.call, event)
        self.call = decision.state
        for effect in decision.effects:
            self._carry_out(effect)

    def _carry_out(self, effect: c.CallEffect) -> None:
        match effect:
            case c.Begin():
                self.statistics.begin()
                self.group.begin(m.Begin(self.number, self._handle, self._settings))
            case c.RunHooks(boundary):
                self._run_hooks(boundary)
            case c.GiveUpHooks():
                self.fetching.give_up()
            case c.RollBack(tick, restore):
                if self.hooks is None:  # of an evaluate: what was shown was shown
                    self._advance(happened.RolledBack(tick))
                    return
                self.reporting.rolls_back(tick, restore, self.group.went_back)
                self.mailbox.do(("back", tick), lambda: self.boundaries.go_back_to(tick))
            case c.Proceed(tick):
                self._proceed(tick)
            case c.Ask(generation, what):
                if what == "stop":
                    self.console.note("stopping after this step; press Ctrl-C again to stop at once")
                self.group.ask(generation, what)
            case c.SaveHeld(worker, tick):
                self.group.save_held(worker, tick)
            case c.Finish():
                newest = self.saving.newest
                if newest is not None and newest.tick == self._final_tick:
                    self.final_commit = newest.name
                self.group.decide(o.CallFinished(self.group.generation, self._clock.monotonic_s()))
            case c.EndInterrupted(words):
                if not isinstance(self.state, o.Ended):
                    self.group.decide(o.StopRequested(self._clock.monotonic_s()))
                raise Interrupted(words)

    def _run_hooks(self, boundary: Boundary) -> None:
        report = self._at[boundary]
        position = self.job.program.at(boundary.tick)
        logs = {"outputs": self.outputs.of(position)} if self.job.kind == "predict" else report.logs
        self.reporting.position, self.reporting.logs = position, report.logs
        if self.hooks is not None:
            self.reporting.step = report.optimizer["iterations"]
        self.boundaries.handled = max(self.boundaries.handled, boundary.tick)
        self.mailbox.do(("hooks", boundary.tick), lambda: self.boundaries.run(report, logs))

    def _proceed(self, tick: int) -> None:
        decision = self._decisions[tick]
        position: Position = self.job.program.at(tick)
        if self.around.checkpoint_interval.epoch and position.kind is Kind.EPOCH_BOUNDARY and not decision.end_call:
            decision = replace(decision, save=self.saving.begins(self._clock.monotonic_s(), self.group.generation))
        self.group.tell(m.Proceed(self.number, tick, decision))

    # -- clocks and flags -----------------------------------------------------------------------------------------------------------

    def _look_at_clocks(self) -> None:
        now = self._clock.monotonic_s()
        self.group.look(now)
        self.trust.look(now)
        if isinstance(self.call, c.Stepping) and self.saving.due(now, self.group.generation):
            self._advance(happened.SaveDue())

    def _look_at_saves(self) -> None:
        for outcome in self.saving.ended():
            if isinstance(outcome, Committed):
                if not isinstance(self.state, o.Ended):
                    self.group.decide(o.CheckpointCommitted(outcome.name, outcome.tick, self._clock.monotonic_s()))
                self._advance(happened.SaveCommitted(outcome.tick))
            else:
                self._advance(happened.SaveAbandoned(outcome.tick))

    def _look_at_flags(self) -> None:
        interrupts = self.around.interrupts()
        if interrupts > 1:
            raise Interrupted("interrupted twice: stopped at once")
        if interrupts > self._interrupted:
            self._interrupted = interrupts
            self._advance(happened.Interrupted())

    def status(self) -> dict[str, Any]:
        """What the call does, in JSON types."""
        return self.reporting.status(self.number, self.job.kind, self.state, self.group.patience)
