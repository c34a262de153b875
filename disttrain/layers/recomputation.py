"""Passes that are computed again while gradients are taken, by `torch.utils.checkpoint`: layers draw in them what they drew the first time.

torch brings back its own generators for that, of which ours know nothing, and on GPUs the second pass runs in a thread of torch's, which
has no context. So what is drawn inside a checkpointed function is noted, and each further run of it is surrounded by those draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, wraps
from typing import Any

import torch.utils.checkpoint

from disttrain.layers.context import CallContext, call_context, current, noting


class Recomputation(CallContext):
    """What surrounds a function that is run again: the context of its first run, with the draws of that; losses and metrics count once.

    Args:
        first: the context of the first run.
        noted: what was drawn in it, as (layer, key).
    """

    def __init__(self, first: CallContext, noted: list[tuple[int, int]]) -> None:
        super().__init__(first.training, first.key, first.slice_fraction, first.rows)
        self.masked = first.masked
        self._left: dict[int, list[int]] = {}
        for layer_id, key in reversed(noted):
            self._left.setdefault(layer_id, []).append(key)

    def _next_key(self, layer_id: int) -> int:
        left = self._left.get(layer_id)
        if not left:
            raise RuntimeError(
                "a function given to torch.utils.checkpoint draws more random numbers when it is computed again than it did at first.\n"
                "  expected  the same layers, called as often, in each run of it\n"
                "  try       look for what differs between the runs, such as a counter or training=..."
            )
        return left.pop()


@cache
def follow_checkpoints() -> None:
    """Let `torch.utils.checkpoint`, by whatever reference it is called, bring back our draws; once in a process."""
    theirs: Any = torch.utils.checkpoint
    generator, reentrant = theirs._checkpoint_without_reentrant_generator, theirs.CheckpointFunction

    @wraps(generator)
    def without_reentrance(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Iterator[None]:
        first, noted = current(), list[tuple[int, int]]()
        steps = generator(_again(function, first, noted), *args, **kwargs)
        next(steps)
        with noting(noted):  # torch runs the function itself, between its two steps
            try:
                yield
            except BaseException as error:
                steps.throw(error)
                raise
        yield from steps

    class CheckpointFunction(reentrant):  # type: ignore[misc, valid-type]
        @staticmethod
        def apply(function: Callable[..., Any], *args: Any) -> Any:
            first, noted = current(), list[tuple[int, int]]()
            again, ran = _again(function, first, noted), False

            def run(*inputs: Any) -> Any:
                nonlocal ran
                if ran:
                    return again(*inputs)
                ran = True
                with noting(noted):
                    return function(*inputs)

            return reentrant.apply(run, *args)

    theirs._checkpoint_without_reentrant_generator = without_reentrance
    theirs.CheckpointFunction = CheckpointFunction


def _again(function: Callable[..., Any], first: CallContext, noted: list[tuple[int, int]]) -> Callable[..., Any]:
    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with call_context(Recomputation(first, noted)):
            return function(*args, **kwargs)

    return run
