"""The workers of a call: `decide` is asked what becomes of them, what it says is done, and the call's machine is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from disttrain import orchestrator as o
from disttrain.controller.ending import given_up, headline, user_error
from disttrain.controller.environment import CallEnvironment, KeptGroup
from disttrain.controller.reporting import Reporting
from disttrain.controller.transport import Transports
from disttrain.data.bad_samples import Skip
from disttrain.elastic import messages as m
from disttrain.orchestrator.call_events import CallEvent, GroupChanged, Halted
from disttrain.orchestrator.patience import Doing, Patience
from disttrain.orchestrator.states import Holding, count_members, in_loop, is_member, members_of
from disttrain.training.program import Program
from disttrain.training.trainability import Frozen

_JUDGE_S = 1.0  # how often it is asked who is slow or stuck
_UNDISTURBED_S = 0.25  # for so long, a generation that has just formed need not share its machines with processes that start
_LISTEN_S = 3.0  # a call has heard from everybody that can speak once so much of it has passed


class Lineage(Protocol):
    """Who compares the states of the members."""

    @property
    def watch_until(self) -> int:
        """Up to this tick, members tell the digest of each step."""

    def formed(self, generation: int, *, anew: bool) -> None:
        """A generation is being formed; `anew`: from a checkpoint or the start."""


class GroupControl:
    """The state of the orchestrator for one call, and the effects of its decisions.

    Args:
        state: where the call before left the orchestrator; None before the first.
        committed: the checkpoint of this call to go on from.
        kept: the group that the workers keep from the call before.
        predicts_from: of a predict, the tick where a group goes on; None for a call whose state lies on the workers.
        frozen_at: what training must not change at a tick.
        pin: keeps what the callbacks go back to, now that the workers do.
        advance: tells the call's machine.
        replicas: who compares their states.
        skips: samples that are left out.
    """

    def __init__(
        self, around: CallEnvironment, number: int, program: Program, *, state: o.State | None, committed: o.Commit | None,
        kept: KeptGroup, reporting: Reporting, predicts_from: Callable[[], int] | None, frozen_at: Callable[[int], Frozen | None],
        pin: Callable[[int], None],
        advance: Callable[[CallEvent], None], replicas: Callable[[], Lineage], skips: Callable[[], tuple[Skip, ...]] = tuple,
    ) -> None:  # fmt: skip
        self._around, self._number, self._program, self._kept = around, number, program, kept
        self._cluster, self._policy, self._console, self._clock = around.cluster, around.policy, around.console, around.clock
        self._reporting, self._predicts_from, self._frozen_at, self._pin, self._advance = (
            reporting, predicts_from, frozen_at, pin, advance,
        )  # fmt: skip
        self._replicas, self._skips = replicas, skips
        self._transports = Transports(around.transport, around.console)
        self.patience = Patience(self._policy)
        self._begin: m.Begin | None = None  # the job, once it is packed
        self._begun: set[str] = set()
        self._ticks: dict[str, int] = {}  # what members reported to hold when they stopped
        self._halted: dict[str, int | None] = {}  # the same of those that were asked to stop
        self._to_start: list[str] = []  # workers whose start waits until those that live get on
        self._undisturbed_until = float("-inf")
        self._waits_to_join: list[str] = []
        self._formed = False
        self._lost_some = False  # since the newest generation formed
        self._differed = False  # likewise, their states
        # why the newest goes on from a checkpoint: "lost" were all, "differ" did their states, or one was committed meanwhile: "jump" on
        self.went_back = "lost"
        self._told: tuple[Any, ...] = ()  # what the call's machine last heard of the group
        self._judged = self._begun_at = now = self._clock.monotonic_s()
        if state is None:
            decision = o.first_call(self._policy, at_s=now, committed=committed)
        else:
            decision = o.new_call(state, self._policy, now, committed)
        self.state: o.State = decision.state
        self._opening = decision.effects

    @property
    def members(self) -> Sequence[str]:
        """Who belongs to the newest generation and lives."""
        return members_of(self.state)

    @property
    def generation(self) -> int:
        """The newest."""
        return self.state.roster.generation

    # -- saying ---------------------------------------------------------------------------------------------------------------------

    def begin(self, begin: m.Begin) -> None:
        """The call begins on the workers that live; those that `decide` starts now hear of it once they have been started."""
        self._begin, self._begun_at = begin, self._clock.monotonic_s()
        roster = self.state.roster
        to_start = {effect.worker for effect in self._opening if isinstance(effect, o.StartWorker)}
        starting = [start.worker for start in roster.starting if start.worker not in to_start]
        for worker in starting:
            self._cluster.start_worker(worker)  # the call before may have ended while that waited; else it does nothing
        for worker in (*self.members, *roster.ready, *starting):
            if worker not in to_start:
                self._begin_on(worker)
        self._perform(self._opening, "a new call")

    def tell(self, command: object) -> None:
        """To all members."""
        for worker in self.members:
            self._cluster.send(worker, command)

    def ask(self, generation: int, *names: str) -> None:
        """Ask all members for something at their next common step."""
        self.tell(m.Request(self._number, generation, names))

    def save_held(self, worker: str, tick: int) -> None:
        """Let one that waits with the newest state save it alone."""
        self._cluster.send(worker, m.SaveHeld(self._number, -self.generation, tick))

    # -- hearing --------------------------------------------------------------------------------------------------------------------

    def hear_cluster(self, report: o.WorkerLost | o.Silent | o.StartFailed, now: float) -> None:
        """What the cluster says of a worker."""
        if not self.state.roster.made(report.worker):
            return
        if isinstance(report, o.StartFailed):
            self._console.event("start failed", f"worker {report.worker} could not start: {report.reason}", worker=report.worker)
        elif isinstance(report, o.WorkerLost):
            self.patience.forget(report.worker)
            self._waits_to_join = [worker for worker in self._waits_to_join if worker != report.worker]
        else:
            self._reporting.heard.setdefault(report.worker, report.since_s)  # by an earlier call perhaps
            if report.condition == "alive":
                self.patience.alive(report.worker, now)
        self.decide(report, now=now)

    def ready(self, report: m.Ready, now: float, *, stopping: bool) -> None:
        """A worker may join, if its disk is ours. While the group goes on only to stop, that waits: it would cost a forming and a step."""
        worker = report.worker
        self._transports.heard(report)
        refused = None if self._around.place is None else self._around.place.refused(report)
        if refused is not None:
            self.decide(o.UserError(worker, 0, -1, now), failed=refused)
        elif stopping and isinstance(self.state, o.Running):
            self._waits_to_join.append(worker)
        else:
            self.decide(o.WorkerReady(worker, now))

    def beat(self, beat: m.Beat, now: float) -> None:
        """What a worker does; also of one that is still at an earlier call, opens its job say: that is work too."""
        self._reporting.heard[beat.worker] = now
        since_s = now - beat.seconds
        if beat.call == self._number:
            doing = Doing(beat.activity, beat.tick, beat.generation, since_s, beat.tick_seconds, beat.slowest_seconds)
        else:
            doing = Doing(beat.activity, -1, -1, since_s)
        self.patience.heard(beat.worker, doing)

    def stopped(self, report: m.Stopped, now: float) -> None:
        """A member has left the loop."""
        if report.generation == self.generation:
            if report.because == "asked to stop" and isinstance(self.state, o.Running):
                if is_member(self.state, report.worker):
                    self._halted[report.worker] = report.tick
                if len(self._halted) == count_members(self.state):  # members come and go only while it gathers
                    self._advance(Halted(report.generation, report.tick or 0))
                return
            if report.tick is not None:
                self._ticks[report.worker] = report.tick
            if "asked" not in report.because and "told" not in report.because:
                self._reporting.broke(self.state, now)
        self.decide(o.Stopped(report.worker, report.generation, report.tick, now))

    def look(self, now: float) -> None:
        """Look at clocks: what is due, who is slow, who is stuck."""
        deadline = o.next_deadline(self.state, self._policy)
        if deadline is not None and now >= deadline:
            self._time_is_up(now)
        self._start_workers(now)
        if now - self._judged < _JUDGE_S:
            return
        self._judged = now
        self._start_workers(now, at_once=True)  # who gathers may have to wait for one in the middle of a long step
        look = self.patience.look(in_loop(self.state), self.generation, now)
        for stuck in look.stuck:
            if stuck.worker in self.members:
                self._reporting.broke(self.state, now - stuck.seconds)
            self.decide(stuck)
        if look.group_stuck is not None:
            self._reporting.broke(self.state, now - look.group_stuck.seconds)
            self.decide(look.group_stuck)
        if look.slow is not None:
            self._reporting.slow(look.slow)

    def _time_is_up(self, now: float) -> None:
        before, working = self.state, self.patience.working(now).union(self._waits_to_join)
        if now - self._begun_at < _LISTEN_S:  # no beat has come in this call yet: whoever opens a job does not seem to
            working |= {start.worker for start in before.roster.starting}
        self.decide(o.Timer(now, working))
        if isinstance(before, o.Gathering) and before.planned and isinstance(self.state, o.Gathering) and not self.state.planned:
            since_s = self.patience.waits_since(before.stepping)
            self._reporting.broke(self.state, now if since_s is None else min(now, since_s))  # the pause has become a break

    # -- deciding and doing ---------------------------------------------------------------------------------------------------------

    def decide(self, event: o.Event, *, failed: m.Failed | None = None, now: float | None = None) -> None:
        """Ask what becomes of the group, and do it.

        Raises:
            DisttrainError, or the script's own error: the call cannot go on.
        """
        before = self.state
        decision = o.decide(before, event, self._policy)
        self.state = decision.state
        if isinstance(event, o.Progress) and event.generation == self.generation:
            self._undisturbed_until = float("-inf")
        if type(decision.state) is not type(before) or decision.effects:
            self._console.event("decision", None, state=type(decision.state).__name__, because=decision.because, after=type(event).__name__)
        if isinstance(event, o.ReplicasDiffer):
            self._differed = True
            self._reporting.broke(before, event.at_s)
        if isinstance(event, o.WorkerLost):
            self._lost_some |= is_member(before, event.worker)
            # Before what it leads to is done, the end of the call say: the words need no more than what was decided.
            self._reporting.lost(event, before, decision.state, event.at_s if now is None else now)
        self._perform(decision.effects, decision.because, failed)
        if failed is not None:
            if isinstance(self.state, o.Ended):
                raise user_error(failed)
            self._console.event(
                "newcomer failed",
                f"worker {failed.worker} could not join: {headline(failed)}",
                worker=failed.worker,
                traceback=failed.traceback,
            )
        self._tell(self._change())
        if self._waits_to_join and not isinstance(self.state, o.Running):
            worker = self._waits_to_join.pop()
            self.decide(o.WorkerReady(worker, event.at_s))
        if isinstance(self.state, o.Gathering) and self._halted:
            # They have left the loop already, for a stop: whoever gathers need not wait for them.
            halted, self._halted = self._halted, {}
            for worker, tick in halted.items():
                if tick is not None:
                    self._ticks[worker] = tick
                self.decide(o.Stopped(worker, self.generation, tick, event.at_s))

    def _perform(self, effects: tuple[o.Effect, ...], because: str, failed: m.Failed | None = None) -> None:
        for effect in effects:
            match effect:
                case o.StartWorker():
                    self._to_start.append(effect.worker)
                case o.Abort():
                    self._kept.name = None
                    for worker in effect.workers:
                        self._cluster.send(worker, m.Abort(self._number, effect.generation))
                case o.Pause():
                    self._kept.name = None
                    self.ask(effect.generation, "pause")
                case o.Form():
                    self._form(effect)
                case o.Kill():
                    self._kept.name = None
                    self._reporting.killed(effect.worker, because, self._clock.monotonic_s())
                    self._cluster.kill(effect.worker)
                case o.GiveUp():
                    raise user_error(failed) if failed is not None else given_up(effect, self._program)
        self._start_workers(self._clock.monotonic_s())

    def _start_workers(self, now: float, *, at_once: bool = False) -> None:
        """Not while members gather or do their first step: to start a process takes the loop and the machine longer than all of that."""
        busy = isinstance(self.state, o.Gathering) or (isinstance(self.state, o.Running) and now < self._undisturbed_until)
        if busy and not at_once:
            return
        starting, self._to_start = self._to_start, []
        for worker in starting:
            self._cluster.start_worker(worker)
            self._begin_on(worker)

    def _begin_on(self, worker: str) -> None:
        if worker not in self._begun and self._begin is not None:
            self._begun.add(worker)
            self._cluster.send(worker, self._begin)

    def _form(self, form: o.Form) -> None:
        ticks = tuple(self._ticks.get(worker) for worker in form.members)
        source = None if form.source is None else form.members.index(form.source)
        tick, anew = form.tick, False
        if self._predicts_from is not None:
            source, tick = None, self._predicts_from()
        elif form.source is None:
            source = 0 if form.restore is not None else None
            ticks = (None,) * len(form.members)
            anew = self._formed
        own = f"c{self._number}g{form.generation}"
        same = not self._formed and self._kept.name is not None and self._kept.members == form.members
        self._kept.name, self._kept.members = self._kept.name if same else own, form.members
        if anew:
            self._pin(tick)
        self.went_back = "differ" if self._differed else "lost" if self._lost_some else "jump"
        self._formed, self._lost_some, self._differed, self._ticks, self._halted = True, False, False, {}, {}
        self._replicas().formed(form.generation, anew=form.source is None)
        self._undisturbed_until = self._clock.monotonic_s() + _UNDISTURBED_S
        store = self._around.meeting_place() if len(form.members) > 1 else None
        command = m.Form(
            self._number, form.generation, form.members, form.placement, ticks, store,
            source, form.restore, tick, self._frozen_at(tick), self._kept.name or own, self._replicas().watch_until,
            self._transports.of(form.members), self._skips(),
        )  # fmt: skip
        for worker in form.members:
            self._cluster.send(worker, command)
        self._reporting.formed(form, tick, anew=anew)
        self._tell(GroupChanged("running", form.generation, tick, form.restore, anew))

    def _change(self) -> GroupChanged | None:
        """What became of the group; one that runs is told of when it forms."""
        match self.state:
            case o.Gathering():
                self._kept.name = None
                return GroupChanged("gathering", self.generation)
            case o.Waiting():
                self._kept.name = None
                held = [holding for holding in self.state.holders if holding.tick is not None]
                best = max(held, key=lambda holding: holding.tick or 0, default=Holding("", None))
                return GroupChanged("waiting", self.generation, best.tick or 0, holder=best.worker or None)
            case _:
                return None

    def _tell(self, change: GroupChanged | None) -> None:
        """Let the call's machine know, if it does not know yet."""
        if change is None:
            return
        told = change.group, change.generation, change.holder
        if told != self._told:
            self._told = told
            self._advance(change)
