"""Randomness as a function: a 63-bit key from a seed and where it is used. No stream, so no state to lose."""

from __future__ import annotations

import random
import struct
from hashlib import blake2b

import numpy as np

_MASK = (1 << 63) - 1
_DEFAULT_SEED = 0


class _GlobalSeed:
    """The seed of this process, and how many keys were drawn from it by code that names no place of its own."""

    def __init__(self) -> None:
        self.seed = _DEFAULT_SEED
        self.drawn = 0


_global = _GlobalSeed()


def fold_in(key: int, *data: int | str) -> int:
    """A new key from `key` and integers or strings that say where it is used; equal arguments give equal keys.

    Example:
        >>> fold_in(0, "shuffle", 3) == fold_in(0, "shuffle", 3) != fold_in(0, "shuffle", 4)
        True
    """
    digest = blake2b(struct.pack("<q", key), digest_size=8)
    for item in data:
        digest.update(b"s" + item.encode() + b"\0" if isinstance(item, str) else b"i" + struct.pack("<q", item))
    return int(struct.unpack("<Q", digest.digest())[0]) & _MASK


def set_random_seed(seed: int) -> None:
    """Seed everything this process draws: initial weights, shuffles, dropout, and Python's, NumPy's and torch's own generators.

    The default seed is 0: a script that never calls this still gives the same result each time.
    """
    import torch  # late: takes a second to load, and the driver of a launch begins without it

    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"set_random_seed(seed={seed!r}): expected an integer from 0 to 2**32 - 1.")
    _global.seed, _global.drawn = seed, 0
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_seed() -> int:
    """The seed of this process, as `set_random_seed` left it."""
    return _global.seed


def next_key(purpose: str) -> int:
    """A fresh key for code that has no place of its own to name, such as the next weight to initialise; in order of calls."""
    _global.drawn += 1
    return fold_in(_global.seed, purpose, _global.drawn)
