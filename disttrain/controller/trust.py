"""Do the workers of a call compute the same? At the door, and from then on; and does what they compute on do its part?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from disttrain.controller.admission import Admission, ThirdOpinion
from disttrain.controller.environment import CallEnvironment, WorkerFacts
from disttrain.controller.group import GroupControl
from disttrain.controller.places import Places
from disttrain.controller.replicas import Replicas
from disttrain.controller.saving import Saving
from disttrain.elastic import messages as m
from disttrain.training.local.runner import device_of, intra_op_threads, kept_generators
from disttrain.training.step.engine import Engine
from disttrain.training.step.probe import probe


class Trust:
    """What is heard of the workers' bits in one call.

    Args:
        facts: what is known of the workers.
        saving: takes the parts of saves whose digests agree.
        group: who takes part.
        stopping: does the group go on only to stop?
        handle: of the job, once it is packed.
    """

    def __init__(
        self, around: CallEnvironment, facts: dict[str, WorkerFacts], saving: Saving, group: GroupControl, stopping: Callable[[], bool],
        handle: Callable[[], Any],
    ) -> None:  # fmt: skip
        self.replicas = Replicas(around, facts, saving, group.decide, lambda: group.generation)
        self._group, self._threads, self._cluster, self._handle = group, around.threads, around.cluster, handle
        self._device = around.device
        self._places = Places(around, facts, group.decide)
        self._admission = Admission(
            around, facts, self._third_opinion, lambda ready, now: group.ready(ready, now, stopping=stopping()), group.decide
        )

    def hear(self, report: m.Ready | m.Digested | m.Audited | m.ShardWritten | m.PlaceFailed, now: float) -> None:
        """A worker has opened its job, tells its digest, has written its part of a save, or its place has failed."""
        if isinstance(report, m.PlaceFailed):
            self._places.failed(report, now)
        elif isinstance(report, m.Ready):
            self._group.patience.rests(report.worker, now)
            self._places.ready(report)
            self._admission.ready(report, now)
        elif isinstance(report, m.Digested):
            self.replicas.digested(report)
        elif isinstance(report, m.Audited):
            self.replicas.audited(report)
        else:
            self.replicas.written(report)

    def look(self, now: float) -> None:
        """Look whether somebody was asked who has answered."""
        self._admission.look(now)

    def _third_opinion(self) -> ThirdOpinion:
        """The slice that workers differ in, computed in this process, from the job as they have it; it can judge those on CPUs alone."""
        if self._device != "cpu":
            return ThirdOpinion(None, None)
        job = self._cluster.open(self._handle())
        with intra_op_threads(self._threads), kept_generators():
            engine = Engine(job, device_of(job.model))
            return ThirdOpinion(probe(engine), probe(engine))
