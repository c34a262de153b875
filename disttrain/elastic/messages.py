"""What driver and workers say to each other: commands down, reports up. Frozen values that pickle; each names its call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from disttrain.elastic.data_messages import Portion as Portion
from disttrain.elastic.data_messages import Skipped as Skipped
from disttrain.elastic.data_messages import Wanted as Wanted

if TYPE_CHECKING:  # they bring torch, and the driver starts its workers while it loads that
    from disttrain.checkpoint import ShardReport, TensorSpec
    from disttrain.checkpoint.same_disk import Proof
    from disttrain.collectives.store_server import StoreAddress
    from disttrain.data.bad_samples import Skip
    from disttrain.training.boundary_decision import BoundaryDecision
    from disttrain.training.step.audit import AuditNote
    from disttrain.training.step.state_digest import StateDigest

# -- commands ---------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CallSettings:
    """What a worker needs to know of the run for one call.

    Args:
        run_dir: the run directory, any fsspec URL; None for a run that keeps nothing.
        attempt: the number of this start of the driver.
        sequence_base: saves of the call are numbered from here on.
        every_steps: save after every so many optimizer steps; None for never by count.
        threads: intra-op threads; a constant of the run, since bits depend on it.
        device: "cpu" or "cuda": where tensors lie.
        gpu_share: of a GPU that is this worker's; below 1 others have theirs of the same one.
        progress_every_s: how often rank 0 says where it is.
        audit_share: of the time of a training that computing slices a second time is to take.
        probes: compute a slice before saying that one is ready.
        digest_every: tell the digest of the state after every so many optimizer steps; None for only at saves.
        proof: what a local run directory holds, for a worker on another host to find; None where its URL means the same everywhere.
        access: how its storage is reached, see `checkpoint.access`; may hold secrets.
    """

    run_dir: str | None
    attempt: int
    sequence_base: int
    every_steps: int | None
    threads: int
    progress_every_s: float = 0.1
    digest_every: int | None = None
    probes: bool = True
    audit_share: float = 0.0
    proof: Proof | None = None
    device: str = "cpu"
    gpu_share: float = 1.0
    access: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Begin:
    """Get ready for a call: unpack the job, build the model. Answered by `Ready`."""

    call: int
    job: Any  # a handle of the cluster; `Member` is given the function that opens it
    settings: CallSettings


@dataclass(frozen=True, slots=True)
class Form:
    """Join a generation, bring the state to that of its source, and go on.

    Args:
        members: workers in rank order. placement: the run of virtual ranks of each. ticks: what each has done; None for a newcomer.
        store: where the generation meets; None where one alone meets nobody.
        source: the rank whose state counts; None when nobody has any.
        restore: a committed checkpoint for rank 0 to read; then `source` is 0.
        tick: where the call goes on.
        frozen: what training must not change there.
        group: name of the forming whose group is used: this one's, or that of an earlier call whose members are the same.
        watch_until: up to this tick, the digest of the state is told after each step.
        transport: what carries tensors between members: "host", over the memory of their machines, or "nccl".
        skips: samples that are left out.
    """

    call: int
    generation: int
    members: tuple[str, ...]
    placement: tuple[tuple[int, int], ...]
    ticks: tuple[int | None, ...]
    store: StoreAddress | None
    source: int | None
    restore: str | None
    tick: int
    frozen: dict[str, list[str]] | None = None
    group: str = ""
    watch_until: int = -1
    transport: str = "host"
    skips: tuple[Skip, ...] = ()


@dataclass(frozen=True, slots=True)
class Abort:
    """Leave the collectives of that generation at once and answer `Stopped`."""

    call: int
    generation: int


@dataclass(frozen=True, slots=True)
class Proceed:
    """The callbacks are done with the boundary at `tick`: apply what they decided and go on."""

    call: int
    tick: int
    decision: BoundaryDecision


@dataclass(frozen=True, slots=True)
class Request:
    """Ask for something at the next step that all members share: "save", "pause" or "stop"."""

    call: int
    generation: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SaveHeld:
    """Save the whole state alone, as of `tick`, while the run waits for workers. `generation` names the save: no group ever has it."""

    call: int
    generation: int
    tick: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Send a part of the state as it is: "weights", "slots" of the optimizers, or "gradients" of the last step. Answered by `Fetched`."""

    call: int
    request: int
    what: str = "weights"
    tick: int | None = None


@dataclass(frozen=True, slots=True)
class Leave:
    """Nothing more to do: end."""


# -- what can be large ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bulk:
    """Something large that stays where it is until the driver collects it; what proves life never waits behind it.

    Args:
        key: names it, once in a run.
        nbytes: about its size.
        handle: the cluster's; None where it is gone.
    """

    key: str
    nbytes: int
    handle: Any


@dataclass(frozen=True, slots=True)
class Collected:
    """What the driver asked its cluster to `collect` is here, or cannot come: `error` says why."""

    key: str
    value: Any = None
    error: str | None = None


