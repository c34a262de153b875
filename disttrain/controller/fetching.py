"""What callbacks look at lies on the workers: asking one for it, and another if that one dies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from disttrain.controller.bulk import BulkCollector
from disttrain.controller.mailbox import Gone, Question
from disttrain.elastic import messages as m


@dataclass(frozen=True)
class Fetch:
    """A question of a callback: weights, slots or gradients of the worker of rank `place`, as they are at `tick`."""

    what: str
    tick: int
    place: int = 0


@dataclass
class _Open:
    question: Question
    asked: tuple[int, str] = (-1, "")  # generation, worker


class Fetching:
    """The questions that wait for a worker's answer.

    Args:
        send: sends a command to a worker.
        call: its number.
    """

    def __init__(self, cluster: Any, call: int, bulk: BulkCollector) -> None:
        self._cluster, self._call, self._bulk = cluster, call, bulk
        self._open: dict[int, _Open] = {}
        self._requests = 0

    def begin(self, question: Question) -> None:
        """A callback asks."""
        self._requests += 1
        self._open[self._requests] = _Open(question)

    def look(self, members: Sequence[str], generation: int) -> None:
        """Ask whoever can answer: a member of this generation, unless it has been asked. Who is there holds its state where the
        callbacks are, or comes there before it obeys."""
        for request, entry in self._open.items():
            fetch = entry.question.what
            assert isinstance(fetch, Fetch)
            known, worker = entry.asked
            if members and (known != generation or worker not in members):
                worker = members[min(fetch.place, len(members) - 1)]
                entry.asked = generation, worker
                self._cluster.send(worker, m.Fetch(self._call, request, fetch.what, fetch.tick))

    def fetched(self, report: m.Fetched) -> None:
        """A worker answers; what it has to say may still be on its way."""
        entry = self._open.get(report.request)
        if entry is None:
            return

        def here(arrays: dict[str, Any]) -> None:
            if self._open.pop(report.request, None) is not None:
                entry.question.answer(arrays)

        def failed() -> None:
            entry.asked = (-1, "")  # another is asked

        self._bulk.take(report.worker, report.arrays, here, failed)

    def give_up(self) -> None:
        """Every worker was lost: nobody can answer."""
        for entry in self._open.values():
            entry.question.answer(error=Gone())
        self._open.clear()
