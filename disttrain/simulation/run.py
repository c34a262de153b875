"""One simulated run: the real `decide` hears of the deaths, starts and stops of workers that are only modelled, on simulated time."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from itertools import count

from disttrain import orchestrator as o
from disttrain.orchestrator.states import is_member
from disttrain.simulation.account import Account
from disttrain.simulation.model import ClusterModel, Crowd
from disttrain.simulation.stretch import Pace


def simulate(model: ClusterModel, seconds: float, seed: int, crowd: Crowd | None = None) -> Account:
    """Where `seconds` of such a run go, counted from the first step on. The same seed gives the same failures."""
    return _Run(model, crowd or Crowd.of(model), seed).account(seconds)


class _Run:
    """Between two deaths the group works a stretch, which is worked out at once; everything else is an event at its time."""

    def __init__(self, model: ClusterModel, crowd: Crowd, seed: int) -> None:
        self._model, self._crowd, self._policy = model, crowd, crowd.policy
        # streams of their own, so that a change of the model that leaves one alone changes nothing in it
        self._failures, self._outages, self._victims = (random.Random(f"{seed} {what}") for what in ("failures", "outages", "victims"))
        self._account = Account()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._heard: deque[o.Event] = deque()
        self._now = self._told_s = 0.0  # until when the time is accounted for
        self._began_s: float | None = None  # of the stretch under way
        self._alive: dict[str, None] = {}  # processes, in order of their start
        self._group: tuple[str, ...] = ()  # the newest generation, as it was formed
        self._left: set[str] = set()  # those of it that left the loop
        self._holding: dict[str, int] = {}  # worker -> tick of the state in its memory
        self._tick = 0
        self._committed = 0
        self._since_s = 0.0  # since the last save began
        self._saving: tuple[int, float] | None = None  # (tick, when it will be committed)
        self._first = True

    def account(self, seconds: float) -> Account:
        """Run."""
        decision = o.first_call(self._policy, 0.0)
        self._state = decision.state
        self._follow(decision)
        while self._first and not self._over:
            self._turn(None)
        end_s = self._now + seconds
        self._account, self._told_s = Account(), self._now
        if self._model.failures_per_s:
            self._later(self._failures.expovariate(self._model.failures_per_s), self._failure)
        if self._model.outage_s is not None:
            self._later(self._outages.expovariate(1 / self._model.outage_s), self._outage)
        while not self._over and self._turn(end_s):
            pass
        self._now = end_s
        if self._began_s is not None:
            begun_s = self._end_stretch()  # it may yet count
            self._account.counted += begun_s
        self._spend()
        return self._account

    @property
    def _over(self) -> bool:
        return isinstance(self._state, o.Ended)

    @property
    def _strength(self) -> int:
        return self._crowd.members(len(self._group))

    # -- time -----------------------------------------------------------------------------------------------------------------------

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self._now + seconds, next(self._order), what))

    def _turn(self, end_s: float | None) -> bool:
        """The next event; False when it lies beyond `end_s`."""
        timer_s = o.next_deadline(self._state, self._policy)
        event_s = self._due[0][0] if self._due else float("inf")
        now = event_s if timer_s is None else min(event_s, max(timer_s, self._now))
        if end_s is not None and now > end_s:
            return False
        self._now = now
        if timer_s is not None and timer_s <= now < event_s:
            self._tell(o.Timer(now, frozenset(self._alive)))
        else:
            heapq.heappop(self._due)[2]()
        while self._heard and not self._over:
            event = self._heard.popleft()
            self._follow(o.decide(self._state, event, self._policy))
        return True

    def _tell(self, event: o.Event) -> None:
        self._heard.append(event)

    def _spend(self) -> None:
        """Account for the time since that was last done, in which no group worked."""
        spent, self._told_s = self._now - self._told_s, self._now
        if self._over:
            self._account.given_up += spent
        elif isinstance(self._state, o.Waiting | o.Starting):
            self._account.waiting += spent
        else:
            self._account.recovering += spent

    # -- the group works ------------------------------------------------------------------------------------------------------------

    def _pace(self) -> Pace:
        model = self._model
        commit_s = model.save_stall_s + model.transfer_s
        # a save that is due while another is on its way waits for it
        return Pace(model.step_with(self._strength) + self._callback_s, model.save_stall_s, max(model.checkpoint_s, commit_s))

    @property
    def _callback_s(self) -> float:
        return self._model.callback_s / self._model.epoch_steps

    def _begin_stretch(self) -> None:
        self._spend()
        self._began_s, self._first = self._now, False
        self._holding = dict.fromkeys(self._group, self._tick)

    def _end_stretch(self) -> float:
        """The group stops working; the seconds spent in a step that is not complete."""
        assert self._began_s is not None
        model, account, pace = self._model, self._account, self._pace()
        done = pace.stretch(self._now - self._began_s, self._since_s)
        account.counted += done.steps * model.step_s
        account.slower += done.steps * (model.step_with(self._strength) - model.step_s)
        account.callbacks += done.steps * self._callback_s
        account.saves += done.stall_s
        saves = [self._saving] if self._saving is not None else []
        for back in (1, 0):
            save = done.save(back)
            if save is not None:
                saves.append((self._tick + save[0], self._now - save[1] + model.transfer_s))
        self._saving = None
        for tick, at_s in saves:
            if at_s <= self._now:
                self._commit(tick)
            else:
                self._saving = tick, at_s
        self._tick += done.steps
        if done.steps:
            self._tell(o.Progress(self._state.roster.generation, self._tick, self._now))
        self._since_s, self._began_s, self._told_s = done.since_s, None, self._now
        self._holding = dict.fromkeys(self._holding, self._tick)
        return done.partial_s

    def _commit(self, tick: int) -> None:
        if tick > self._committed:
            self._committed = tick
            self._tell(o.CheckpointCommitted(f"c{tick}", tick, self._now))

    # -- workers die ----------------------------------------------------------------------------------------------------------------

    def _failure(self) -> None:
        """A process of the cluster dies; those that are not simulated one by one are members as others are."""
        self._later(self._failures.expovariate(self._model.failures_per_s), self._failure)
        crowd, model = self._crowd, self._model
        number, struck = int(self._victims.random() * (model.workers + model.spares)), list(self._alive)
        if number < crowd.unseen:
            # one that is not simulated one by one: a member as the others are, or as they are not yet
            members = [worker for worker in struck if is_member(self._state, worker)]
            unseen_members = crowd.members(len(members)) - len(members) if members else 0
            struck = members if number < unseen_members else [worker for worker in struck if worker not in members]
            number = int(self._victims.random() * len(struck))
        else:
            number -= crowd.unseen
        if number < len(struck):
            self._account.failures += 1
            self._die([struck[number]])

    def _outage(self) -> None:
        assert self._model.outage_s is not None
        self._later(self._outages.expovariate(1 / self._model.outage_s), self._outage)
        self._account.outages += 1
        self._die(list(self._alive))

    def _die(self, workers: list[str]) -> None:
        dead = set(workers)
        for worker in workers:
            del self._alive[worker]
            self._later(self._model.detect_s, lambda worker=worker: self._tell(o.WorkerLost(worker, "failed", self._now)))  # type: ignore[misc]
        if self._began_s is not None and dead & set(self._group):
            begun_s = self._end_stretch()
            self._account.redone += begun_s
        if self._saving is not None and dead & set(self._group):
            tick, at_s = self._saving
            if at_s <= self._now:
                self._commit(tick)
            self._saving = None  # the part of a dead worker is never written
        for worker in workers:
            self._holding.pop(worker, None)

    # -- what decide wants ----------------------------------------------------------------------------------------------------------

    def _follow(self, decision: o.Decision) -> None:
        if self._began_s is None:
            self._spend()
        self._state = decision.state
        for effect in decision.effects:
            match effect:
                case o.StartWorker():
                    self._alive[effect.worker] = None
                    self._later(self._model.start_s, lambda worker=effect.worker: self._ready(worker))  # type: ignore[misc]
                case o.Kill():
                    if effect.worker in self._alive:
                        self._die([effect.worker])
                case o.Abort():
                    for worker in effect.workers:
                        self._stop(worker, effect.generation)
                case o.Pause():
                    if self._began_s is not None:
                        self._pause(effect.generation)
                case o.Form():
                    self._form(effect)
                case o.GiveUp():
                    self._account.message = effect.message

    def _ready(self, worker: str) -> None:
        if worker in self._alive:
            self._tell(o.WorkerReady(worker, self._now))

    def _stop(self, worker: str, generation: int) -> None:
        if worker in self._alive and worker not in self._left:
            self._left.add(worker)
            self._tell(o.Stopped(worker, generation, self._holding.get(worker), self._now))

    def _pause(self, generation: int) -> None:
        """All leave together at the end of the step, or of the save, that they are in."""
        assert self._began_s is not None
        began_s = self._began_s
        rest = self._pace().stretch(self._now - began_s, self._since_s).to_boundary_s

        def boundary() -> None:
            if self._began_s == began_s and self._state.roster.generation == generation:
                self._end_stretch()
                for worker in self._group:
                    self._stop(worker, generation)

        self._later(rest, boundary)

    def _form(self, form: o.Form) -> None:
        self._account.reforms += 1
        self._group, self._left = form.members, set()
        arriving = form.source is None or any(worker not in self._holding for worker in form.members)
        if form.source is None and not self._first:
            self._account.rollbacks += self._tick > form.tick
            lost_s = (self._tick - form.tick) * self._model.step_s
            self._account.counted -= lost_s
            self._account.redone += lost_s
            self._holding, self._since_s = {}, 0.0
        self._tick = form.tick
        generation = form.generation

        def resume() -> None:
            state = self._state
            if state.roster.generation != generation or any(worker not in self._alive or worker in self._left for worker in self._group):
                return  # it broke before its first step
            self._begin_stretch()
            if isinstance(state, o.Gathering):
                self._pause(generation)  # a newcomer called while they were forming: after one step

        self._later(self._model.reform_s + (self._model.transfer_s if arriving and not self._first else 0.0), resume)
