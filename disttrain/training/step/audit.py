"""What is computed a second time, by whom, and how both are compared within the exchange of the step itself, before anything is updated.

Which slice of which step is a function of the seed and the step. The worker that hosts it adds its digest to the sum, another that
computes it too subtracts its own: the sum is 0 only where the two agree, and every worker sees it. Likewise for a piece of the state that
the update before has left: rank 0 adds its digest once for each of the others, they subtract theirs.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from disttrain.checkpoint import fault_digest
from disttrain.collectives import GroupBroken
from disttrain.seeds import fold_in
from disttrain.training.step.model_state import ModelState
from disttrain.training.step.state_digest import as_bytes

ATTEMPTS = 3  # how often a step is done until the two agree
WORDS = 4  # numbers of a digest: 32 bits each, so that sums over a million workers are exact in float64
PIECE = 1 << 14  # numbers of each flat tensor of the state that are compared
_DRAWS = 1 << 63


class AuditDiffers(Exception):
    """Two workers got other bits for one slice; nothing was updated."""


class AuditUnsettled(GroupBroken):
    """They did so each time; the state is that of the tick before."""


class StatesDiffer(GroupBroken):
    """A piece of the state is not the same on all workers."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The slice of virtual rank `slice` is computed by the worker of rank `owner`, which hosts it, and by `auditor`."""

    slice: int
    owner: int
    auditor: int
    attempt: int = 0

    def sign(self, rank: int) -> int:
        """With which the worker of this rank adds its digest; 0 where it has none."""
        return (rank == self.owner) - (rank == self.auditor)

    def again(self, workers: int) -> Audit:
        """The next attempt: another auditor, where there is one."""
        auditor = (self.auditor + 1) % workers
        auditor = (auditor + 1) % workers if auditor == self.owner else auditor
        return replace(self, auditor=auditor, attempt=self.attempt + 1)


@dataclass(frozen=True, slots=True)
class AuditNote:
    """What a worker had to do with one attempt: the digest that it got, and whether both agreed."""

    tick: int
    slice: int
    attempt: int
    digest: bytes
    agreed: bool


def taking_part(placement: Sequence[tuple[int, int]], leaves: int) -> int:
    """How many workers, the first ones, host a slice that has samples."""
    return sum(start < leaves for start, _ in placement)


def audit_of(seed: int, step: int, share: float, leaves: int, placement: Sequence[tuple[int, int]]) -> Audit | None:
    """What is audited in a step; mostly nothing.

    Args:
        share: of the time of a training that audits are to take: an audited slice takes as long as the step of a worker that hosts one.
    """
    workers = taking_part(placement, leaves)
    if workers < 2 or not share:
        return None
    draw = fold_in(seed, "audit", step)
    if draw >= share * leaves / workers * _DRAWS:
        return None
    number = fold_in(draw, "slice") % leaves
    owner = bisect_right([start for start, _ in placement], number) - 1
    auditor = (owner + 1 + fold_in(draw, "auditor") % (workers - 1)) % workers
    return Audit(number, owner, auditor)


def words_of(digest: bytes) -> list[float]:
    """A digest as whole numbers that float64 adds up exactly."""
    return [float(word) for word in struct.unpack(f"<{WORDS}I", digest)]


class StatePieces:
    """Of the weights and slots of one worker, some numbers that the step chooses: each has its turn.

    In memory of the host the bytes are looked at where they lie, through views that are made once: this happens in every step.
    """

    def __init__(self, state: ModelState) -> None:
        slots = (own.flat_slots[name] for own in state.optimizers for name in sorted(own.flat_slots))
        self._flats = [*state.flat_params, *(flat for flats in slots for flat in flats)]
        self._bytes = [as_bytes(flat) if flat.device.type == "cpu" else None for flat in self._flats]

    def digest(self, seed: int, step: int) -> bytes:
        """Of those that this step chooses, `PIECE` of each flat tensor."""
        draw = fold_in(seed, "piece", step)
        return fault_digest(b"".join(fault_digest(self._piece(number, draw)) for number in range(len(self._flats))))

    def _piece(self, number: int, draw: int) -> memoryview:
        flat, where = self._flats[number], self._bytes[number]
        start = draw % max(1, flat.numel() - PIECE + 1)
        if where is None:
            return as_bytes(flat[start : start + PIECE])
        size = flat.element_size()
        return where[start * size : (start + PIECE) * size]
