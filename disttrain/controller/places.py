"""Places that fail: a GPU whose workers end for no fault of theirs, twice, is left out, as long as there is another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from disttrain import orchestrator as o
from disttrain.controller.environment import CallEnvironment, WorkerFacts
from disttrain.elastic import messages as m

FAULTS = 2  # once may be a ray from outer space, or a predecessor's memory


class Places:
    """What is heard of them in one call; what is known of them lasts for the session.

    Args:
        facts: what is known of the workers, and of their GPUs.
        decide: lets the orchestrator decide.
    """

    def __init__(self, around: CallEnvironment, facts: dict[str, WorkerFacts], decide: Callable[[o.Event], None]) -> None:
        self._console, self._cluster, self._facts, self._decide = around.console, around.cluster, facts, decide

    def ready(self, report: m.Ready) -> None:
        """A worker runs there."""
        known = self._facts.get(report.worker, WorkerFacts())
        self._facts[report.worker] = replace(known, host=report.host, gpu_uuid=named(report.gpu_uuid))
        self._leave_out()  # there is another now, perhaps

    def failed(self, report: m.PlaceFailed, now: float) -> None:
        """A worker says that its place does not do its part."""
        known = self._facts.get(report.worker, WorkerFacts())
        gpu = named(report.gpu_uuid) or known.gpu_uuid
        self._facts[report.worker] = replace(known, host=report.host, gpu_uuid=gpu, faults=known.faults + 1)
        where = f"{gpu} on {report.host}" if gpu else report.host
        words = f"the place of worker {report.worker} failed ({where}): {report.reason}; it is replaced, and no sample is blamed"
        about = {"worker": report.worker, "host": report.host, "gpu": gpu, "reason": report.reason}
        self._console.event("place failed", words, **about)
        self._leave_out()
        self._decide(o.PlaceFailed(report.worker, report.reason, now))

    def _leave_out(self) -> None:
        bad = left_out(self._facts)
        new = tuple(gpu for gpu in bad if not any(facts.gpu_uuid == gpu and facts.left_out for facts in self._facts.values()))
        if not new:
            return
        for worker, facts in self._facts.items():
            if facts.gpu_uuid in new:
                self._facts[worker] = replace(facts, left_out=True)
        self._console.event("gpu left out", f"{' and '.join(new)} failed {FAULTS} times: left out from now on", gpus=list(new))
        self._cluster.avoid_gpus(new)


def named(uuid: str) -> str:
    """As the driver and Ray write it; torch leaves the kind out."""
    return uuid if not uuid or uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"


def left_out(facts: Mapping[str, WorkerFacts]) -> tuple[str, ...]:
    """The GPUs that failed too often, as long as another is known: with none, to try again is all that can be done."""
    faults: dict[str, int] = {}
    for known in facts.values():
        if known.gpu_uuid:
            faults[known.gpu_uuid] = faults.get(known.gpu_uuid, 0) + known.faults
    bad = tuple(gpu for gpu, count in faults.items() if count >= FAULTS)
    return bad if set(faults) - set(bad) else ()
