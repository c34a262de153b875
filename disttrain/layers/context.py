"""What surrounds a forward pass: training or inference, the random key of the slice, and the losses that layers add."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from disttrain.seeds import fold_in, next_key


class CallContext:
    """One forward pass of one slice of a batch.

    Args:
        training: what layers do that were not told: True trains, False infers, None leaves it to each layer's default.
        key: random key of (seed, step, virtual rank); None draws one from the process seed.
        slice_fraction: samples of this slice over samples of the global batch.
        rows: (first, one after the last, all) rows of the global batch that this slice is; None outside a run.

    `masked` says that some tensor of this pass may carry a mask; until then nobody looks for one.
    """

    def __init__(
        self,
        training: bool | None = None,
        key: int | None = None,
        slice_fraction: float = 1.0,
        rows: tuple[int, int, int] | None = None,
    ) -> None:
        self.training = training
        self.key = key
        self.slice_fraction = slice_fraction
        self.rows = rows
        self.masked = False
        self.losses: list[Tensor] = []
        self.metrics: list[tuple[str, Tensor]] = []
        self._draws: dict[int, int] = {}

    def draw_key(self, layer_id: int) -> int:
        """The key for the next random draw of layer `layer_id` in this pass; a second call of the same layer gets another one."""
        key = self._next_key(layer_id)
        for noted in _stack.notes:
            noted.append((layer_id, key))
        return key

    def _next_key(self, layer_id: int) -> int:
        if self.key is None:
            return next_key("layer")
        draw = self._draws.get(layer_id, 0)
        self._draws[layer_id] = draw + 1
        return fold_in(self.key, layer_id, draw)

    def draw(self, layer_id: int, kind: Callable[..., Tensor], *arguments: Any) -> Tensor:
        """What `kind`, a function of `disttrain.philox`, makes of `draw_key` and the arguments."""
        return kind(self.draw_key(layer_id), *arguments)

    def generator(self, layer_id: int, device: torch.device) -> torch.Generator:
        """A generator seeded by `draw_key`, for `torch.rand(..., generator=...)`."""
        generator = torch.Generator(device=device)
        generator.manual_seed(self.draw_key(layer_id))
        return generator


class _Stack(threading.local):
    def __init__(self) -> None:
        self.contexts: list[CallContext] = []
        self.notes: list[list[tuple[int, int]]] = []  # each to be told of every draw


_stack = _Stack()
_outside = CallContext()


def current() -> CallContext:
    """The context of the running forward pass; outside any, one that infers and draws from the process seed."""
    return _stack.contexts[-1] if _stack.contexts else _outside


def enter(context: CallContext) -> None:
    """Make `context` the current one in this thread; `leave` must follow."""
    _stack.contexts.append(context)


def leave() -> None:
    """Take the current context away again."""
    _stack.contexts.pop()


@contextmanager
def call_context(context: CallContext) -> Iterator[CallContext]:
    """Make `context` the current one inside the block, in this thread."""
    _stack.contexts.append(context)
    try:
        yield context
    finally:
        _stack.contexts.pop()


@contextmanager
def noting(noted: list[tuple[int, int]]) -> Iterator[None]:
    """Add (layer, key) of each draw inside the block to `noted`, in this thread."""
    _stack.notes.append(noted)
    try:
        yield
    finally:
        _stack.notes[:] = [other for other in _stack.notes if other is not noted]


def innermost() -> CallContext | None:
    """The context of the running forward pass, or None outside any."""
    contexts = _stack.contexts
    return contexts[-1] if contexts else None
