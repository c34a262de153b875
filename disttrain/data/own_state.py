"""What the script's own samplers and iterables go on with from pass to pass: where their generators stand, and numbers that they keep."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from disttrain.data.own_generators import generators_of, objects_of, put_back, states_of

_NUMBERS = 100_000  # in an attribute that is kept


class OwnState:
    """Of some objects and functions, and what they consist of.

    A sampler that counts its epochs itself, one that shuffles a list in place, a generator function that draws from a generator of the
    script: each pass goes on where the one before stopped, as in a plain loop. A process that goes on in a later pass must be put there.

    Args:
        attributes: keep numbers and text that objects of the script's own classes hold, where they change; else only generators.
    """

    def __init__(self, *roots: Any, attributes: bool = True) -> None:
        self.generators = generators_of(*roots)
        self._objects = [held for held in objects_of(*roots) if hasattr(held, "__dict__")] if attributes else []
        self._first = [_plain_attributes(held) for held in self._objects]

    def memory(self) -> Any:
        """As of now, in JSON types, tensors and arrays; None where there is nothing that could change."""
        if not self.generators and not any(self._first):
            return None
        changed = [
            {name: value for name, value in _plain_attributes(held).items() if name not in first or not _same(value, first[name])}
            for held, first in zip(self._objects, self._first, strict=True)
        ]
        return {"generators": states_of(self.generators), "changed": changed if any(changed) else []}

    def recall(self, memory: Any) -> None:
        """The inverse."""
        if memory is None:
            return
        put_back(self.generators, memory["generators"])
        changed = memory["changed"] or [{} for _ in self._objects]
        for held, first, later in zip(self._objects, self._first, changed, strict=False):
            now = vars(held)
            for name, value in {**first, **later}.items():
                if name in now and not _same(now[name], value):
                    now[name] = copy.deepcopy(value)

    @contextmanager
    def lent(self, states: list[Any]) -> Iterator[None]:
        """Let the generators go on from these states, which are brought up to date, and be where they were afterwards."""
        before = states_of(self.generators)
        put_back(self.generators, states)
        try:
            yield
        finally:
            states[:] = states_of(self.generators)
            put_back(self.generators, before)


def _plain_attributes(held: Any) -> dict[str, Any]:
    return {name: copy.deepcopy(value) for name, value in vars(held).items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    return _count(value, _NUMBERS) is not None


def _count(value: Any, left: int) -> int | None:
    """How many numbers there are in it; None: too many, or something else among them."""
    if value is None or isinstance(value, bool | int | float | str | np.generic):
        return 1
    if isinstance(value, np.ndarray | torch.Tensor):
        return int(np.prod(value.shape)) if np.prod(value.shape) <= left and value.dtype != object else None
    if not isinstance(value, list | tuple) or type(value) not in (list, tuple) or len(value) > left:
        return None
    total = 0
    for item in value:
        count = _count(item, left - total)
        if count is None or total + count > left:
            return None
        total += count
    return total


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)
