"""Memory that a step frees stays with the process, for the next step: glibc would give it back and fetch it again, page by page.

Outputs of a few MB are what glibc maps one by one, or cuts off the end of its heap, until its thresholds happen to adapt: the same
`evaluate` of a CNN takes 10 or 21 ms a batch by luck. With the thresholds at their highest it takes 10 each time. The price is memory:
a process keeps what its largest step needed, in pieces of less than 32 MiB, until it ends. Larger pieces are given back as ever.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

SWITCH = "DISTTRAIN_MALLOPT"  # 0: leave malloc as it is
_MMAP_THRESHOLD = (-3, 32 << 20)  # the most that glibc accepts: smaller pieces come from the heap
_TRIM_THRESHOLD = (-1, (1 << 31) - 1)  # the most that an int holds: so much may lie free at the end of the heap
_TOP_PAD = (-2, 64 << 20)  # the size of a heap of a thread: an empty one is kept (a worker computes in a thread that is not the main one)
_OF_THE_USER = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")

_asked = False


def keep_freed_memory(environ: Mapping[str, str] = os.environ) -> None:
    """Tell glibc, once in a process, to keep what is freed; nothing where there is another C library, or the user has said otherwise."""
    global _asked
    if _asked:
        return
    _asked = True
    if may_be_told(environ) and _is_glibc():
        libc = ctypes.CDLL(None)
        for parameter, value in (_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD):
            libc.mallopt(parameter, value)


def may_be_told(environ: Mapping[str, str]) -> bool:
    """Does the environment leave malloc to us? Not with `DISTTRAIN_MALLOPT=0`, nor beside settings of malloc by the user's own."""
    if environ.get(SWITCH, "") == "0" or any(name in environ for name in _OF_THE_USER):
        return False
    return "glibc.malloc." not in environ.get("GLIBC_TUNABLES", "")


def _is_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, OSError, ValueError):  # Windows; musl; macOS
        return False
