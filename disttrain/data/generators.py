"""What samples may draw from: the generators of Python, NumPy and torch, seeded for each sample, wherever and by whomever it is made."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch

_MASK = (1 << 63) - 1
_KNOWN = 0x5EED  # a seed whose next numbers are known
_GOLDEN = 0x9E3779B97F4A7C15  # of splitmix64, as the constants below


def seed_generators(key: int) -> None:
    """Seed whatever a dataset may draw from, so that what it draws is a function of the key."""
    random.seed(key)
    np.random.seed(key % 2**32)
    torch.manual_seed(key)


def sample_seed(key: int, number: int) -> int:
    """The seed of sample `number` of a slice of that key: that of sample 0 of the key `key + number`, so a slice may be cut anywhere.

    Example:
        >>> sample_seed(7, 3) == sample_seed(8, 2) != sample_seed(8, 3)
        True
    """
    mixed = (key + number + 1) * _GOLDEN & 0xFFFFFFFFFFFFFFFF
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return (mixed ^ mixed >> 31) & _MASK


def watch_generators() -> None:
    """Put the generators where `were_drawn_from` can tell whether anybody has drawn from them since."""
    seed_generators(_KNOWN)


def were_drawn_from() -> bool:
    """Has anybody drawn from the generators since `watch_generators`? They are disturbed by the question."""
    return (random.random(), np.random.random(), torch.rand(()).item()) != _next_of_known()


@cache
def _next_of_known() -> tuple[float, float, float]:
    generator = torch.Generator().manual_seed(_KNOWN)
    return random.Random(_KNOWN).random(), np.random.RandomState(_KNOWN).random(), torch.rand((), generator=generator).item()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave the generators as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
