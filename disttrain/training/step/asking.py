"""Sums over all slices in the middle of their passes, for losses that divide by a count of the whole batch.

Whoever asks stops until all slices here have come as far; then the workers exchange a few numbers, and all go on. A round in which nobody
asks is the last one: so every worker takes part in as many, also one without a slice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from disttrain.collectives import Group
from disttrain.collectives.layout import Layout
from disttrain.collectives.reduction import TreeReduction
from disttrain.collectives.tree import local_merges
from disttrain.errors import UsageError
from disttrain.losses.divisors import Slice, batch_divisor, within_slice
from disttrain.torch_losses import label_mean
from disttrain.training.step.gradient_buffers import Contribution, Pool
from disttrain.training.step.slice_thread import SliceThread

_MOST = 16  # numbers of one question

Ask = Callable[[Tensor], Tensor]


@dataclass
class Question:
    """What a slice asks for: the sum of `value` over all that ask."""

    value: Tensor
    answer: Tensor | None = None


class Asking:
    """The exchange of one generation.

    Args:
        group, placement, device: as of a `TreeReduction`.
    """

    def __init__(self, group: Group, placement: Sequence[tuple[int, int]], device: torch.device) -> None:
        self._group = group
        self._start, self._stop = placement[group.rank]
        self._plan = TreeReduction(group, placement, Layout.of([(torch.float64, 1 + _MOST)]), device)
        self._pool = Pool(self._plan, None)

    def round(self, questions: Sequence[Question | None], leaves: int) -> bool:
        """Answer the questions of the slices hosted here, in their order; did any slice anywhere ask?"""
        stack: list[Contribution] = []
        with torch.no_grad():
            for question, merge in zip(questions, local_merges(self._start, self._stop, leaves), strict=True):
                contribution = self._pool.take()
                contribution.side_channel.zero_()
                if question is not None:
                    _write(question.value, contribution.side_channel)
                stack.append(contribution)
                self._pool.merge(stack, merge)
            total = self._summed(stack, leaves)
            asked = bool(total.side_channel[0])
            for question in questions:
                if question is not None:
                    size = question.value.numel()
                    question.answer = total.side_channel[1 : 1 + size].clone().reshape(question.value.shape)
        self._pool.give([total])
        return asked

    def _summed(self, stack: list[Contribution], leaves: int) -> Contribution:
        if self._group.size == 1:
            return stack.pop()
        reduction = self._plan.start(leaves)
        pieces = [contribution.buffer for contribution in stack]
        total = stack[0] if stack else self._pool.take()
        reduction.into(total.buffer)
        for bucket in range(len(self._plan.buckets)):
            reduction.send(bucket, pieces)
        reduction.finish()
        self._pool.give(stack[1:])
        return total

    def settle(self, slices: int, leaves: int) -> None:
        """Take part, without a question, until nobody asks."""
        while self.round([None] * slices, leaves):
            pass

    def answer_at_once(self, leaves: int) -> Ask:
        """What the only slice here asks with."""

        def ask(value: Tensor) -> Tensor:
            question = Question(value)
            self.round([question], leaves)
            assert question.answer is not None
            return question.answer

        return ask

    def answer_all(self, threads: Sequence[SliceThread], leaves: int) -> None:
        """Answer those that stopped with a question, and let them go on to where they ask no more."""
        while True:
            questions = [None if thread.ended or not isinstance(thread.request, Question) else thread.request for thread in threads]
            if not self.round(questions, leaves):
                return
            for thread, question in zip(threads, questions, strict=True):
                if question is not None:
                    thread.advance()

    def run(self, works: Sequence[Callable[[Ask], None]], leaves: int, save: Callable[[], Any], restore: Callable[[Any], None]) -> None:
        """Run the works of the slices hosted here, each on from where it asks once all are answered.

        Args:
            save, restore: as of a `SliceThread`.
        """
        if len(works) < 2:
            for work in works:
                work(self.answer_at_once(leaves))
            self.settle(len(works), leaves)
            return
        threads = [SliceThread(lambda pause, work=work: work(asker(pause)), save, restore) for work in works]  # type: ignore[misc]
        try:
            for thread in threads:
                thread.advance()
            self.answer_all(threads, leaves)
        finally:
            for thread in threads:
                thread.close()


def asker(pause: Callable[[Any], None]) -> Ask:
    """What a slice asks with, that stops by `pause`."""

    def ask(value: Tensor) -> Tensor:
        question = Question(value)
        pause(question)
        assert question.answer is not None
        return question.answer

    return ask


def _write(value: Tensor, target: Tensor) -> None:
    if value.numel() > _MOST:
        raise UsageError(f"batch_divisor: a count of {value.numel()} numbers, expected {_MOST} at most: one, or one for each output.")
    target[0] = 1.0
    target[1 : 1 + value.numel()] = value.detach().double().reshape(-1)


class LabelMeans(TorchFunctionMode):
    """Inside, torch's cross-entropies of labels divide by what counts in the whole batch, whoever calls them.

    Attributes:
        seen: was there such a call?
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        parts = label_mean(func, args, kwargs or {})
        if parts is None:
            return func(*args, **(kwargs or {}))
        self.seen = True
        total, count = parts
        return total / batch_divisor(count).to(total.dtype)


class Noticing:
    """While an example is tried out: does a pass ask, and by torch's own functions?

    Attributes:
        asks: some loss asks.
        by_torch: a function of torch's does, which `LabelMeans` must stand in for.
    """

    def __init__(self) -> None:
        self.asks, self.by_torch = False, False

    def __enter__(self) -> Noticing:
        self._means = LabelMeans()
        self._stack = ExitStack()
        self._stack.enter_context(within_slice(Slice(self._note, 1.0)))
        self._stack.enter_context(self._means)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()
        self.by_torch |= self._means.seen

    def _note(self, value: Tensor) -> Tensor:
        self.asks = True
        return value

    def slice(self, ask: Ask | None, fraction: float) -> AbstractContextManager[Any]:
        """What a pass of a slice runs in that asks by `ask`."""
        stack = ExitStack()
        if ask is not None:
            stack.enter_context(within_slice(Slice(ask, fraction)))
            if self.by_torch:
                stack.enter_context(LabelMeans())
        return stack
