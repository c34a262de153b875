"""Indices that a kernel of a GPU must not see outside their range: there an assertion fails, and takes the process with it.

On CPUs kernels look for themselves and say what is wrong, so only tensors elsewhere come here. What lies outside is put into the range, and
noted on the device, where nobody waits for it. Inside a step the notes go into its loss, which becomes NaN: the look at the loss, before
anything is updated, finds that, and then asks for the notes. Outside a step they are looked at on the spot.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from disttrain.errors import DataError

_NOTES = 64  # kept one by one; a prediction of many steps, which no loss looks at, would gather them without end


@dataclass(frozen=True, slots=True)
class _Note:
    """What was seen: whose, how many values there are, the lowest and the highest seen, and by how much they go beyond."""

    what: str
    size: int
    lowest: Tensor
    highest: Tensor
    excess: Tensor


class Ledger:
    """The notes of the steps of one engine."""

    def __init__(self) -> None:
        self._new: list[_Note] = []
        self._excesses: list[Tensor] = []  # since the last look at a loss
        self._kept: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}

    def note(self, note: _Note) -> None:
        """One more."""
        self._new.append(note)
        self._excesses.append(note.excess)
        if len(self._new) >= _NOTES:
            self._keep()
            self._excesses = [torch.stack(self._excesses).amax()]

    def poisoned(self, loss: Tensor) -> Tensor:
        """`loss`, or NaN where something since the last call lay outside; the same bits else, and the same gradients."""
        if not self._excesses:
            return loss
        excess = torch.stack(self._excesses).amax()
        self._excesses = []
        self._keep()
        return torch.where(excess > 0, float("nan"), loss)

    def wrong(self) -> str | None:
        """What has lain outside since the last call, in words; None if nothing has. Waits for the device."""
        self._keep()
        kept, self._kept, self._excesses = self._kept, {}, []
        if not kept:
            return None
        seen = torch.stack([end for ends in kept.values() for end in ends]).tolist()
        for number, (what, size) in enumerate(kept):
            lowest, highest = seen[2 * number : 2 * number + 2]
            if lowest < 0 or highest >= size:
                return _in_words(what, size, lowest, highest)
        return None

    def _keep(self) -> None:
        new, self._new = self._new, []
        for note in new:
            key = note.what, note.size
            before = self._kept.get(key)
            ends = note.lowest, note.highest
            self._kept[key] = ends if before is None else (torch.minimum(before[0], ends[0]), torch.maximum(before[1], ends[1]))


class _Watching(threading.local):
    def __init__(self) -> None:
        self.ledger: Ledger | None = None


_watching = _Watching()


@contextmanager
def watching(ledger: Ledger | None) -> Iterator[None]:
    """Let what lies outside be noted in `ledger` inside the block, in this thread."""
    before, _watching.ledger = _watching.ledger, ledger
    try:
        yield
    finally:
        _watching.ledger = before


def guarded(device: torch.device) -> bool:
    """Do indices there have to be looked at by us? Kernels of CPUs do it themselves, and tensors without values have none."""
    return device.type not in ("cpu", "meta")


def kept_in(indices: Tensor, size: int, what: str, *, but: int | None = None) -> Tensor:
    """`indices` for a kernel that takes 0 to `size - 1`: on CPUs as they are, elsewhere put into the range and noted.

    Args:
        what: whose they are, for the error.
        but: a value that may stay though it lies outside, such as that of labels which do not count.

    Raises:
        DataError: outside a step, for an index outside.
    """
    if not guarded(indices.device) or not indices.numel() or torch.compiler.is_compiling():
        return indices
    plain = indices.detach()
    looked_at = plain if but is None else torch.where(plain == but, 0, plain)
    lowest, highest = torch.aminmax(looked_at)
    ledger = _watching.ledger
    if ledger is None:
        seen = [int(lowest), int(highest)]
        if seen[0] < 0 or seen[1] >= size:
            raise DataError(_in_words(what, size, *seen))
        return indices
    ledger.note(_Note(what, size, lowest, highest, torch.maximum(highest - (size - 1), -lowest)))
    inside = indices.clamp(0, max(0, size - 1))
    return inside if but is None else torch.where(indices == but, indices, inside)


def _in_words(what: str, size: int, lowest: int, highest: int) -> str:
    return f"{what} from {lowest} to {highest}, expected 0 to {size - 1}."
