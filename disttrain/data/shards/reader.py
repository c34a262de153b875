"""Blocks in memory: read by threads, ahead of those who need them, kept for as long as somebody does, and some longer.

A read that takes very long is begun a second time beside the first: whichever is done first counts.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

_THREADS = 4
_SLOW_S = 30.0
_JOIN_S = 5.0

_Work = queue.SimpleQueue[tuple[int, Future[Any]] | None]


class BlockReader:
    """The blocks of one source in one process.

    Args:
        load: reads a block; told whether anybody waits for it any more. Called from several threads.
        nbytes: of each block, about.
        memory: so many bytes of blocks that nobody needs at the moment are kept.
        threads: that read; none run before `start`, and until then whoever asks reads.
    """

    def __init__(
        self, load: Callable[[int, threading.Event], Any], nbytes: Sequence[int], memory: int, threads: int = _THREADS,
        slow_s: float = _SLOW_S,
    ) -> None:  # fmt: skip
        self._load, self._nbytes, self._memory, self._count, self._slow_s = load, nbytes, memory, threads, slow_s
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._coming: dict[int, Future[Any]] = {}
        self._pins: dict[int, int] = {}
        self._bytes = self._pinned = 0  # of what is kept, and of what is needed
        self._work: _Work = queue.SimpleQueue()
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []
        self._end: Callable[[], object] | None = None
        self.reads = 0

    def start(self) -> None:
        """Let threads read; they end with this object at the latest."""
        if self._threads:
            return
        for _ in range(self._count):
            thread = threading.Thread(target=_serve, args=(weakref.ref(self), self._work), name="shard-reader", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._end = weakref.finalize(self, _stop, self._work, self._count)

    def close(self) -> None:
        """End the threads and let go of all blocks."""
        self._closed.set()
        if self._end is not None:
            self._end()
        for thread in self._threads:
            thread.join(_JOIN_S)  # one that hangs in a storage is a daemon
        self._threads, self._kept, self._coming, self._pins = [], OrderedDict(), {}, {}
        self._bytes = self._pinned = 0
        self._work, self._closed, self._end = queue.SimpleQueue(), threading.Event(), None

    # -- what is needed -------------------------------------------------------------------------------------------------------------

    def pin(self, blocks: Iterable[int]) -> None:
        """These are needed soon: they are read now, and stay until they are unpinned."""
        with self._lock:
            for block in blocks:
                times = self._pins[block] = self._pins.get(block, 0) + 1
                self._pinned += self._nbytes[block] if times == 1 else 0
                if block not in self._kept and block not in self._coming:
                    self._ask(block)

    def unpin(self, blocks: Iterable[int]) -> None:
        """The inverse of `pin`."""
        with self._lock:
            for block in blocks:
                left = self._pins.get(block, 0) - 1
                if left > 0:
                    self._pins[block] = left
                elif self._pins.pop(block, None) is not None:
                    self._pinned -= self._nbytes[block]
            self._let_go()

    def has_room(self, blocks: Iterable[int]) -> bool:
        """Do these fit beside what is pinned, or are they there already?"""
        with self._lock:
            new = [block for block in blocks if block not in self._pins]
            return self._pinned + sum(self._nbytes[block] for block in new) <= self._memory or all(block in self._kept for block in new)

    def is_here(self, blocks: Iterable[int]) -> bool:
        """Would `get` answer at once?"""
        with self._lock:
            return all(block in self._kept or (block in self._coming and self._coming[block].done()) for block in blocks)

    def get(self, block: int) -> Any:
        """What the block holds; waits for it.

        Raises:
            Exception: what `load` raised.
        """
        with self._lock:
            if block in self._kept:
                self._kept.move_to_end(block)
                return self._kept[block]
            coming = self._coming.get(block)
            if coming is None and self._threads:
                coming = self._ask(block)
        if coming is None:
            found = self._load(block, self._closed)
            with self._lock:
                self._keep(block, found)
            return found
        try:
            try:
                return coming.result(self._slow_s)
            except TimeoutError:
                if coming.done():  # the read's own
                    raise
            return self._beside(block, coming)
        except BaseException:
            with self._lock:
                if self._coming.get(block) is coming:
                    del self._coming[block]  # whoever asks again has it read again
            raise

    # -- reading --------------------------------------------------------------------------------------------------------------------

    def _beside(self, block: int, first: Future[Any]) -> Any:
        """Read it once more, on a thread of its own, and take what comes first."""
        second: Future[Any] = Future()
        threading.Thread(target=self._read, args=(block, second), name="shard-reader", daemon=True).start()
        done, _ = wait([first, second], return_when=FIRST_COMPLETED)
        for one in done:
            if one.exception() is None:
                return one.result()
        return (second if first in done else first).result()

    def _ask(self, block: int) -> Future[Any]:
        future = self._coming[block] = Future()
        self._work.put((block, future))
        return future

    def _read(self, block: int, future: Future[Any]) -> None:
        closed = self._closed
        try:
            found = self._load(block, closed)
        except BaseException as error:  # kept for whoever asks
            future.set_exception(error)
            return
        with self._lock:
            if not closed.is_set():
                self._coming.pop(block, None)
                self._keep(block, found)
        future.set_result(found)

    def _keep(self, block: int, found: Any) -> None:
        self.reads += 1
        if block not in self._kept:
            self._bytes += self._nbytes[block]
        self._kept[block] = found
        self._let_go(but=block)

    def _let_go(self, but: int | None = None) -> None:
        for block in list(self._kept):
            if self._bytes <= self._memory:
                return
            if block not in self._pins and block != but:
                del self._kept[block]
                self._bytes -= self._nbytes[block]


def _serve(reader: weakref.ref[BlockReader], work: _Work) -> None:
    """A thread: it holds on to the reader only while it reads for it."""
    while (asked := work.get()) is not None:
        held = reader()
        if held is None or held._work is not work:
            asked[1].cancel()
            continue
        held._read(*asked)
        del held, asked


def _stop(work: _Work, threads: int) -> None:
    for _ in range(threads):
        work.put(None)
