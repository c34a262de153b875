"""Asking an object store again for what it refused a moment ago: most of its errors pass, and those of a disk do not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from disttrain.checkpoint.shards import ShardReport
from disttrain.checkpoint.store import Store
from disttrain.checkpoint.writer import Snapshot, write_shard
from disttrain.clock import Clock
from disttrain.errors import DisttrainError

T = TypeVar("T")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0


def insist(work: Callable[[], T], store: Store, until_s: float, clock: Clock, pause: Callable[[float], None] = time.sleep) -> T:
    """What `work` gives, tried again after pauses that grow, up to `until_s` of the clock.

    Once only on a local disk, and where the error says that no moment will mend it, or that somebody else was there.
    """
    wait = _FIRST_PAUSE_S
    while True:
        try:
            return work()
        except (DisttrainError, FileExistsError):
            raise
        except Exception:
            if store.is_local or clock.monotonic_s() + wait > until_s:
                raise
        pause(wait)
        wait = min(2 * wait, _LONGEST_PAUSE_S)


def write_shard_insistently(
    store: Store, path: str, snapshot: Snapshot, until_s: float, clock: Clock, pause: Callable[[float], None] = time.sleep,
    before: ShardReport | None = None,
) -> ShardReport:  # fmt: skip
    """`write_shard`, as `insist` does it. Of a try that is said to have failed, the file may be there: it is taken away first."""
    failed = False

    def write() -> ShardReport:
        nonlocal failed
        if failed:
            store.delete(path)  # the name is this writer's alone
        try:
            return write_shard(store, path, snapshot, before)
        except BaseException:
            failed = True
            raise

    return insist(write, store, until_s, clock, pause)
