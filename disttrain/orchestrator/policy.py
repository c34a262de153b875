"""How much to put up with: the numbers that `decide` compares with."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True, slots=True)
class RecoveryPolicy:
    """Sizes of the group and limits of patience.

    No limit here judges work of unknown size: who says that it computes is waited for, up to a limit that follows the measured ticks
    (`patience.py`) or `hang_timeout_s`.
    """

    workers: int  # the first generation waits for so many
    virtual_workers: int  # V, the fixed slices of each batch; no group is larger
    min_workers: int = 1  # a group is never smaller
    max_workers: int | None = None  # a group never grows beyond; None: `workers`
    spares: int = 0  # kept warm beyond max_workers, to step in without an import
    start_grace_s: float = 30.0  # after the first is ready, wait so long for all before starting with min_workers
    start_limit_s: float = 300.0  # a worker not ready after that is killed; long enough for a cluster that must first grow
    start_backoff_s: float = 1.0  # pause after a failed start; doubles with each failure in a row
    start_backoff_max_s: float = 60.0
    start_failure_limit: int = 5  # failed starts in a row, nobody living: the call ends
    stop_limit_s: float = 30.0  # a member that has not left the loop by then, and does not say that it works, is killed
    silence_limit_s: float = 30.0  # a worker without heartbeat for longer is killed, unless its machine says that it runs
    hang_timeout_s: float | None = None  # no progress for so long is a hang; None: what the measured ticks suggest
    wait_s: float = 600.0  # with fewer than min_workers for so long, the call ends
    poison_limit: int = 3  # generations in succession that lost a worker at one and the same tick: the call ends
    redo_step: bool = False  # where members stopped one tick apart, go on from the one before: all do the tick again
    break_limit: int = 20  # generations in succession that broke and got no further than before: the call ends

    def __post_init__(self) -> None:
        for name in ("workers", "virtual_workers", "min_workers", "start_failure_limit", "poison_limit", "break_limit"):
            if getattr(self, name) < 1:
                raise ValueError(f"RecoveryPolicy({name}={getattr(self, name)!r}): expected 1 or more.")
        if self.spares < 0:
            raise ValueError(f"RecoveryPolicy(spares={self.spares!r}): expected 0 or more.")
        for field in fields(self):
            value = getattr(self, field.name)
            # 0 is refused too: a limit that is over when it begins would kill every worker, or ask for timers without end
            if field.name.endswith("_s") and value is not None and not value > 0:
                raise ValueError(f"RecoveryPolicy({field.name}={value!r}): expected a number of seconds above 0.")
        if self.min_workers > self.workers:
            raise ValueError(f"RecoveryPolicy(min_workers={self.min_workers}): expected at most workers={self.workers}.")
        if self.max_workers is not None and self.max_workers < self.workers:
            raise ValueError(f"RecoveryPolicy(max_workers={self.max_workers}): expected at least workers={self.workers}.")
        if self.min_workers > self.virtual_workers:
            raise ValueError(
                f"RecoveryPolicy(min_workers={self.min_workers}): expected at most virtual_workers={self.virtual_workers}; "
                "a worker without a slice of the batch has nothing to do."
            )

    @property
    def member_limit(self) -> int:
        """Members of the largest group: a member hosts one virtual worker at least."""
        return min(self.workers if self.max_workers is None else self.max_workers, self.virtual_workers)

    @property
    def process_limit(self) -> int:
        """Processes to keep, living and starting together; those beyond `member_limit` are spares."""
        return (self.workers if self.max_workers is None else self.max_workers) + self.spares

    @property
    def first_members(self) -> int:
        """Ready workers that the first generation waits for, if they come in time."""
        return min(self.workers, self.member_limit)

    def start_backoff_after(self, failures: int) -> float:
        """Seconds to pause after `failures` (1 or more) failed starts in a row."""
        return min(self.start_backoff_s * 2.0 ** min(failures - 1, 62), self.start_backoff_max_s)