# -- reports ----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """The job is unpacked and the model built. `left_word`: this worker has left a word in the run directory, for the driver to find.
    `probe` is what it makes of the first slice, `processor` what it computes on, `gpu_uuid` its GPU, "" on a CPU, `device` of which kind
    that is: "cpu", "cuda" or "mps", and `gpu_address` where the GPU sits in its machine."""

    worker: str
    call: int
    pid: int
    host: str
    timings: dict[str, float] = field(default_factory=dict)
    left_word: bool = False
    probe: StateDigest | None = None
    processor: str = ""
    gpu_uuid: str = ""
    device: str = "cpu"
    gpu_address: str = ""


@dataclass(frozen=True, slots=True)
class Stopped:
    """This worker left the step loop; its state is that of `tick`, None: it was still waiting for one. `because` is for people."""

    worker: str
    call: int
    generation: int
    tick: int | None
    because: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Rank 0: ticks done, and the means so far."""

    worker: str
    call: int
    generation: int
    tick: int
    logs: dict[str, Any]
    step: int


@dataclass(frozen=True, slots=True)
class AtBoundary:
    """Rank 0: all wait for the callbacks at `tick`. `optimizer` is its counters, which callbacks read; `others` those of others."""

    worker: str
    call: int
    generation: int
    tick: int
    logs: dict[str, Any]
    optimizer: dict[str, Any]
    others: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """Rank 0 has copied the state of `tick`; a `ShardWritten` follows, perhaps many boundaries later, in `limit_s` at most."""

    worker: str
    call: int
    tick: int
    limit_s: float = 300.0


STILL_WRITING = "the save before is not written yet"  # why a part is missing where the storage is slow


@dataclass(frozen=True, slots=True)
class ShardWritten:
    """This worker's part of the save of `tick` lies in storage, `seconds` after the step boundary; for `stall_seconds` of those the
    worker stood still. `digest` is that of its whole state then, and `audits` have
    passed since the save before. Rank 0 adds what the manifest needs, and the names of the digest."""

    worker: str
    call: int
    generation: int
    tick: int
    rank: int
    size: int
    step: int
    report: ShardReport | None
    error: str | None = None
    digest: StateDigest | None = None
    audits: int = 0
    stall_seconds: float = 0.0
    seconds: float = 0.0
    meta: dict[str, Any] | None = None
    specs: list[TensorSpec] | None = None
    sequence: int = 0
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Digested:
    """The digest of this worker's state as of `tick`, one of `size` that are compared; rank 0 adds the names.

    Args:
        first: what it was when this worker alone had done that tick; the group has done it again since, from the state of `source`.
    """

    worker: str
    call: int
    generation: int
    tick: int
    size: int
    digest: StateDigest
    first: bytes = b""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Audited:
    """What this worker got for a slice that was computed twice, attempt by attempt: the two did not agree at once."""

    worker: str
    call: int
    generation: int
    notes: tuple[AuditNote, ...]


@dataclass(frozen=True, slots=True)
class Predicted:
    """Outputs by (step * V + virtual rank)."""

    worker: str
    call: int
    parts: dict[int, Any]


@dataclass(frozen=True, slots=True)
class Finished:
    """The last tick is done. Rank 0 adds the result: the state of a fit, the logs of an evaluate."""

    worker: str
    call: int
    generation: int
    tick: int
    result: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """Arrays by name: those of weights and slots as in `Replica.state_dict`, gradients by weight; empty where this worker has none."""

    worker: str
    call: int
    request: int
    arrays: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Timed:
    """Where the time of this worker's training steps goes: sums since it began the call."""

    worker: str
    call: int
    step_times: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """The script's own code raised. `error` is the exception where it pickles; `traceback` is the text."""

    worker: str
    call: int
    generation: int
    tick: int
    error: BaseException | None
    traceback: str


@dataclass(frozen=True, slots=True)
class PlaceFailed:
    """Not the script's code: the GPU, its driver or its memory did not do its part. This worker can go on no more, and is to be replaced.
    `gpu_uuid` is the GPU, "" where even that is not known."""

    worker: str
    call: int
    generation: int
    tick: int
    reason: str
    host: str
    gpu_uuid: str


@dataclass(frozen=True, slots=True)
class Beat:
    """What a worker does, said every second by a thread that needs none of its collectives.

    Args:
        activity: "idle", "opening", "forming", "receiving" a state, "computing", "waiting" in a collective, "copying" for a save, "saving",
            which may wait for the save before, "loading" a checkpoint, or "boundary".
        tick: the one it is about.
        seconds: for so long.
        ticks: so many it has completed in this call; the last of them took `tick_seconds` in the median, the slowest of all
            `slowest_seconds`; 0 while unknown.
    """

    worker: str
    call: int
    generation: int
    activity: str
    tick: int
    seconds: float
    ticks: int = 0
    tick_seconds: float = 0.0
    slowest_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Printed:
    """Lines that the script's code printed in a worker; `stream` is "stdout" or "stderr"."""

    worker: str
    stream: str
    text: str
