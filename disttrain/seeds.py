"""Randomness as a function: a 63-bit key from a seed and where it is used. No stream, so no state to lose."""

from __future__ import annotations

import itertools
import random
import struct
import threading
from hashlib import blake2b

import numpy as np

_MASK = (1 << 63) - 1
_DEFAULT_SEED = 0


class _Seed:
    """A seed, and the numbers of the keys that code which names no place of its own draws from it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.numbers = itertools.count(1)  # no two threads get the same


class _OwnSeed(threading.local):
    """Of a thread that has set one."""

    current: _Seed | None = None


_of_process = _Seed(_DEFAULT_SEED)
_of_thread = _OwnSeed()


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

    The default seed is 0: a script that never calls this still gives the same result each time. Called in another thread than the main
    one, it sets the seed of what that thread builds and trains, so that two of them do not disturb one another; the generators of
    Python, NumPy and torch are always the process's.
    """
    import torch  # late: takes a second to load, and the driver of a launch begins without it

    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"set_random_seed(seed={seed!r}): expected an integer from 0 to 2**32 - 1.")
    global _of_process
    if threading.current_thread() is threading.main_thread():
        _of_process = _Seed(seed)
    else:
        _of_thread.current = _Seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_seed() -> int:
    """The seed of this process, or of this thread, as `set_random_seed` left it."""
    return _current().seed


def next_key(purpose: str) -> int:
    """A fresh key for code that has no place of its own to name, such as the next weight to initialise; in order of calls."""
    current = _current()
    return fold_in(current.seed, purpose, next(current.numbers))


def _current() -> _Seed:
    return _of_thread.current or _of_process
