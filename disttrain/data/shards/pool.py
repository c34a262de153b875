"""Slices of shards, made ahead: threads read the blocks they need; samples are made by the worker, or by loader processes."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disttrain.data.loader_pool import LoaderPool
from disttrain.data.loader_settings import LoaderSettings


@dataclass(slots=True)
class _Asked:
    indices: NDArray[np.int64]
    key: int
    blocks: list[int]
    pinned: bool = False
    handed: bool = False


class ShardPool:
    """What `LoaderPool` is to datasets; loader processes are given what was read, and read nothing themselves.

    Args:
        source: a `ShardSource`.
    """

    def __init__(self, source: Any, settings: LoaderSettings) -> None:
        self._source, self._settings = weakref.proxy(source), settings  # which holds this
        self._makers = LoaderPool(source, settings) if settings.workers else None  # before any thread runs, since it forks
        self._reader = source.dataset.reader
        self._reader.start()
        self._asked: OrderedDict[int, _Asked] = OrderedDict()
        self._waiting: OrderedDict[int, _Asked] = OrderedDict()  # those of which nothing is read yet
        self._handed = 0

    def ask(self, ticket: int, indices: NDArray[np.int64], key: int) -> None:
        """Let the samples of these numbers be made; `take` gives them."""
        self._asked[ticket] = self._waiting[ticket] = _Asked(indices, key, self._source.blocks(indices))
        self._advance()

    def take(self, ticket: int) -> Any:
        """The batch that was asked for by this ticket; waits for it.

        Raises:
            Exception: what reading it, or the script's code, raised.
        """
        asked = self._asked[ticket]
        try:
            if not asked.pinned:
                self._pin(ticket, asked)
            if self._makers is None:
                return self._source.make(self._source.read(asked.indices), asked.indices, asked.key)
            if not asked.handed:
                self._hand(ticket, asked)
            return self._makers.take(ticket)
        finally:
            self._drop(ticket)
            self._advance()

    def forget(self, ticket: int) -> None:
        """Nobody will take it."""
        asked = self._asked.get(ticket)
        if asked is None:
            return
        if asked.handed and self._makers is not None:
            self._makers.forget(ticket)
        self._drop(ticket)

    def close(self) -> None:
        """End what runs, and let go of all blocks."""
        if self._makers is not None:
            self._makers.close()
        self._reader.close()
        self._asked.clear()
        self._waiting.clear()
        self._handed = 0

    @property
    def pids(self) -> list[int]:
        """Of the loader processes."""
        return [] if self._makers is None else self._makers.pids

    def _advance(self) -> None:
        """Have the blocks of the next slices read, as far as memory goes, and slices made whose blocks are there."""
        while self._waiting:
            ticket, asked = next(iter(self._waiting.items()))
            if not self._reader.has_room(asked.blocks):
                break
            self._pin(ticket, asked)
        if self._makers is None or self._handed >= self._settings.depth:
            return
        for ticket, asked in self._asked.items():
            if asked.handed:
                continue
            if self._handed >= self._settings.depth or not asked.pinned or not self._reader.is_here(asked.blocks):
                return
            try:
                self._hand(ticket, asked)
            except Exception:  # whoever takes it has it raised
                return

    def _pin(self, ticket: int, asked: _Asked) -> None:
        self._waiting.pop(ticket, None)
        self._reader.pin(asked.blocks)
        asked.pinned = True

    def _hand(self, ticket: int, asked: _Asked) -> None:
        assert self._makers is not None
        self._makers.ask(ticket, asked.indices, asked.key, self._source.read(asked.indices))
        asked.handed = True
        self._handed += 1

    def _drop(self, ticket: int) -> None:
        asked = self._asked.pop(ticket)
        self._waiting.pop(ticket, None)
        if asked.pinned:
            self._reader.unpin(asked.blocks)
        self._handed -= asked.handed
