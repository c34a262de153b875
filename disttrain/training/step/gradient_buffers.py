"""The gradients and side channel of a slice, or of several slices summed, in one buffer; sent while the backward pass still runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from disttrain.collectives.reduction import Reduction, TreeReduction, fold
from disttrain.collectives.tree import Add
from disttrain.training.step.flat import FlatSpace


class Contribution:
    """What one slice, or a sum of slices, adds: gradients and side_channel in one buffer of bytes.

    `space` is the arrangement of the parameters, None where there are no gradients.
    """

    def __init__(self, plan: TreeReduction, space: FlatSpace | None) -> None:
        self.buffer = plan.buffer()
        *flats, self.side_channel = plan.layout.views(self.buffer)
        self.flats = flats
        self.views = [] if space is None else space.views(flats)

    def collect(self, params: Sequence[nn.Parameter], numbers: Sequence[int]) -> None:
        """Move the gradients of the parameters of these numbers in here; zeros where the loss does not depend on one."""
        views, grads = [], []
        for number in numbers:
            param, view = params[number], self.views[number]
            if param.grad is None:
                view.zero_()
            else:
                views.append(view)
                grads.append(param.grad)
                param.grad = None
        if views:
            torch._foreach_copy_(views, grads)


class Pool:
    """Contributions of one kind, used again and again."""

    def __init__(self, plan: TreeReduction, space: FlatSpace | None) -> None:
        self.plan, self._space = plan, space
        self._free: list[Contribution] = []

    def take(self) -> Contribution:
        """One whose numbers are anything."""
        return self._free.pop() if self._free else Contribution(self.plan, self._space)

    def give(self, contributions: Sequence[Contribution]) -> None:
        """Have them back."""
        self._free.extend(contributions)

    def merge(self, stack: list[Contribution], merges: int, *, gradients: bool = True) -> None:
        """Fold the newest contributions, as the tree says; without `gradients` (already folded and sent) only the side channel."""
        layout = self.plan.layout
        for _ in range(merges):
            right = stack.pop()
            if gradients:
                fold((stack[-1].buffer, right.buffer), (Add(0, 1),), layout, 0, layout.size_bytes)
            else:
                stack[-1].side_channel.add_(right.side_channel)
            self._free.append(right)


class Overlap:
    """The backward pass of the last slice: a bucket is folded and shipped as soon as its gradients are complete.

    Buckets leave in their fixed order, which is nearly that of completion; those that carry any of the side channel follow the pass.

    Args:
        params, space: the parameters and how they lie.
        stack: contributions of the slices before; `contribution` is filled by this pass.
        merges: how many of the newest contributions are folded after it.
    """

    def __init__(
        self, params: Sequence[nn.Parameter], space: FlatSpace, plan: TreeReduction, reduction: Reduction,
        stack: list[Contribution], contribution: Contribution, merges: int,
    ) -> None:  # fmt: skip
        self.params, self.plan, self.reduction = params, plan, reduction
        self.contribution, self.pieces, self.merges = contribution, [*stack, contribution], merges
        self.next, self.late = 0, first_with_payload(plan)
        self.waiting: list[set[int]] = [set() for _ in plan.buckets]
        self.buckets_of: list[list[int]] = []
        for number, segment in enumerate(space.segments):
            section = plan.layout.sections[segment.group]
            first = section.offset + segment.offset * section.dtype.itemsize
            last = first + max(1, segment.numel) * section.dtype.itemsize
            touched = [b for b, (start, stop) in enumerate(plan.buckets) if start < last and first < stop]
            self.buckets_of.append(touched)
            for bucket in touched:
                self.waiting[bucket].add(number)

    def backward(self, objective: Tensor) -> None:
        """Run it, and send all buckets but those with side_channel."""
        handles = [
            param.register_post_accumulate_grad_hook(lambda _, number=number: self._ready(number))
            for number, param in enumerate(self.params)
        ]
        try:
            objective.backward()
        finally:
            for handle in handles:
                handle.remove()
        for number in sorted({number for bucket in self.waiting for number in bucket}):  # parameters that the loss does not depend on
            self._ready(number)
        for bucket in range(self.next, len(self.plan.buckets)):
            self._fold(bucket)
            if bucket < self.late:
                self.reduction.send(bucket, self._folded())

    def _ready(self, number: int) -> None:
        self.contribution.collect(self.params, (number,))
        for bucket in self.buckets_of[number]:
            self.waiting[bucket].discard(number)
        while self.next < self.late and not self.waiting[self.next]:
            self._fold(self.next)
            self.reduction.send(self.next, self._folded())
            self.next += 1

    def _folded(self) -> list[Tensor]:
        return [piece.buffer for piece in self.pieces[: len(self.pieces) - self.merges]]

    def _fold(self, bucket: int) -> None:
        """Merge the newest pieces over the bytes of one bucket, side_channel left out: it is not complete yet."""
        start, stop = self.plan.buckets[bucket]
        stop = min(stop, self.plan.layout.sections[-1].offset)
        if stop <= start:
            return
        top = len(self.pieces) - 1
        for step in range(self.merges):
            target, source = self.pieces[top - step - 1].buffer, self.pieces[top - step].buffer
            fold((target[start:stop], source[start:stop]), (Add(0, 1),), self.plan.layout, start, stop)


def first_with_payload(plan: TreeReduction) -> int:
    """The first bucket that holds a byte of the side channel: it and those after it cannot leave before the forward pass is counted."""
    side_channel = plan.layout.sections[-1].offset
    return next(number for number, (_, stop) in enumerate(plan.buckets) if stop > side_channel)
