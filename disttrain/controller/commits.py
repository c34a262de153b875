"""Bringing the workers' parts of a save together and committing it, beside the training."""

from __future__ import annotations

import queue
import threading
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
    bad_checkpoints,
    commit,
    insist,
    plan_deletions,
    read_history,
    references,
    shard_path,
    snapshot,
    split,
    sweep,
    write_shard_insistently,
)
from disttrain.checkpoint.layout import COMMITS, DATA
from disttrain.clock import Clock, SystemClock
from disttrain.controller.callback_history import StateForgotten
from disttrain.elastic.messages import ShardWritten

_WAITING = 16  # saves that wait for parts: a worker writes one at a time, so most of so many were cut short
_REMEMBERED = 256  # saves that failed, whose other parts may come yet
_INSIST_S = 60.0  # so long an object store is asked again to take a commit

Save = tuple[int, int, int]  # call, generation, tick
OwnPart = Callable[[ShardWritten], tuple[dict[str, Any], dict[str, NDArray[Any]]]]


@dataclass(frozen=True)
class Committed:
    """A save is committed; `seconds` after the step boundary, of which the slowest worker stood still for `stall_seconds`."""

    name: str
    tick: int
    step: int
    nbytes: int
    seconds: float = 0.0
    stall_seconds: float = 0.0
    call: int = 0


@dataclass(frozen=True)
class SaveFailed:
    """A save was abandoned; the older checkpoints stay. `fatal`: no save will ever be committed here, as when another driver took over.
    `storage`: that did not take it, while training went as it should."""

    tick: int
    reason: str
    fatal: bool = False
    call: int = field(default=0, compare=False)
    storage: bool = field(default=False, compare=False)


@dataclass
class _Collected:
    parts: dict[int, ShardWritten] = field(default_factory=dict)


