"""Processors that give other bits: one that errs as real ones do (now and then a result has wrong bits, several of them, in one lane of the
vector unit), and one that rounds otherwise, as one of another make does with its own kernels."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = frozenset({"mm", "addmm", "bmm"})  # forward and backward of the layers
UPDATES = frozenset({"_fused_adam_", "_fused_adamw_", "_fused_sgd_"})
SUMS = frozenset({"add_"})  # the slices' contributions on their way up the tree

_LANES = 8  # of 32 bits: AVX2
_WRONG = 3  # numbers of the lane, one behind the other


@dataclass
class FaultyProcessor:
    """What errs, and how often.

    Args:
        operations: by the names that ATen has for them.
        rate: the chance that one errs.
        at: besides, those of these numbers do, counted from 1.
        least: only results of at least so many numbers.
        seed: of the chances, the lane and the bits.

    Attributes:
        done, errors: so many operations were done, and erred. All workers on the processor count together.
    """

    operations: frozenset[str]
    rate: float = 0.0
    at: frozenset[int] = frozenset()
    least: int = 1
    seed: int = 0
    done: int = field(default=0, init=False)
    errors: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """What this thread computes inside the block is computed on it."""
        with _Mode(self):
            yield

    def strikes(self) -> bool:
        """One more is done: does it err?"""
        self.done += 1
        struck = self.done in self.at or self._random.random() < self.rate
        self.errors += struck
        return struck

    def harm(self, result: Tensor) -> None:
        """Turn bits over in one lane; not in zeros, which may be room between tensors that nobody reads."""
        flat = result.detach().reshape(-1)
        places = torch.nonzero(flat).flatten().tolist()
        if flat.data_ptr() != result.data_ptr() or flat.element_size() != 4 or not places:
            return
        bits, hit = flat.view(torch.int32), self._random.choice(places)
        for place in [place for place in places if place >= hit and (place - hit) % _LANES == 0][:_WRONG]:
            bits[place] ^= (1 << self._random.randrange(12, 23)) | (1 << self._random.randrange(12, 23)) | 1


@dataclass(frozen=True)
class OtherProcessor:
    """Each result of these operations ends in another bit, always the same."""

    operations: frozenset[str]

    @contextmanager
    def computing(self) -> Iterator[None]:
        """What this thread computes inside the block is computed on it."""
        with _Mode(self):
            yield

    def strikes(self) -> bool:
        """Each time."""
        return True

    def harm(self, result: Tensor) -> None:
        """Round another way."""
        result.copy_(torch.nextafter(result, torch.full_like(result, torch.inf)))


class _Mode(TorchDispatchMode):
    def __init__(self, processor: FaultyProcessor | OtherProcessor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._processor = processor

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")  # type: ignore[attr-defined]
        if name in self._processor.operations:
            changed = result if isinstance(result, Tensor) else args[0][0]
            if changed.dtype is torch.float32 and changed.numel() >= getattr(self._processor, "least", 1) and self._processor.strikes():
                self._processor.harm(changed)
        return result
