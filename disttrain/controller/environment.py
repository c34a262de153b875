"""What every call of a session shares, and what is known of its workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from disttrain import orchestrator as o
from disttrain.clock import Clock, SystemClock
from disttrain.collectives.store_server import StoreAddress
from disttrain.controller.checkpoint_interval import CheckpointInterval
from disttrain.controller.place import Place
from disttrain.elastic import messages as m
from disttrain.rundir.timeline import Console


@dataclass(frozen=True)
class CallEnvironment:
    """What every call of a session shares.

    Args:
        cluster: a Cluster port, with `put` for jobs.
        policy: sizes and limits.
        run_dir, attempt, threads, device, gpu_share: see `elastic.messages.CallSettings`.
        meeting_place: where the next generation meets.
        interrupts: how often the user has asked to stop.
        first_step: called when a call has made its first progress.
        clock: what time it is.
        audit_share: of the time of a training that computing slices a second time is to take.
        admission: let only workers in that get the same bits of one slice.
        digest_every: compare the workers' states after so many optimizer steps; None for only at saves.
        identity: what belongs to the call, see `rundir.identity`; kept in its checkpoints.
        place: the run directory, where workers on other hosts must prove that it is theirs too.
        on_checkpoint_failure: "stop" ends the call where storage does not take a checkpoint; "continue" tries again later.
        transport: what is to carry tensors between workers, see `controller.transport`.
        access: how the storage of `run_dir` is reached, see `checkpoint.access`.
    """

    cluster: Any
    policy: o.RecoveryPolicy
    run_dir: str | None
    attempt: int
    threads: int
    meeting_place: Callable[[], StoreAddress]
    checkpoint_interval: CheckpointInterval
    console: Console
    interrupts: Callable[[], int]
    first_step: Callable[[], None]
    clock: Clock = field(default_factory=SystemClock)
    digest_every: int | None = None
    admission: bool = True
    audit_share: float = 0.0
    identity: dict[str, Any] = field(default_factory=dict)
    place: Place | None = None
    on_checkpoint_failure: str = "continue"
    transport: str = "auto"
    device: str = "cpu"
    gpu_share: float = 1.0
    access: dict[str, Any] = field(default_factory=dict, repr=False)

    def settings(self, kind: str, sequence_base: int) -> m.CallSettings:
        """What workers are told of a call of this kind; its saves are numbered from `sequence_base` on."""
        return m.CallSettings(
            run_dir=self.run_dir if kind == "fit" else None,
            attempt=self.attempt,
            sequence_base=sequence_base,
            every_steps=self.checkpoint_interval.steps,
            threads=self.threads,
            device=self.device,
            gpu_share=self.gpu_share,
            digest_every=self.digest_every,
            probes=self.admission and kind == "fit",
            audit_share=self.audit_share,
            proof=None if self.place is None else self.place.proof,
            access=self.access,
        )


@dataclass
class WorkerFacts:
    """What is known of a worker, for people; `errors`: so often it was found to have computed wrong bits. `faults`: so often its place
    has failed, the GPU `gpu_uuid`, which is `left_out` once it did so too often."""

    pid: int = 0
    host: str = ""
    errors: int = 0
    gpu_uuid: str = ""
    faults: int = 0
    left_out: bool = False


@dataclass
class KeptGroup:
    """The group that workers keep from call to call while nobody comes or goes.

    Args:
        name: of the forming that made it; None when there is none that is whole.
        members: in rank order.
    """

    name: str | None = None
    members: tuple[str, ...] = ()