class Committer:
    """Collects `ShardWritten` reports of one call and commits each save that is complete, in order, on a thread of its own.

    Args:
        directory: gives the store and the attempt.
        keep: commits kept beside the pinned ones.
        pinned: names that finished calls need; read when deleting.
        clock: where time comes from.
    """

    def __init__(self, store: Store, attempt: Any, keep: int, pinned: set[str], clock: Clock | None = None) -> None:
        self._store, self._attempt, self._keep, self._pinned = store, attempt, keep, pinned
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._call = -1  # whose saves those below are
        self._open: dict[Save, _Collected] = {}
        self._done_ticks: set[int] = set()  # complete, and no older than the newest commit that was heard of: nobody redoes what is older
        self._failed: dict[Save, None] = {}  # in order
        self._lock = threading.Lock()  # of what both threads change
        self._work: queue.SimpleQueue[tuple[list[ShardWritten], dict[str, Any], dict[str, NDArray[Any]]] | None] = queue.SimpleQueue()
        self.results: queue.SimpleQueue[Committed | SaveFailed] = queue.SimpleQueue()
        self._begun, self._ended = 0, 0
        self._audited: frozenset[str] = frozenset()  # the newest that audits have passed before
        self._arena = Arena()
        self._refers: dict[str, frozenset[str]] = {}  # of each commit, the data folders of earlier saves that it needs
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="checkpoint-commits", daemon=True)
        self._thread.start()

    def take(self, part: ShardWritten, own_part: OwnPart) -> None:
        """One worker's part; `own_part(rank_0_part)` gives the driver's, JSON and arrays, once all others are there."""
        if part.call < self._call:
            return  # that call is over
        if part.call > self._call:
            with self._lock:
                self._call, self._open, self._done_ticks, self._failed = part.call, {}, set(), {}
        key = (part.call, part.generation, part.tick)
        if part.tick in self._done_ticks:
            return  # committed in an earlier generation already; the state of a tick is one
        if key in self._failed:
            return  # a part of it is missing for good
        if part.error is not None:
            self._give_up(key, f"{part.worker}: {part.error}", storage=True)
            return
        save = self._open.setdefault(key, _Collected())
        save.parts[part.rank] = part
        if len(save.parts) < part.size:
            if len(self._open) > _WAITING:
                self._give_up(next(iter(self._open)), "the group broke before every worker had written its part")
            return
        del self._open[key]
        for older in [other for other in self._open if other[0] == part.call and other[2] < part.tick and other[1] < part.generation]:
            del self._open[older]  # cut short by a loss: nobody will complete it
        try:
            own = own_part(save.parts[0])
        except StateForgotten as error:
            self._give_up(key, str(error))
            return
        with self._lock:
            self._done_ticks.add(part.tick)
        self._begun += 1
        self._work.put(([save.parts[rank] for rank in range(part.size)], *own))

    def give_up(self, call: int, generation: int, tick: int, seconds: float) -> None:
        """Nobody waits for this save any more, after so many seconds. Should it be committed after all, that is told too."""
        key = call, generation, tick
        if tick in self._done_ticks:
            self._give_up(key, f"its commit has not ended within {seconds:.0f} s", storage=True)
        else:
            parts = self._open.get(key, _Collected()).parts.values()
            there = f"only the part of {', '.join(part.worker for part in parts)} is written" if parts else "no part is written"
            self._give_up(key, f"after {seconds:.0f} s {there}")

    def _give_up(self, key: Save, reason: str, *, storage: bool = False) -> None:
        self._open.pop(key, None)
        self._failed[key] = None  # parts of it may come yet
        if len(self._failed) > _REMEMBERED:
            del self._failed[next(iter(self._failed))]
        self.results.put(SaveFailed(key[2], reason, call=key[0], storage=storage))

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
        newest = max((outcome.tick for outcome in found if isinstance(outcome, Committed) and outcome.call == self._call), default=0)
        with self._lock:
            self._done_ticks = {tick for tick in self._done_ticks if tick >= newest}
        return found

    def close(self, limit_s: float = 60.0) -> bool:
        """Finish what is under way and end the thread; False if that takes longer than `limit_s`: it then ends after the save it is at."""
        self._work.put(None)
        self._thread.join(timeout=limit_s)
        self._closing = True
        return not self._thread.is_alive()

    def _run(self) -> None:
        tick = 0
        try:
            while not self._closing and (work := self._work.get()) is not None:
                tick = work[0][0].tick
                self._carry_out(*work)
        except BaseException as error:  # a mistake of ours: without this thread no save ends, and who waits for one would wait for ever
            self.results.put(SaveFailed(tick, f"the thread that commits checkpoints ended: {type(error).__name__}: {error}", fatal=True))
            raise

    def _carry_out(self, parts: list[ShardWritten], extra: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        first, began = parts[0], self._clock.monotonic_s()
        reports = [part.report for part in parts if part.report is not None]
        specs, until = list(first.specs or []), began + _INSIST_S
        try:
            own, report = self._write_own(first, arrays)
            about = first.sequence, first.step, [*reports, report], specs + own, extra
            done = insist(lambda: commit(self._store, self._attempt, *about), self._store, until, self._clock)
        except Superseded as error:
            self.results.put(SaveFailed(first.tick, str(error), fatal=True, call=first.call))
        except Exception as error:  # storage has many ways to fail: the save is abandoned, training goes on
            with self._lock:
                if first.call == self._call:
                    self._done_ticks.discard(first.tick)
            self.results.put(SaveFailed(first.tick, f"{type(error).__name__}: {error}", call=first.call, storage=True))
        else:
            self._audited = frozenset({done.name}) if extra.get("audited") else self._audited
            seconds = max(part.seconds for part in parts) + self._clock.monotonic_s() - began
            stall = max(part.stall_seconds for part in parts)
            self.results.put(Committed(done.name, first.tick, done.step, done.nbytes, seconds, stall, first.call))
            self._delete_old()
        self._ended += 1

    def _write_own(self, first: ShardWritten, arrays: dict[str, NDArray[Any]]) -> tuple[list[TensorSpec], ShardReport]:
        """The driver's shard: what callbacks keep in arrays, often nothing; its place in the save is there all the same."""
        named = {f"callbacks/{name}": NamedArray.from_numpy(array) for name, array in arrays.items()}
        specs = [array.spec(name) for name, array in named.items()]
        with snapshot(named, split(specs, 1)[0], self._arena) as shot:
            path, until = shard_path(first.folder, first.size, first.size + 1), self._clock.monotonic_s() + _INSIST_S
            return specs, write_shard_insistently(self._store, path, shot, until, self._clock)

    def _delete_old(self) -> None:
        try:
            names = [name.removesuffix(".json") for name in self._store.list(COMMITS)]
            self._refers = {name: folders for name, folders in self._refers.items() if name in names}
            self._refers |= references(self._store, [name for name in names if name not in self._refers])
            plan = plan_deletions(
                read_history(self._store, names), names, self._store.list(DATA), attempt=self._attempt.number, keep=self._keep,
                pinned=self._pinned | self._audited, bad=bad_checkpoints(self._store), refers=self._refers,
            )  # fmt: skip
            sweep(self._store, self._attempt, plan)
        except Exception:  # what could not be deleted now is found again after the next commit
            return
