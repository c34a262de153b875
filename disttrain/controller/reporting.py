"""What a call tells people: losses, recoveries, who is slow, where it stands. Only what the machines know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from disttrain import orchestrator as o
from disttrain.controller.environment import CallEnvironment, WorkerFacts
from disttrain.controller.telemetry import CallStatistics
from disttrain.data import StreamPlan
from disttrain.elastic import messages as m
from disttrain.orchestrator.patience import Patience, Slow
from disttrain.orchestrator.states import count_members, is_member, members_of
from disttrain.telemetry import Recovery
from disttrain.training.program import Position, Program

_QUIET_S = 2.5  # beats come every second: a worker unheard of for longer had stopped before we knew


@dataclass
class _Recovery:
    """A break that is being recovered from."""

    since_s: float
    step: int
    generation: int  # that broke last
    lost: list[str] = field(default_factory=list)
    back_from: int | None = None  # every worker's state was lost: the step that had been reached
    again: int = 0  # so many ticks that were complete are done again


class Reporting:
    """Notes, events and the status of one call.

    Args:
        facts: what is known of the workers.
        heard: when each was last heard of.
    """

    def __init__(self, around: CallEnvironment, program: Program, statistics: CallStatistics, facts: dict[str, WorkerFacts]) -> None:
        self._around, self._program, self._statistics, self._facts = around, program, statistics, facts
        self._console, self._policy = around.console, around.policy
        self._ranks: dict[str, int] = {}
        self._recovery: _Recovery | None = None
        self._reached, self._formed_s = 0, 0.0  # the furthest tick told of, and when the newest generation was formed
        self.heard: dict[str, float] = {}
        self.progressed = False  # a worker has told of a step of this call
        self.step = 0
        self.logs: dict[str, Any] = {}
        self.position: Position = program.at(0)

    # -- the group ------------------------------------------------------------------------------------------------------------------

    def formed(self, form: o.Form, tick: int, *, anew: bool) -> None:
        """A generation is being formed, which goes on at `tick`; `anew`: after all were lost."""
        self._ranks = {worker: rank for rank, worker in enumerate(form.members)}
        self._statistics.workers = len(form.members)
        self._console.event("formed", None, generation=form.generation, members=list(form.members), tick=tick)
        if self._recovery is not None:
            if anew:
                self._recovery.back_from = self.step
            self._recovery.again += max(0, max(self._reached, form.tick) - tick)
        self._reached, self._formed_s = tick, self._around.clock.monotonic_s()

    def lost(self, report: o.WorkerLost, before: o.State, after: o.State, now: float) -> None:
        """A worker is dead; `before` and `after` are what `decide` made of it."""
        since_s = self._stood_still_since(report.worker, now)
        self.heard.pop(report.worker, None)
        if not is_member(before, report.worker):
            if before.roster.ready.has(report.worker) or report.worker not in self._ranks:
                words = f"worker {report.worker} lost before it joined: {report.reason}"
                self._console.event("worker lost", words, worker=report.worker, reason=report.reason)
            return
        facts = self._facts.get(report.worker, WorkerFacts())
        recovery = self._begun(since_s, before)
        recovery.lost.append(report.worker)
        self._statistics.workers = max(0, self._statistics.workers - 1)
        self._statistics.step_times.pop(report.worker, None)
        rank = self._ranks[report.worker] if report.worker in self._ranks else members_of(before).index(report.worker)
        self._console.event(
            "worker lost",
            f"worker {report.worker} lost (rank {rank}, pid {facts.pid} on {facts.host}): {report.reason}{self._what_follows(after)}",
            worker=report.worker, reason=report.reason, tick=self.position.tick,
        )  # fmt: skip

    def broke(self, state: o.State, now: float) -> None:
        """The group has not got on since `now`, before anybody knew of a death: a member found it broken, or one is stuck."""
        self._begun(now, state)

    def killed(self, worker: str, because: str, now: float) -> None:
        """We end a worker that does not answer or does not get on."""
        since_s = self._stood_still_since(worker, now)
        if worker in self._ranks and self._recovery is None and since_s < now:
            self._recovery = _Recovery(since_s, self.step, -1)
        self._console.event("kill", f"{because}: killed", worker=worker)

    def progress(self, report: m.Progress, now: float) -> Position:
        """Rank 0 has got so far; where that is."""
        self.progressed = True
        position = self._program.at(max(0, report.tick - 1))
        plan = dict(self._program.plans).get(position.phase)
        if not isinstance(plan, StreamPlan) or plan.counted(position.epoch, position.step):
            self.position = position  # else behind the last step of data whose end nobody knew
        self.step = self._statistics.step = report.step
        self.logs = report.logs
        self.works(report.generation, report.tick, now)
        return self.position

    def works(self, generation: int, tick: int, now: float) -> None:
        """The group works, or waits at a boundary as it should: if it formed after a break, that is overcome."""
        self._reached = max(self._reached, tick)
        recovery = self._recovery
        if recovery is None or generation <= recovery.generation or recovery.generation < 0:
            return
        self._recovery = None
        took = now - recovery.since_s
        members = len(self._ranks)
        if recovery.back_from is not None:
            after = f"; all had been {'lost' if recovery.lost else 'given up'} at step {recovery.back_from}"
        elif recovery.again:  # of a predict, whose outputs were still on a worker that died
            after = f"; {recovery.again} steps are done again"
        else:
            after = ", no step lost"
        words = f"re-formed with {members} workers in {took:.2f} s{after}"
        self._console.event(
            "recovered", words, seconds=round(took, 4), lost=recovery.lost, generation=generation, tick=tick,
        )  # fmt: skip
        self._statistics.recoveries.append(Recovery(recovery.step, took, len(recovery.lost)))

    def rolls_back(self, tick: int, restore: str | None, why: str) -> None:
        """The callbacks go to the tick of a checkpoint, as the workers do; `why` as in `GroupControl.went_back`."""
        if why == "differ":
            words = f"going on from {restore or 'the start'}, where all agreed"
            self._console.event("restart", words, restore=restore, tick=tick)
        elif why == "jump":
            words = f"checkpoint {restore}, committed meanwhile, is further on: going on from there"
            self._console.event("newer checkpoint", words, restore=restore, tick=tick)
        else:
            self._console.event("restart", f"all workers were lost: going on from {restore or 'the start'}", restore=restore, tick=tick)

    def rank_of(self, worker: str) -> int | None:
        """Its number in the newest generation, or None outside of it."""
        return self._ranks.get(worker)

    def slow(self, slow: Slow) -> None:
        """Others wait for a worker, longer than usual."""
        usual = f"; median {slow.median_s:.2g} s" if slow.median_s else ""
        others = "the other waits" if slow.others == 1 else f"the {slow.others} others wait"
        words = f"{slow.worker} has been {slow.doing} for {slow.seconds:.0f} s; {others}{usual}"
        self._console.event("slow", words, worker=slow.worker, seconds=round(slow.seconds, 1), median_seconds=round(slow.median_s, 3))

    def _begun(self, now: float, state: o.State) -> _Recovery:
        if self._recovery is None:
            self._recovery = _Recovery(now, self.step, state.roster.generation)
        self._recovery.since_s = min(now, self._recovery.since_s)  # another that had been quiet for longer is found out later
        self._recovery.generation = max(self._recovery.generation, state.roster.generation)
        return self._recovery

    def _stood_still_since(self, worker: str, now: float) -> float:
        """Since when the group has not got on because of a worker that is lost now, or killed: no longer than the group is there."""
        quiet_since = self.heard.get(worker, now)
        return max(quiet_since, self._formed_s) if now - quiet_since > _QUIET_S else now

    def _what_follows(self, after: o.State) -> str:
        if not isinstance(after, o.Gathering | o.Running | o.Waiting):
            return ""
        left, needed = count_members(after), self._policy.min_workers
        there = left + len(after.roster.ready)
        if there >= needed:
            return f"; {left} go on" if left > 1 else "; 1 goes on" if left else ""
        kept = "the state is kept in memory" if left else "going on from the newest checkpoint then"
        return f"; training pauses until {needed} workers are there, {there} {'is' if there == 1 else 'are'}; {kept}"

    # -- where it stands ------------------------------------------------------------------------------------------------------------

    def status(self, number: int, kind: str, state: o.State, patience: Patience) -> dict[str, Any]:
        """What the call does, in JSON types."""
        members = members_of(state)
        placement = o.place(self._policy.virtual_workers, len(members)) if members else ()
        program, position = self._program, self.position
        plan = program.plan(position.phase) if position.phase in dict(program.plans) else None
        workers = []
        for rank, worker in enumerate(members):
            facts, doing = self._facts.get(worker, WorkerFacts()), patience.doing(worker)
            workers.append(
                {
                    "worker": worker, "rank": rank, "virtual_ranks": list(range(*placement[rank])), "pid": facts.pid, "host": facts.host,
                    "doing": None if doing is None else doing.activity,
                }
            )  # fmt: skip
        return {
            "state": "running",
            "phase": type(state).__name__.lower(),
            "call": number,
            "kind": kind,
            "epoch": min(position.epoch + 1, program.epochs),
            "epochs": program.epochs,
            "step": self.step,
            "step_in_epoch": position.step + 1,
            "steps_per_epoch": None if plan is None else plan.known_steps,
            "generation": state.roster.generation,
            "logs": {name: value for name, value in self.logs.items() if isinstance(value, int | float)},
            "workers": workers,
        }
