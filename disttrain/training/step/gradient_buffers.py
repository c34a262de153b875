"""The gradients and side channel of a slice, or of several slices summed, in one buffer; sent while the backward pass still runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from disttrain.collectives.reduction import Reduction, TreeReduction, fold
from disttrain.collectives.tree import Add
from disttrain.errors import UsageError
from disttrain.training.step.flat import FlatSpace


class Contribution:
    """What one slice, or a sum of slices, adds: gradients and side_channel in one buffer of bytes.

    `space` is the arrangement of the parameters, None where there are no gradients. Those of parameters in half precision are added up in
    float32, and rounded to it once, when the sum is there (`gradients`).
    """

    def __init__(self, plan: TreeReduction, space: FlatSpace | None) -> None:
        self.buffer = plan.buffer()
        *flats, self.side_channel = plan.layout.views(self.buffer)
        self.flats = flats
        self.views = [] if space is None else space.views(flats)
        self._dtypes = [] if space is None else [dtype for dtype, _ in space.parts]

    @property
    def flat_gradients(self) -> list[Tensor]:
        """The gradients as they lie, in the dtypes of the parameters."""
        return [flat.to(dtype) for flat, dtype in zip(self.flats, self._dtypes, strict=True)]

    def gradients(self, params: Sequence[nn.Parameter], numbers: Sequence[int] | None = None) -> list[Tensor]:
        """Those of the parameters of these numbers, all unless told, each in its dtype."""
        return [self.views[number].to(params[number].dtype) for number in (range(len(params)) if numbers is None else numbers)]

    def collect(self, params: Sequence[nn.Parameter], numbers: Sequence[int]) -> None:
        """Move the gradients of the parameters of these numbers in here; zeros where the loss does not depend on one."""
        views, grads = self._taken(params, numbers, lambda view: view.zero_())
        if views:
            torch._foreach_copy_(views, grads)

    def add(self, params: Sequence[nn.Parameter], numbers: Sequence[int]) -> None:
        """Add them to what is in here, as the fold of another contribution with them would, bit for bit."""
        views, grads = self._taken(params, numbers, lambda view: view.add_(0.0))  # which makes a 0 of a -0
        if views:
            torch._foreach_add_(views, grads)

    def _taken(
        self, params: Sequence[nn.Parameter], numbers: Sequence[int], without: Callable[[Tensor], Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Where they go, and they, which the parameters let go of; `without` is told of a view for which there is none."""
        views, grads = [], []
        for number in numbers:
            param, view = params[number], self.views[number]
            if param.grad is None:
                without(view)
            else:
                views.append(view)
                grads.append(param.grad)
                param.grad = None
        return views, grads


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


class Collecting:
    """A backward pass whose gradients go into a contribution one by one, each as soon as it is complete: there are never two of one.

    Args:
        params: whose gradients.
        contribution: where they go.
        adds: they are added to what is there, see `Contribution.add`.
        collected: told of each parameter by number.
    """

    def __init__(
        self, params: Sequence[nn.Parameter], contribution: Contribution, *, adds: bool = False,
        collected: Callable[[int], None] = lambda number: None,
    ) -> None:  # fmt: skip
        self._params, self._contribution, self._adds, self._told = params, contribution, adds, collected
        self._seen: set[int] = set()

    def backward(self, objective: Tensor) -> None:
        """Run it."""
        if objective.requires_grad:
            with self._hooked():
                objective.backward()
        for number in range(len(self._params)):  # those that the loss does not depend on
            if number not in self._seen:
                self._collect(number)

    @contextmanager
    def _hooked(self) -> Iterator[None]:
        handles = [
            param.register_post_accumulate_grad_hook(lambda _, number=number: self._collect(number))
            for number, param in enumerate(self._params)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _collect(self, number: int) -> None:
        if number in self._seen:
            shape = tuple(self._params[number].shape)
            raise UsageError(
                f"the gradient of a weight of shape {shape} comes in two parts, for a backward pass runs inside another one.\n"
                "  expected  one backward pass for all of a model of this size\n"
                "  try       torch.utils.checkpoint.checkpoint(..., use_reentrant=False)"
            )
        self._seen.add(number)
        (self._contribution.add if self._adds else self._contribution.collect)(self._params, (number,))
        self._told(number)


class Overlap:
    """The backward pass of the last slice: a bucket is folded and shipped as soon as its gradients are complete.

    Buckets leave in their fixed order, which is nearly that of completion; those that carry any of the side channel follow the pass.

    Args:
        params, space: the parameters and how they lie.
        pieces: what the slices so far have come to.
        contribution: this pass fills it, the newest of `pieces`; or, if it is that already, adds to it.
        merges: how many of the newest pieces are folded after it.
    """

    def __init__(
        self, params: Sequence[nn.Parameter], space: FlatSpace, plan: TreeReduction, reduction: Reduction,
        pieces: list[Contribution], contribution: Contribution, merges: int,
    ) -> None:  # fmt: skip
        self.plan, self.reduction = plan, reduction
        adds = bool(pieces) and pieces[-1] is contribution
        self.pieces, self.merges = [*pieces] if adds else [*pieces, contribution], merges
        self._collecting = Collecting(params, contribution, adds=adds, collected=self._ready)
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
        self._collecting.backward(objective)
        for bucket in range(self.next, len(self.plan.buckets)):
            self._fold(bucket)
            if bucket < self.late:
                self.reduction.send(bucket, self._folded())

    def _ready(self, number: int) -> None:
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
