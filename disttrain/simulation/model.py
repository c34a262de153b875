"""What is assumed of a run and of the cluster below it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from disttrain.errors import UsageError
from disttrain.orchestrator import RecoveryPolicy

_CROWD = 16  # of many workers that are alike, so many are simulated one by one, and more where many may be missing at once
_LARGEST_CROWD = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterModel:
    """A run and its cluster; times in seconds.

    Args:
        workers, virtual_workers, min_workers, spares: as of `disttrain launch`; virtual_workers None: `workers`.
        step_s: an optimizer step with all workers there. With fewer, some host more slices, and it takes so much longer.
        checkpoint_s: from the begin of a save to the begin of the next.
        mtbf_s: mean time between failures of single workers, among all `workers` of the cluster together; None: they never fail.
        outage_s: mean time between losses of all workers at once; None: never.
        detect_s: from a death to the driver's hearing of it.
        reform_s: from there to the first step of the next generation; the same for each joining of a replacement.
        start_s: until a replacement has a machine, has imported and has built the model.
        state_bytes, bandwidth: of weights and optimizer, and how many bytes a second a newcomer receives, or storage takes and gives.
        save_stall_s: for so long the workers stand at each save.
        callback_s, epoch_steps: for so long they wait for the callbacks after each so many steps.
    """

    workers: int
    virtual_workers: int | None = None
    min_workers: int = 1
    spares: int = 0
    step_s: float
    checkpoint_s: float
    mtbf_s: float | None = None
    outage_s: float | None = None
    detect_s: float = 1.0
    reform_s: float = 0.5
    start_s: float = 15.0
    state_bytes: float = 1e9
    bandwidth: float = 1e9
    save_stall_s: float = 0.2
    callback_s: float = 0.0
    epoch_steps: int = 1000

    def __post_init__(self) -> None:
        for name in ("workers", "min_workers", "epoch_steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected an integer of 1 or more.")
        if self.spares < 0:
            raise UsageError(f"--spares {self.spares}: expected 0 or more.")
        if self.min_workers > self.workers:
            raise UsageError(f"--min-workers {self.min_workers} is more than --workers {self.workers}: expected at most as many.")
        if self.slices < self.workers:
            raise UsageError(f"--virtual-workers {self.slices} for --workers {self.workers}: each worker hosts one or more.")

    @property
    def slices(self) -> int:
        """V, the slices of each batch."""
        return self.workers if self.virtual_workers is None else self.virtual_workers

    @property
    def transfer_s(self) -> float:
        """How long the whole state travels."""
        return self.state_bytes / self.bandwidth

    @property
    def failures_per_s(self) -> float:
        """Of single workers, spares among them."""
        return 0.0 if self.mtbf_s is None else (self.workers + self.spares) / (self.workers * self.mtbf_s)

    @property
    def all_lost_s(self) -> float:
        """Mean time between losses of every copy of the state; infinity where only an unlikely pair of failures would do it."""
        rate = (0.0 if self.outage_s is None else 1 / self.outage_s) + (self.failures_per_s if self.workers == 1 else 0.0)
        return 1 / rate if rate else math.inf

    def step_with(self, members: int) -> float:
        """Seconds of a step with so many members, as long as the one of them that hosts the most slices takes."""
        return self.step_s * math.ceil(self.slices / members) / math.ceil(self.slices / self.workers)


@dataclass(frozen=True, slots=True)
class Crowd:
    """Workers are alike, so of many only some are simulated one by one, and the rest stands for members that are always there.

    What is missing, joins or waits is counted from the full number down, so nothing is lost by it as long as fewer are missing than
    `size`; only a group of exactly `min_workers`, after all were lost, is told from that.
    """

    model: ClusterModel
    size: int

    @staticmethod
    def of(model: ClusterModel) -> Crowd:
        """Large enough for those that may be missing at once."""
        missing = model.failures_per_s * (model.start_s + model.detect_s + model.transfer_s)
        return Crowd(model, min(model.workers, _LARGEST_CROWD, _CROWD + math.ceil(missing + 6 * math.sqrt(missing))))

    @property
    def unseen(self) -> int:
        """Workers that are not simulated one by one."""
        return self.model.workers - self.size

    @property
    def policy(self) -> RecoveryPolicy:
        """What `decide` goes by, of the crowd."""
        least = max(1, self.model.min_workers - self.unseen)
        return RecoveryPolicy(workers=self.size, virtual_workers=self.size, min_workers=least, spares=self.model.spares)

    def members(self, here: int) -> int:
        """Members of the whole group while `here` of the crowd are in it."""
        smallest = here == 1 and self.model.min_workers <= self.unseen
        return self.model.min_workers if smallest else here + self.unseen
