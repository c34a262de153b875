"""Hearing workers: one thread that waits for all calls under way, and turns what becomes of them into reports.

A worker has one `reports` call waiting on it at any time. Whatever Ray raises instead of an answer, that worker is lost: words may have
been lost with it. Whatever else ends the thread is told to who asks for reports.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import ray
from ray.exceptions import RayError, RayTaskError

from disttrain.clock import Clock
from disttrain.clusters.ray import lookout
from disttrain.clusters.ray.actor import Answer
from disttrain.clusters.ray.compat import brief, says_node_died
from disttrain.clusters.ray.lookout import Findings, ProcessFacts
from disttrain.clusters.ray.lookouts import Lookouts
from disttrain.clusters.ray.reasons import early_findings, reason_of
from disttrain.clusters.ray.silence import Silence
from disttrain.errors import InfrastructureError
from disttrain.orchestrator.events import Silent, StartFailed, WorkerLost

_POLL_S = 1.0  # how long a `reports` call waits on the worker; also the rhythm of its heartbeat
_WAIT_S = 0.1  # how long the thread waits for the calls that it knows
_SILENT_S = 5.0  # a call that has not come back for so long is a heartbeat missed
_LOOK_EVERY_S = 1.0
_LOOK_S = 3.0  # for a lookout on another node to say how a process is
_FINDINGS_S = 1.0  # and why one died; recovery waits for it

Kind = Literal["introduce", "command", "reports", "condition", "findings"]


@dataclass(eq=False)
class Worker:
    """What the driver knows of a worker."""

    name: str
    actor: Any
    facts: ProcessFacts | None = None  # once it has introduced itself
    answered: bool = False
    condition: lookout.Condition | Literal["unknown"] = "alive"  # as it was found when it was silent last


@dataclass(frozen=True)
class _Call:
    """A call under way. `until`: no answer by then is an answer too. `error`: of a worker whose death is looked into."""

    worker: Worker
    kind: Kind
    until: float | None = None
    error: BaseException | None = None


class Hearing:
    """The thread, from `start` to `close`.

    Args:
        end_for_certain: ends the process of a worker that Ray may not have ended.
        every_second: called by the thread about so often.

    Attributes:
        holders: processes that are no workers, and hold a GPU that is left out.
    """

    def __init__(
        self, lookouts: Lookouts, clock: Clock, *, end_for_certain: Callable[[Worker], None], every_second: Callable[[], None]
    ) -> None:
        self._lookouts, self._clock = lookouts, clock
        self._end_for_certain, self._every_second = end_for_certain, every_second
        self._lock = threading.Lock()
        self._workers: dict[str, Worker] = {}
        self.holders: list[Worker] = []
        self._calls: dict[Any, _Call] = {}
        self._silence = Silence(_SILENT_S, clock)
        self._looked = clock.monotonic_s()
        self._reports: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="ray-reports", daemon=True)

    # -- from any thread ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def add(self, worker: Worker) -> None:
        """Hear this one too."""
        with self._lock:
            self._workers[worker.name] = worker
        self._follow(worker.actor.introduce.options(concurrency_group="commands").remote(), _Call(worker, "introduce"))
        self._ask(worker)

    def knows(self, name: str) -> Worker | None:
        with self._lock:
            return self._workers.get(name)

    def all(self) -> list[Worker]:
        with self._lock:
            return list(self._workers.values())

    def follow_command(self, worker: Worker, call: Any) -> None:
        """A command that does not arrive is heard of."""
        self._follow(call, _Call(worker, "command"))

    def put(self, report: object) -> None:
        """Add a report; None only wakes who waits for one."""
        self._reports.put(report)

    def lose(self, worker: Worker, reason: str, *, crashed: bool = False) -> None:
        """Report it lost, unless that was done before."""
        if self._forget(worker):
            self.put(WorkerLost(worker.name, reason, self._clock.monotonic_s(), crashed))

    def take(self, timeout_s: float) -> list[object]:
        """All reports; waits up to `timeout_s` for the first.

        Raises:
            InfrastructureError: the thread has ended, and all that it heard was taken.
        """
        found: list[object] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._reports.get(timeout=max(0.0, timeout_s)) if self._failure is None else self._reports.get_nowait())
            while True:
                found.append(self._reports.get_nowait())
        found = [report for report in found if report is not None]
        if not found and self._failure is not None:
            raise InfrastructureError(
                f"the workers cannot be heard any more: {type(self._failure).__name__}: {self._failure}\n"
                "  expected  a thread of the driver that waits for their reports\n"
                "  try       the same command again: it goes on from the newest checkpoint"
            ) from self._failure
        return found

    def close(self) -> None:
        self._closed.set()
        self._thread.join(timeout=5.0)

    # -- the thread -----------------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closed.is_set():
                self._round()
        except BaseException as error:  # nobody else would ever know
            if not self._closed.is_set():
                self._failure = error
                self.put(None)

    def _round(self) -> None:
        with self._lock:
            calls = list(self._calls)
        if calls:
            done, _ = ray.wait(calls, num_returns=1, timeout=_WAIT_S)
            if done:  # whatever else has come by now, in one go
                done = ray.wait(calls, num_returns=len(calls), timeout=0)[0] or done
        else:
            done = []
            self._closed.wait(0.01)
        self._silence.listen()
        for ref in done:
            with self._lock:
                call = self._calls.pop(ref, None)  # None: forgotten meanwhile
            if call is not None:
                self._settle(ref, call)
        self._look_around()

    def _settle(self, ref: Any, call: _Call) -> None:
        worker = call.worker
        try:
            answer = ray.get(ref)  # it is here: a call counts as done when its answer has arrived
        except RayError as error:
            self._settle_error(call, error)
            return
        if call.kind == "findings":
            self._report_death(call, answer)
        elif call.kind == "condition":
            self._report_silence(worker, answer)
        elif call.kind == "introduce":
            worker.facts = answer
            self._lookouts.post(answer)
            if answer.holds:
                self._keep_holding(worker, answer.holds)
        elif call.kind == "reports":
            self._take_answer(worker, answer)

    def _keep_holding(self, worker: Worker, gpu: str) -> None:
        """It has come to lie on a GPU that is left out: its process stays, so that Ray gives that to nobody else, and is no worker."""
        if self._forget(worker):
            self.holders.append(worker)
            reason = f"it came to lie on {gpu}, which is left out, and holds that from now on"
            self.put(StartFailed(worker.name, reason, self._clock.monotonic_s()))

    def _take_answer(self, worker: Worker, answer: Answer) -> None:
        self._silence.heard(worker.name)
        worker.answered = True
        if self.knows(worker.name) is worker and not self._closed.is_set():
            self._ask(worker)
        for report in answer.reports:
            self.put(report)
        if worker.facts is not None and worker.facts.oom_kills != answer.oom_kills:
            worker.facts = replace(worker.facts, oom_kills=answer.oom_kills)

    def _settle_error(self, call: _Call, error: RayError) -> None:
        worker = call.worker
        if call.kind == "findings":
            self._report_death(call, None)
        elif call.kind == "condition":
            self._report_silence(worker, "unknown")
        elif self._forget(worker):
            self._look_into(_Call(worker, "findings", self._clock.monotonic_s() + _FINDINGS_S, error))
            # Ray may only have lost the connection, and our own actor may have raised: then its process is still there
            self._end_for_certain(worker)

    # -- deaths ---------------------------------------------------------------------------------------------------------------------

    def _look_into(self, death: _Call) -> None:
        facts, error = death.worker.facts, death.error
        assert error is not None
        if facts is None:
            self._report_death(death, early_findings(str(error)))
        elif self._lookouts.sees(facts):
            self._report_death(death, lookout.findings(facts))
        elif says_node_died(str(error)):
            self._report_death(death, None)
        else:
            self._follow(self._lookouts.ask("findings", facts), death)

    def _report_death(self, death: _Call, found: Findings | None) -> None:
        worker, error, now = death.worker, death.error, self._clock.monotonic_s()
        assert error is not None
        raised = isinstance(error, RayTaskError) or getattr(error, "actor_init_failed", False)
        if raised and not worker.answered:  # a fault of ours or of the environment, such as a failed import
            self.put(StartFailed(worker.name, brief(error), now))
            return
        reason, crashed = reason_of(error, worker.facts, found)
        self.put(WorkerLost(worker.name, reason, now, crashed))

    # -- silence --------------------------------------------------------------------------------------------------------------------

    def _look_around(self) -> None:
        now = self._clock.monotonic_s()
        with self._lock:
            overdue = {ref: call for ref, call in self._calls.items() if call.until is not None and call.until < now}
            for ref in overdue:
                del self._calls[ref]
            looking = {call.worker.name for call in self._calls.values() if call.kind == "condition"}
        for call in overdue.values():
            if call.kind == "findings":
                self._report_death(call, None)
            else:
                self._report_silence(call.worker, "unknown")
        if now - self._looked < _LOOK_EVERY_S:
            return
        self._looked = now
        self._every_second()
        for name in self._silence.silent():
            worker = self.knows(name)
            if worker is None:
                continue
            if name in looking:
                if worker.condition == "unknown":  # and still nobody answers
                    self._report_silence(worker, "unknown")
            elif worker.facts is None:
                self._report_silence(worker, "unknown")
            elif self._lookouts.sees(worker.facts):
                self._report_silence(worker, lookout.condition_of(worker.facts))
            else:
                self._follow(self._lookouts.ask("condition_of", worker.facts), _Call(worker, "condition", now + _LOOK_S))

    def _report_silence(self, worker: Worker, condition: lookout.Condition | Literal["unknown"]) -> None:
        since = self._silence.since(worker.name)
        if since is None or self.knows(worker.name) is not worker:
            return  # it has spoken meanwhile, or is known to be lost
        worker.condition = condition
        if condition != "gone":  # whether it is too long is not for this room to say
            self.put(Silent(worker.name, since, self._clock.monotonic_s(), condition))
        elif self._forget(worker):
            gone = RayError("its process is gone")
            self._look_into(_Call(worker, "findings", self._clock.monotonic_s() + _FINDINGS_S, gone))
            self._end_for_certain(worker)  # so that Ray lets go of it too

    # -- bookkeeping ----------------------------------------------------------------------------------------------------------------

    def _ask(self, worker: Worker) -> None:
        self._follow(worker.actor.reports.options(concurrency_group="reports").remote(_POLL_S), _Call(worker, "reports"))

    def _follow(self, ref: Any, call: _Call) -> None:
        with self._lock:
            self._calls[ref] = call

    def _forget(self, worker: Worker) -> bool:
        """Hear no more of that worker; False where that was so before."""
        with self._lock:
            if self._workers.get(worker.name) is not worker:
                return False
            del self._workers[worker.name]
            self._calls = {ref: call for ref, call in self._calls.items() if call.worker is not worker}
        self._silence.forget(worker.name)
        return True
