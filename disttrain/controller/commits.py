"""Bringing the workers' parts of a save together and committing it, beside the training."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from disttrain.checkpoint import (
    Arena,
    NamedArray,
    ShardReport,
    Store,
    Superseded,
    TensorSpec,
    commit,
    plan_deletions,
    read_history,
    shard_path,
    snapshot,
    split,
    sweep,
    write_shard,
)
from disttrain.checkpoint.layout import COMMITS, DATA
from disttrain.elastic.messages import ShardWritten


@dataclass(frozen=True)
class Committed:
    """A save is committed; `seconds` after the step boundary, of which the slowest worker stood still for `stall_seconds`."""

    name: str
    tick: int
    step: int
    nbytes: int
    seconds: float = 0.0
    stall_seconds: float = 0.0


@dataclass(frozen=True)
class SaveFailed:
    """A save was abandoned; the older checkpoints stay. `fatal`: another driver took over, this one must stop."""

    tick: int
    reason: str
    fatal: bool = False


@dataclass
class _Collected:
    parts: dict[int, ShardWritten] = field(default_factory=dict)


class Committer:
    """Collects `ShardWritten` reports of one call and commits each save that is complete, in order, on a thread of its own.

    Args:
        directory: gives the store and the attempt.
        keep: commits kept beside the pinned ones.
        pinned: names that finished calls need; read when deleting.
    """

    def __init__(self, store: Store, attempt: Any, keep: int, pinned: set[str]) -> None:
        self._store, self._attempt, self._keep, self._pinned = store, attempt, keep, pinned
        self._open: dict[tuple[int, int, int], _Collected] = {}
        self._done_ticks: set[tuple[int, int]] = set()
        self._failed: set[tuple[int, int, int]] = set()
        self._work: queue.SimpleQueue[tuple[list[ShardWritten], dict[str, Any], dict[str, NDArray[Any]]] | None] = queue.SimpleQueue()
        self.results: queue.SimpleQueue[Committed | SaveFailed] = queue.SimpleQueue()
        self._begun, self._ended = 0, 0
        self._arena = Arena()
        self._thread = threading.Thread(target=self._run, name="checkpoint-commits", daemon=True)
        self._thread.start()

    def take(self, part: ShardWritten, own_part: Callable[[ShardWritten], tuple[dict[str, Any], dict[str, NDArray[Any]]]]) -> None:
        """One worker's part; `own_part(rank_0_part)` gives the driver's, JSON and arrays, once all others are there."""
        key = (part.call, part.generation, part.tick)
        if (part.call, part.tick) in self._done_ticks:
            return  # committed in an earlier generation already; the state of a tick is one
        if key in self._failed:
            return  # a part of it is missing for good
        if part.error is not None:
            self._open.pop(key, None)
            self._failed.add(key)
            self.results.put(SaveFailed(part.tick, f"{part.worker}: {part.error}"))
            return
        save = self._open.setdefault(key, _Collected())
        save.parts[part.rank] = part
        if len(save.parts) < part.size:
            return
        del self._open[key]
        for older in [other for other in self._open if other[0] == part.call and other[2] < part.tick and other[1] < part.generation]:
            del self._open[older]  # cut short by a loss: nobody will complete it
        self._done_ticks.add((part.call, part.tick))
        self._begun += 1
        self._work.put(([save.parts[rank] for rank in range(part.size)], *own_part(save.parts[0])))

    @property
    def open(self) -> bool:
        """Is a save waiting for some worker's part?"""
        return bool(self._open)

    @property
    def busy(self) -> bool:
        """Is a commit under way?"""
        return self._begun != self._ended

    def finished(self) -> list[Committed | SaveFailed]:
        """What has been committed or abandoned since the last look."""
        found = []
        while not self.results.empty():
            found.append(self.results.get())
        return found

    def close(self) -> None:
        """Finish what is under way and end the thread."""
        self._work.put(None)
        self._thread.join(timeout=60.0)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            parts, extra, arrays = work
            first, began = parts[0], time.monotonic()
            reports = [part.report for part in parts if part.report is not None]
            specs = list(first.specs or [])
            try:
                own, report = self._write_own(first, arrays)
                specs, reports = specs + own, [*reports, report]
                done = commit(self._store, self._attempt, first.sequence, first.step, reports, specs, extra)
            except Superseded as error:
                self.results.put(SaveFailed(first.tick, str(error), fatal=True))
            except Exception as error:  # storage has many ways to fail: the save is abandoned, training goes on
                self._done_ticks.discard((first.call, first.tick))
                self.results.put(SaveFailed(first.tick, f"{type(error).__name__}: {error}"))
            else:
                seconds = max(part.seconds for part in parts) + time.monotonic() - began
                stall = max(part.stall_seconds for part in parts)
                self.results.put(Committed(done.name, first.tick, done.step, done.nbytes, seconds, stall))
                self._delete_old()
            self._ended += 1

    def _write_own(self, first: ShardWritten, arrays: dict[str, NDArray[Any]]) -> tuple[list[TensorSpec], ShardReport]:
        """The driver's shard: what callbacks keep in arrays, often nothing; its place in the save is there all the same."""
        named = {f"callbacks/{name}": NamedArray.from_numpy(array) for name, array in arrays.items()}
        specs = [array.spec(name) for name, array in named.items()]
        with snapshot(named, split(specs, 1)[0], self._arena) as shot:
            return specs, write_shard(self._store, shard_path(first.folder, first.size, first.size + 1), shot)

    def _delete_old(self) -> None:
        try:
            names = [name.removesuffix(".json") for name in self._store.list(COMMITS)]
            plan = plan_deletions(
                read_history(self._store), names, self._store.list(DATA), attempt=self._attempt.number, keep=self._keep, pinned=self._pinned
            )
            sweep(self._store, self._attempt, plan)
        except Exception:  # what could not be deleted now is found again after the next commit
            return
