"""Summing the slices' contributions over the workers along the fixed tree.

One bucket is a run of bytes of the contribution. Small ones, and any between two workers, go whole to everybody (one exchange); larger
ones go by all-to-all (each rank folds one chunk of all pieces) and all-gather, which for one piece a rank moves 2(W-1)/W of the gradient:
what a ring all-reduce moves. Which way a bucket goes changes no bit of the sum.

Few buckets are under way at once: before another leaves, the oldest must have come, and is folded. So what comes in takes the memory of
a few buckets, whatever the size of the model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from disttrain.collectives.layout import ALIGNMENT, Layout, aligned
from disttrain.collectives.port import Group, Pending
from disttrain.collectives.tree import Add, Node, folding, pieces

IN_FLIGHT = 3  # buckets that are sent and not yet folded
_GATHERS = 2  # besides, of buckets that go in two exchanges, those whose second one is not over
WHOLE_BYTES = 256 * 1024  # up to here one exchange of everything beats two exchanges of parts: latency, not volume, is the cost


class TreeReduction:
    """The reduction of one generation.

    Args:
        group: who takes part.
        placement: the run [start, stop) of virtual ranks that each rank hosts, in rank order.
        layout: what a contribution looks like.
        device: where contributions live.
        bucket_bytes: contributions larger than this are exchanged in runs of this size, each as soon as it is complete.
    """

    def __init__(
        self, group: Group, placement: Sequence[tuple[int, int]], layout: Layout, device: torch.device, bucket_bytes: int = 8 << 20
    ) -> None:
        self.group, self.layout = group, layout
        self._placement = tuple(placement)
        self.device = device
        unit = ALIGNMENT * group.size
        step = aligned(bucket_bytes, unit)
        self.buckets: list[tuple[int, int]] = [(at, min(at + step, layout.size_bytes)) for at in range(0, layout.size_bytes, step)]
        self.capacity = aligned(layout.size_bytes, unit)  # the last bucket is padded, so that every rank's chunk is of one size
        self._staging: dict[tuple[str, int], Tensor] = {}

    def buffer(self) -> Tensor:
        """A zeroed buffer of bytes that holds one contribution."""
        return torch.zeros(self.capacity, dtype=torch.uint8, device=self.device)

    def start(self, leaves: int) -> Reduction:
        """Begin the reduction of one step whose first `leaves` virtual ranks have samples."""
        return Reduction(self, [pieces(start, stop, leaves) for start, stop in self._placement], leaves)

    def scratch(self, use: str, number: int, size_bytes: int) -> Tensor:
        """Memory kept between steps for one use; at least `size_bytes`, cut to it."""
        kept = self._staging.get((use, number))
        if kept is None or kept.numel() < size_bytes:
            kept = self._staging[use, number] = torch.empty(size_bytes, dtype=torch.uint8, device=self.device)
        return kept[:size_bytes]


class Reduction:
    """One step's reduction: `send` each bucket in order as it becomes complete, then `finish`."""

    def __init__(self, plan: TreeReduction, nodes: list[tuple[Node, ...]], leaves: int) -> None:
        self._plan, self._group = plan, plan.group
        self._counts = [max(1, len(of_rank)) for of_rank in nodes]  # a rank without a piece sends one that nobody reads
        self._most = max(self._counts)
        flat = [(node, rank * self._most + k) for rank, of_rank in enumerate(nodes) for k, node in enumerate(of_rank)]
        self._slots = [slot for _, slot in flat]  # where a piece lies when every rank's are padded to the longest list
        packed = [sum(self._counts[:rank]) + k for rank, of_rank in enumerate(nodes) for k in range(len(of_rank))]
        self._packed = packed
        self._adds, self._result = folding(tuple(node for node, _ in flat), leaves)
        self._under_way: deque[tuple[int, bool, Pending, Tensor]] = deque()
        self._gathers: deque[Pending] = deque()
        self._into: Tensor | None = None

    def send(self, bucket: int, mine: Sequence[Tensor]) -> None:
        """Ship bucket number `bucket` of this rank's pieces; an empty `mine` sends padding.

        The sum of a bucket that has come takes the place of it in the first piece, or where `into` says.
        """
        plan, group = self._plan, self._group
        if self._into is None:
            self._into = mine[0] if mine else plan.buffer()
        while len(self._under_way) >= IN_FLIGHT:
            self._arrive()
        start, stop = plan.buckets[bucket]
        size = stop - start
        whole = group.size <= 2 or size <= WHOLE_BYTES
        if whole:
            outgoing = self._line_up(bucket, mine, start, stop, self._most)
            incoming = plan.scratch("whole", bucket % IN_FLIGHT, group.size * self._most * size)
            self._under_way.append((bucket, True, group.all_gather(incoming, outgoing), incoming))
            return
        padded = aligned(size, ALIGNMENT * group.size)
        chunk = padded // group.size
        count, place = self._counts[group.rank], bucket % (IN_FLIGHT + _GATHERS)
        if count == 1:
            outgoing = mine[0][start : start + padded] if mine else plan.scratch("pad", 0, padded)
        else:
            outgoing = plan.scratch("out", place, count * padded)
            by_target = outgoing.view(group.size, count, chunk)
            for k, piece in enumerate(mine):
                by_target[:, k].copy_(piece[start : start + padded].view(group.size, chunk))
        incoming = plan.scratch("in", place, sum(self._counts) * chunk)
        splits = [n * chunk for n in self._counts]
        self._under_way.append((bucket, False, group.all_to_all(incoming, outgoing, splits, [count * chunk] * group.size), incoming))

    def into(self, result: Tensor) -> None:
        """Leave the sum in `result`, a buffer of the plan; said before anything is sent."""
        self._into = result

    def finish(self, result: Tensor | None = None) -> Tensor:
        """Wait for every bucket; the buffer that holds the sum over all virtual ranks, `result` where that is given."""
        while self._under_way:
            self._arrive()
        while self._gathers:
            self._gathers.popleft().wait()
        assert self._into is not None
        return self._into if result is None or result is self._into else result.copy_(self._into)

    def _arrive(self) -> None:
        """Wait for the oldest bucket and fold it."""
        bucket, whole, pending, incoming = self._under_way.popleft()
        pending.wait()
        result = self._into
        assert result is not None
        start, stop = self._plan.buckets[bucket]
        if whole:
            size = stop - start
            result[start:stop].copy_(self._fold([incoming[slot * size : (slot + 1) * size] for slot in self._slots], start, stop))
            return
        padded = aligned(stop - start, ALIGNMENT * self._group.size)
        chunk = padded // self._group.size
        first = start + self._group.rank * chunk
        total = self._fold([incoming[slot * chunk : (slot + 1) * chunk] for slot in self._packed], first, first + chunk)
        while len(self._gathers) >= _GATHERS:
            self._gathers.popleft().wait()
        self._gathers.append(self._group.all_gather(result[start : start + padded], total))

    def _line_up(self, bucket: int, mine: Sequence[Tensor], start: int, stop: int, count: int) -> Tensor:
        if count == 1:
            return mine[0][start:stop] if mine else self._plan.scratch("pad", 0, stop - start)
        outgoing = self._plan.scratch("out", bucket % IN_FLIGHT, count * (stop - start))
        for k, piece in enumerate(mine):
            outgoing[k * (stop - start) : (k + 1) * (stop - start)].copy_(piece[start:stop])
        return outgoing

    def _fold(self, buffers: list[Tensor], first: int, last: int) -> Tensor:
        """Fold pieces of the bytes [first, last) of the layout, in place; the buffer that holds the sum."""
        fold(buffers, self._adds, self._plan.layout, first, last)
        return buffers[self._result]


def fold(buffers: Sequence[Tensor], adds: Sequence[Add], layout: Layout, first: int, last: int) -> None:
    """Do `adds` over `buffers`, which hold the bytes [first, last) of `layout`, each section in its own dtype."""
    cuts = layout.cut(first, last)
    for add in adds:
        target, source = buffers[add.target], buffers[add.source]
        for dtype, start, stop in cuts:
            target[start - first : stop - first].view(dtype).add_(source[start - first : stop - first].view(dtype))
