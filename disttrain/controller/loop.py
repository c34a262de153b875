"""The driver's only loop: hear what happened, let `decide` say what to do, do it. One controller carries one call.

It makes no choice about failures. What it adds is the call itself: the hooks at boundaries, saves, results, and the words for people.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from disttrain import orchestrator as o
from disttrain.callbacks.telemetry import Recovery, Save
from disttrain.controller.callback_history import CallbackHistory
from disttrain.controller.checkpoint_interval import CheckpointInterval
from disttrain.controller.commits import Committed, Committer, SaveFailed
from disttrain.controller.ending import given_up, user_error
from disttrain.controller.predictions import Outputs
from disttrain.controller.telemetry import CallStatistics
from disttrain.elastic import messages as m
from disttrain.errors import InfrastructureError, Interrupted
from disttrain.orchestrator.states import in_loop, members_of
from disttrain.rundir.directory import ResumePoint
from disttrain.rundir.timeline import Console
from disttrain.training.hooks import CallHooks, FitHooks
from disttrain.training.job import Job
from disttrain.training.program import Kind

_LOOK_S = 0.2  # the longest the loop waits before it looks at clocks and flags


@dataclass(frozen=True)
class CallEnvironment:
    """What every call of a session shares.

    Args:
        cluster: a Cluster port, with `put` for jobs.
        policy: sizes and limits.
        settings: what workers are told, but for the call's own numbers.
        store_host, store_port: where generations meet.
        interrupts: how often the user has asked to stop.
        first_step: called once a call has made its first progress.
    """

    cluster: Any
    policy: o.RecoveryPolicy
    run_dir: str | None
    attempt: int
    threads: int
    backend: str
    store_host: str
    store_port: int
    checkpoint_interval: CheckpointInterval
    console: Console
    interrupts: Callable[[], int]
    first_step: Callable[[], None]


@dataclass
class WorkerFacts:
    """What is known of a worker, for people."""

    pid: int = 0
    host: str = ""


@dataclass
class _Recovery:
    """A loss that is being recovered from."""

    since_s: float
    step: int
    generation: int  # that broke last
    lost: list[str] = field(default_factory=list)


class _StateGone(BaseException):
    """Internal: every worker was lost while a hook looked at their state. Ends the hook, which runs again when training is there again."""


class CallOver(Exception):
    """Internal: the call has its result."""


class Controller:
    """Carries one call through the cluster.

    Args:
        put_job: packs the job as it is and gives it to the cluster; called once the hooks before the first step have run.
        state: where the call before left the orchestrator; None before the first.
        hooks: the callbacks of the call.
        saves: None when nothing is kept.
        resume: the checkpoint of this call to go on from.
        sequence_base: saves of this call are numbered from here on.
    """

    def __init__(
        self, around: CallEnvironment, number: int, job: Job, put_job: Callable[[Job], Any], *, state: o.State | None,
        facts: dict[str, WorkerFacts], hooks: FitHooks | CallHooks, saves: Committer | None, resume: ResumePoint | None, sequence_base: int,
    ) -> None:  # fmt: skip
        self.around, self.number, self.job, self.saves = around, number, job, saves
        self._call_hooks = hooks
        self.hooks = hooks if isinstance(hooks, FitHooks) else None
        self.statistics = CallStatistics(around.policy.workers)
        self.cluster, self.policy, self.console = around.cluster, around.policy, around.console
        self.facts = facts
        self.resume = resume
        self.result: dict[str, Any] | None = None
        self.final_commit: str | None = None
        self.outputs = Outputs(job)
        self.logs: dict[str, Any] = {}
        self.step = 0
        self.position = job.program.at(0)
        self._put_job = put_job
        self._settings = m.CallSettings(
            run_dir=around.run_dir if job.kind == "fit" else None,
            attempt=around.attempt,
            sequence_base=sequence_base,
            every_steps=around.checkpoint_interval.steps,
            threads=around.threads,
            backend=around.backend,
        )
        self._begin: m.Begin | None = None
        self._begun: set[str] = set()
        self._ticks: dict[str, int] = {}  # what members reported to hold when they stopped
        self._history: CallbackHistory | None = None  # of the hooks of a fit
        self._asked: m.AtBoundary | None = None  # a boundary that waits for outputs of the batch before it
        self._missed: m.AtBoundary | None = None  # a boundary that was reported while hooks ran
        self._goes_back: tuple[str | None, int] | None = None  # the hooks are to be given up: a checkpoint, and its tick
        self._formed = False
        self._in_hooks = False
        self.at_boundary = False  # do all workers wait, so that their weights can be fetched?
        self._unheard: deque[object] = deque()
        self._fetched: dict[int, dict[str, Any]] = {}
        self._requests = 0
        self._recovery: _Recovery | None = None
        self._saved_at = time.monotonic()
        self._stop_asked_of = -1
        self._halted: set[str] = set()
        self._halt_tick: int | None = None
        self._finished_generation = -1
        self._final_tick: int | None = None
        self._failed_saves: set[int] = set()  # their ticks
        self._last_commit: Committed | None = None
        now = time.monotonic()
        committed = None if resume is None else o.Commit(resume.name, resume.tick)
        decision = (
            o.first_call(self.policy, at_s=now, committed=committed) if state is None else o.new_call(state, self.policy, now, committed)
        )
        self.state: o.State = decision.state
        self._opening = decision.effects

    # -- the loop -------------------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Carry the call to its end.

        Raises:
            Interrupted: the user asked to stop; a checkpoint was committed where there was time.
            DisttrainError, or what the user's code raised in a worker.
        """
        if self.hooks is not None:
            hooks, resume = self.hooks, self.resume
            self._run_hooks(lambda: hooks.begin() if resume is None else hooks.begin(resume.extra["hooks"], resume.arrays))
            self._history = CallbackHistory(hooks, 0 if resume is None else resume.tick)
            self.job = replace(self.job, start_tick=hooks.start_tick)
            counted = self.job.model.optimizer.iterations if resume is None else resume.extra["meta"]["optimizer"]["iterations"]
            self.statistics.first_step = self.statistics.step = counted
        else:
            self._run_hooks(self._call_hooks.begin)
        # Not earlier: a rate or weights that those hooks set hold from the first step on.
        self._begin = m.Begin(self.number, self._put_job(self.job), self._settings)
        roster = self.state.roster
        to_start = {effect.worker for effect in self._opening if isinstance(effect, o.StartWorker)}
        for worker in (*members_of(self.state), *roster.ready, *(start.worker for start in roster.starting)):
            if worker not in to_start:  # those hear of the call once they have been started: before, the word would be lost
                self._begin_on(worker)
        self._perform(self._opening)
        try:
            while True:
                self._turn()
        except CallOver:
            return

    def _turn(self) -> None:
        """Hear whatever came, or wait a little; then look at clocks and flags."""
        wait = 0.01 if self.saves is not None and self.saves.busy else _LOOK_S
        deadline = o.next_deadline(self.state, self.policy)
        if deadline is not None:
            wait = min(wait, max(0.0, deadline - time.monotonic()))
        self._unheard.extend(self.cluster.reports(0.0 if self._unheard else wait))
        while self._unheard:  # a turn within a hook hears those that came together with the boundary, such as a loss
            self._hear(self._unheard.popleft())
        now = time.monotonic()
        if deadline is not None and now >= deadline:
            self._decide(o.Timer(now))
        if self.saves is not None:
            for outcome in self.saves.finished():
                self._saved(outcome)
        self._look_at_flags(now)
        self._look_for_end()

    def _hear(self, report: object) -> None:
        now = time.monotonic()
        if isinstance(report, o.WorkerLost | o.Silent | o.StartFailed):
            if isinstance(report, o.WorkerLost):
                self._lost(report)
            elif isinstance(report, o.StartFailed):
                self.console.event("start failed", f"worker {report.worker} could not start: {report.reason}", worker=report.worker)
            if self.state.roster.made(report.worker):
                self._decide(report)
            return
        if getattr(report, "call", None) != self.number:
            return  # a late word about an earlier call
        match report:
            case m.Ready():
                self.facts[report.worker] = WorkerFacts(report.pid, report.host)
                self._decide(o.WorkerReady(report.worker, now))
            case m.Stopped():
                self._stopped(report, now)
            case m.Progress():
                self._progress(report, now)
            case m.AtBoundary() if report.generation == self.state.roster.generation:
                self._decide(o.Progress(report.generation, report.tick, now))
                self._note_recovery(report, now)
                self._boundary(report)
            case m.SnapshotTaken() if self._history is not None:
                self._history.save_begun(report.tick)
            case m.ShardWritten() if self.saves is not None:
                self.saves.take(report, self._own_part)
            case m.Predicted():
                self.outputs.take(report.parts)
                if self._asked is not None:
                    self._boundary(self._asked)
            case m.Fetched():
                self._fetched[report.request] = report.arrays
            case m.Timed():
                self.statistics.step_times[report.worker] = report.step_times
            case m.Finished() if report.generation == self.state.roster.generation:
                if report.result is not None or self.job.kind == "predict":
                    self.result = report.result if report.result is not None else {}
                    self._finished_generation, self._final_tick = report.generation, report.tick
            case m.Failed():
                self._decide(o.UserError(report.worker, max(0, report.generation), report.tick, now), failed=report)
            case _:
                pass

    # -- deciding -------------------------------------------------------------------------------------------------------------------

    def _decide(self, event: o.Event, failed: m.Failed | None = None) -> None:
        before = self.state
        decision = o.decide(before, event, self.policy)
        self.state = decision.state
        if type(decision.state) is not type(before) or decision.effects:
            self.console.event("decision", None, state=type(decision.state).__name__, because=decision.because, after=type(event).__name__)
        self._perform(decision.effects, failed)
        if failed is not None:
            if isinstance(self.state, o.Ended):
                raise user_error(failed)
            last = failed.traceback.strip().splitlines()[-1]
            self.console.event(
                "newcomer failed", f"worker {failed.worker} could not join: {last}", worker=failed.worker, traceback=failed.traceback
            )

    def _perform(self, effects: tuple[o.Effect, ...], failed: m.Failed | None = None) -> None:
        for effect in effects:
            match effect:
                case o.StartWorker():
                    self.cluster.start_worker(effect.worker)
                    self._begin_on(effect.worker)
                case o.Abort():
                    for worker in effect.workers:
                        self.cluster.send(worker, m.Abort(self.number, effect.generation))
                case o.Pause():
                    self._request(effect.generation, "pause")
                case o.Form():
                    self._form(effect)
                case o.Kill():
                    self.console.event("kill", f"worker {effect.worker} does not answer: killed", worker=effect.worker)
                    self.cluster.kill(effect.worker)
                case o.GiveUp():
                    if failed is not None:
                        raise user_error(failed)
                    raise given_up(effect, self.job.program)

    def _form(self, form: o.Form) -> None:
        ticks = tuple(self._ticks.get(worker) for worker in form.members)
        source = None if form.source is None else form.members.index(form.source)
        tick = form.tick
        if self.job.kind == "predict":
            source, tick = None, self.outputs.goes_on_at(self._call_hooks.handled)
        elif form.source is None:
            source = 0 if form.restore is not None else None
            ticks = (None,) * len(form.members)
            if self._formed:
                self._roll_back(form.restore, form.tick)
        self._formed = True
        command = m.Form(
            self.number, form.generation, form.members, form.placement, ticks,
            self.around.store_host, self.around.store_port, source, form.restore, tick,
            None if self._history is None else self._history.frozen_at(tick),
        )  # fmt: skip
        self._asked = None
        self.statistics.begin()
        self.statistics.workers = len(form.members)
        self._ticks, self._halted = {}, set()
        for worker in form.members:
            self.cluster.send(worker, command)
        self.console.event("formed", None, generation=form.generation, members=list(form.members), tick=tick)

    def _begin_on(self, worker: str) -> None:
        if worker not in self._begun:
            assert self._begin is not None
            self._begun.add(worker)
            self.cluster.send(worker, self._begin)

    def _request(self, generation: int, *names: str) -> None:
        for worker in members_of(self.state):
            self.cluster.send(worker, m.Request(self.number, generation, names))

    # -- what happened --------------------------------------------------------------------------------------------------------------

    def _lost(self, report: o.WorkerLost) -> None:
        members = members_of(self.state)
        facts = self.facts.get(report.worker, WorkerFacts())
        if report.worker not in members:
            self.console.event("worker lost", None, worker=report.worker, reason=report.reason)
            return
        if self._recovery is None:
            self._recovery = _Recovery(time.monotonic(), self.step, self.state.roster.generation)
        self._recovery.generation = self.state.roster.generation
        self.statistics.workers = max(0, self.statistics.workers - 1)
        self.statistics.step_times.pop(report.worker, None)
        self._recovery.lost.append(report.worker)
        self.console.event(
            "worker lost",
            f"worker {report.worker} lost (rank {members.index(report.worker)}, pid {facts.pid} on {facts.host}); {len(members) - 1} go on",
            worker=report.worker, reason=report.reason, tick=self.position.tick,
        )  # fmt: skip

    def _stopped(self, report: m.Stopped, now: float) -> None:
        if report.because == "asked to stop" and report.generation == self.state.roster.generation:
            self._halted.add(report.worker)
            self._halt_tick = report.tick
            return
        if report.generation == self.state.roster.generation:
            if report.tick is not None:
                self._ticks[report.worker] = report.tick
            if self._recovery is None and "asked" not in report.because and "told" not in report.because:
                self._recovery = _Recovery(now, self.step, report.generation)
        self._decide(o.Stopped(report.worker, report.generation, report.tick, now))

    def _progress(self, report: m.Progress, now: float) -> None:
        if report.generation != self.state.roster.generation:
            return
        self._decide(o.Progress(report.generation, report.tick, now))
        self.around.first_step()
        self.position = self.job.program.at(max(0, report.tick - 1))
        self.step, self.logs = report.step, report.logs
        if self.job.kind == "fit":
            self.statistics.step = report.step
        self._note_recovery(report, now)
        if not self._in_hooks and (self.hooks is None or self.position.kind is Kind.TRAIN):
            self._call_hooks.sample(self.position, report.logs)

    def _note_recovery(self, report: m.Progress | m.AtBoundary, now: float) -> None:
        """A group works, or waits at a boundary as it should: if it formed after a loss, that is overcome."""
        if self._recovery is None or report.generation <= self._recovery.generation:
            return
        took = now - self._recovery.since_s
        members = members_of(self.state)
        self.console.event(
            "recovered", f"re-formed with {len(members)} workers in {took:.2f} s, no step lost",
            seconds=round(took, 4), lost=self._recovery.lost, generation=report.generation, tick=report.tick,
        )  # fmt: skip
        self.statistics.recoveries.append(Recovery(self._recovery.step, took, len(self._recovery.lost)))
        self._recovery = None

    def _boundary(self, report: m.AtBoundary) -> None:
        if self._in_hooks:
            self._missed = report
            return  # asked again while the hooks run: the answer goes to whoever is a member then
        position, logs = self.job.program.at(report.tick), report.logs
        if self.job.kind == "predict":
            if self.outputs.first_missing() <= position.step:
                self._asked = report  # the other workers' outputs are on their way
                return
            logs = {"outputs": self.outputs.of(position)}
        self._asked = self._missed = None
        self.position, self.logs = position, report.logs
        hooks = self._call_hooks
        known = position.tick <= hooks.handled
        if self.hooks is not None:
            self.job.model.optimizer.load_state_dict(report.optimizer)
            self.step = self.statistics.step = report.optimizer["iterations"]
            for name, counters in report.others.items():
                getattr(self.job.model, name).load_state_dict(counters)
        self.at_boundary = self.hooks is not None
        began = time.monotonic()
        try:
            decision = self._run_hooks(lambda: hooks.boundary(position, logs))
        except _StateGone:
            self._again()
            return
        finally:
            self.at_boundary = False
        self.statistics.callback_seconds += time.monotonic() - began
        if not known and self._history is not None:
            if self.saves is not None:
                self._history.note(position.tick + 1)
            if decision.frozen is not None:
                self._history.note_frozen(position.tick + 1, decision.frozen)
        if self.around.checkpoint_interval.epoch and position.kind is Kind.EPOCH_BOUNDARY and not decision.end_call:
            decision = replace(decision, save=True)
        for worker in members_of(self.state):
            self.cluster.send(worker, m.Proceed(self.number, position.tick, decision))

    def _run_hooks(self, action: Callable[[], Any]) -> Any:
        self._in_hooks = True
        try:
            return action()
        finally:
            self._in_hooks = False

    def gradients(self) -> dict[str, Any]:
        """The gradient of the last step before the boundary, from a worker that took part in it; called from within a hook."""
        for place in range(len(members_of(self.state)) if self.at_boundary else 0):
            found = self.fetch("gradients", place)
            if found:
                return found
        return {}

    def fetch(self, what: str, place: int = 0) -> dict[str, Any]:
        """Weights, slots or gradients as they are at the boundary where the workers wait; called from within a hook.

        Args:
            place: the rank of the worker that is asked.
        """
        self._requests += 1
        request = self._requests
        generation, asked = -1, 0.0
        while request not in self._fetched:
            now = time.monotonic()
            members = members_of(self.state)  # of a pause too: whoever waits at the boundary pauses only after it
            if members and (self.state.roster.generation != generation or now - asked > 2.0):
                generation, asked = self.state.roster.generation, now
                self.cluster.send(members[min(place, len(members) - 1)], m.Fetch(self.number, request, what, self.position.tick))
            self._turn()
            if self._goes_back is not None:
                raise _StateGone
        return self._fetched.pop(request)

    # -- saving ---------------------------------------------------------------------------------------------------------------------

    def _own_part(self, part: m.ShardWritten) -> tuple[dict[str, Any], dict[str, Any]]:
        """The driver's part of a save: what the callbacks' counters were at its tick."""
        assert self._history is not None
        hooks = self._history.at(part.tick)
        extra = {
            "call": self.number, "kind": self.job.kind, "tick": part.tick, "meta": part.meta, "hooks": hooks.state,
            "virtual_workers": self.job.virtual_workers, "seed": self.job.seed,
        }  # fmt: skip
        return extra, hooks.arrays

    def _roll_back(self, restore: str | None, tick: int) -> None:
        """Every worker was lost: the callbacks go back to where the checkpoint is."""
        history = self._history
        if history is None:
            return
        if self._in_hooks:
            self._goes_back = restore, tick  # once the hook has ended
            return
        self._run_hooks(lambda: history.go_back_to(tick))
        self.console.event("restart", f"all workers were lost: going on from {restore or 'the start'}", restore=restore, tick=tick)

    def _again(self) -> None:
        """A hook was given up because all workers were lost: go back now, then see to what was reported meanwhile."""
        assert self._goes_back is not None
        (restore, tick), self._goes_back = self._goes_back, None
        self._roll_back(restore, tick)
        missed, self._missed = self._missed, None
        if missed is not None and missed.generation == self.state.roster.generation:
            self._boundary(missed)

    def _saved(self, outcome: Committed | SaveFailed) -> None:
        if isinstance(outcome, SaveFailed):
            if outcome.fatal:
                raise InfrastructureError(outcome.reason)
            words = f"warning: a checkpoint was abandoned: {outcome.reason}"
            self.console.event("save failed", words, tick=outcome.tick, reason=outcome.reason)
            self._failed_saves.add(outcome.tick)  # perhaps of the last tick, heard of before the end itself is
            if self._history is not None:
                self._history.save_failed(outcome.tick)
            return
        self._saved_at = time.monotonic()
        self.statistics.saves.append(Save(outcome.step, outcome.seconds, outcome.stall_seconds, outcome.nbytes))
        self.console.event("committed", f"checkpoint {outcome.name} committed", name=outcome.name, step=outcome.step, bytes=outcome.nbytes)
        if self._history is not None:
            self._history.save_committed(outcome.tick)
        if not isinstance(self.state, o.Ended):
            self._decide(o.CheckpointCommitted(outcome.name, outcome.tick, self._saved_at))
        self.final_commit = outcome.name if outcome.tick == self._final_tick else self.final_commit
        self._last_commit = outcome

    # -- flags and the end ----------------------------------------------------------------------------------------------------------

    def _look_at_flags(self, now: float) -> None:
        running = isinstance(self.state, o.Running)
        generation = self.state.roster.generation
        seconds = self.around.checkpoint_interval.seconds
        if running and seconds is not None and self.saves is not None and now - self._saved_at >= seconds and not self.saves.busy:
            self._saved_at = now
            self._request(generation, "save")
        interrupts = self.around.interrupts()
        if interrupts > 1:
            raise Interrupted("interrupted twice: stopped at once")
        if not interrupts:
            return
        if running and self._stop_asked_of != generation:
            self._stop_asked_of = generation
            self.console.note("stopping after this step; press Ctrl-C again to stop at once")
            self._request(generation, "stop")
        if not running and isinstance(self.state, o.Starting):
            raise Interrupted("interrupted before the first step")
        if self._halted and self._halted >= set(in_loop(self.state)) and self._halt_is_saved():
            self._decide(o.StopRequested(now))
            raise Interrupted("interrupted")

    def _halt_is_saved(self) -> bool:
        """Is the save of the step that everybody stopped after committed, or known to have failed?"""
        if self.saves is None:
            return True
        committed = self._last_commit is not None and self._last_commit.tick == self._halt_tick
        return committed or self._halt_tick in self._failed_saves

    def _look_for_end(self) -> None:
        if self.result is None:
            return
        if self._finished_generation != self.state.roster.generation:
            self.result = None  # the group broke after all; its next forming finishes again
            return
        if self.job.kind == "predict" and self._final_tick is not None and not self.outputs.reach(self._final_tick):
            return
        if self.saves is not None and self.job.kind == "fit" and self.final_commit is None and self._final_tick not in self._failed_saves:
            last = self._last_commit
            if last is None or last.tick != self._final_tick:
                return
            self.final_commit = last.name
        self._decide(o.CallFinished(self.state.roster.generation, time.monotonic()))
        raise CallOver

    def status(self) -> dict[str, Any]:
        """What the call does, in JSON types."""
        state = self.state
        members = members_of(state)
        placement = o.place(self.policy.virtual_workers, len(members)) if members else ()
        program, position = self.job.program, self.position
        plan = program.plan(position.phase) if position.phase in dict(program.plans) else None
        return {
            "state": "running",
            "phase": type(state).__name__.lower(),
            "call": self.number,
            "kind": self.job.kind,
            "epoch": min(position.epoch + 1, program.epochs),
            "epochs": program.epochs,
            "step": self.step,
            "step_in_epoch": position.step + 1,
            "steps_per_epoch": None if plan is None else plan.steps,
            "generation": state.roster.generation,
            "logs": {name: value for name, value in self.logs.items() if isinstance(value, int | float)},
            "workers": [
                {
                    "worker": worker, "rank": rank, "virtual_ranks": list(range(*placement[rank])),
                    "pid": self.facts.get(worker, WorkerFacts()).pid, "host": self.facts.get(worker, WorkerFacts()).host,
                }
                for rank, worker in enumerate(members)
            ],
        }  # fmt: skip
