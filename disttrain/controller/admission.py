"""Who may join: a worker whose probe, one slice computed when it opened its job, has the bits of the others'."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from disttrain import orchestrator as o
from disttrain.controller.environment import CallEnvironment, WorkerFacts
from disttrain.elastic import messages as m
from disttrain.elastic.processor import gpu_kind
from disttrain.errors import NondeterministicStep
from disttrain.orchestrator.forming import listed
from disttrain.orchestrator.replicas import Door, answer, judge_door
from disttrain.training.step.state_digest import StateDigest, first_difference


@dataclass(frozen=True)
class ThirdOpinion:
    """What the driver made of the same slice, twice; None where it could not be computed here."""

    first: StateDigest | None
    second: StateDigest | None


class Admission:
    """The door of one call.

    Args:
        facts: what is known of the workers.
        third: computes the probe in this process, twice; called on a thread of its own.
        join: lets a worker in.
        decide: lets the orchestrator decide.
    """

    def __init__(
        self, around: CallEnvironment, facts: dict[str, WorkerFacts], third: Callable[[], ThirdOpinion],
        join: Callable[[m.Ready, float], None], decide: Callable[[o.Event], None],
    ) -> None:  # fmt: skip
        self._console, self._clock, self._cluster = around.console, around.clock, around.cluster
        self._facts, self._third, self._join, self._decide = facts, third, join, decide
        self._door = Door()
        self._kind: str | None = None  # of GPU, that of the first worker
        self._looks = around.admission
        self._told: dict[str, m.Ready] = {}  # what each came with
        self._opinions: queue.SimpleQueue[ThirdOpinion | BaseException] = queue.SimpleQueue()

    def ready(self, report: m.Ready, now: float) -> None:
        """A worker has opened its job."""
        known = self._facts.get(report.worker, WorkerFacts())
        self._facts[report.worker] = replace(known, pid=report.pid, host=report.host)
        self._told[report.worker] = report
        if not self._is_kin(report):
            self._refuse_stranger(report, now)
            return
        if report.probe is None:
            self._join(report, now)
            return
        self._door, answers = judge_door(self._door, report.worker, report.probe.packed)
        self._answer(answers, now)

    def _is_kin(self, report: m.Ready) -> bool:
        """Does it compute on the same kind of GPU, with the same libraries, as the first that came?"""
        kind = gpu_kind(report.processor)
        if self._kind is None:
            self._kind = kind
        return kind == self._kind or not self._looks

    def _refuse_stranger(self, report: m.Ready, now: float) -> None:
        words = f"worker {report.worker} on {report.host} computes on {gpu_kind(report.processor) or report.processor}"
        words += f", and the others on {self._kind or 'CPUs'}: their bits need not be the same"
        about = {"worker": report.worker, "host": report.host, "processor": report.processor, "tensor": ""}
        self._console.event("refused", f"{words}: refused; --no-admission lets it in", **about)
        if all(told.host != report.host or gpu_kind(told.processor) != self._kind for told in self._told.values()):
            self._cluster.avoid((report.host,))
        self._decide(o.Refused(report.worker, f"{report.worker} is refused: it computes on another kind of GPU", now))

    def look(self, now: float) -> None:
        """Hear the third opinion, if one was asked for and is there."""
        while not self._opinions.empty():
            opinion = self._opinions.get()
            if isinstance(opinion, BaseException):
                self._console.note(f"warning: the driver could not compute the slice that the workers differ in: {opinion}")
                opinion = ThirdOpinion(None, None)
            first, second = opinion.first, opinion.second
            if first is not None and second is not None and first.packed != second.packed:
                tensor = first_difference(first.packed, second.packed, first.names)
                raise NondeterministicStep(
                    f"the workers get other bits for one slice, and so does this process when it computes it twice: first in {tensor}.\n"
                    "  expected  a step that gives the same bits each time it is done from the same state\n"
                    "  try       look for a clock or an unseeded generator in the layers or the loss"
                )
            self._door, answers = answer(self._door, None if first is None else first.packed)
            self._answer(answers, now)

    def _answer(self, answers: tuple[tuple[str, bool], ...], now: float) -> None:
        for worker, admitted in answers:
            if admitted:
                self._join(self._told[worker], now)
            else:
                self._refuse(worker, now)
        if self._door.asks:
            self._door = replace(self._door, asks=False)
            waiting = listed(tuple(worker for worker, _ in self._door.waiting))
            self._console.event("door", f"{waiting} gets other bits for the same slice than the others: this process computes it too")
            threading.Thread(target=self._ask_third, name="third-opinion", daemon=True).start()

    def _ask_third(self) -> None:
        try:
            self._opinions.put(self._third())
        except BaseException as error:  # of the script's code too: it is told, and the workers alone decide
            self._opinions.put(error)
        self._cluster.wake()

    def _refuse(self, worker: str, now: float) -> None:
        report = self._told[worker]
        reference = self._door.reference
        tensor = ""
        if report.probe is not None and reference is not None:
            tensor = first_difference(report.probe.packed, reference, report.probe.names)
        words = f"worker {worker} on {report.host} ({report.processor}) gets other bits for the same slice, first in {tensor}"
        others = sorted({told.processor for told in self._told.values() if told.probe and told.probe.packed == reference})
        words += f"; the others compute on {' and '.join(others)}" if others else ""
        about = {"worker": worker, "host": report.host, "processor": report.processor, "tensor": tensor}
        self._console.event("refused", f"{words}: refused", **about)
        self._shun(report.host)
        self._decide(o.Refused(worker, f"{worker} is refused: it gets other bits", now))

    def _shun(self, host: str) -> None:
        """Place no more workers there, unless those that are admitted are there as well."""
        reference = self._door.reference
        if all(told.host != host for told in self._told.values() if told.probe is not None and told.probe.packed == reference):
            self._cluster.avoid((host,))
