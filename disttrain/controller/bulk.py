"""Bringing here what workers left aside: results, outputs, weights that a callback looks at. Beats never wait behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from disttrain.elastic import messages as m


class BulkCollector:
    """Collects on the cluster and hands each value to whoever waits for it.

    Args:
        cluster: its `collect` begins to bring a value; a `Collected` follows among the reports. One without it hands values over at once.
        lost: called with the name of a worker whose value cannot come: that worker is as good as dead.
    """

    def __init__(self, cluster: Any, lost: Callable[[str, str], None]) -> None:
        self._cluster, self._lost = cluster, lost
        self._waiting: dict[str, tuple[str, Callable[[Any], None], Callable[[], None] | None]] = {}

    def take(self, worker: str, value: Any, then: Callable[[Any], None], failed: Callable[[], None] | None = None) -> None:
        """Call `then` with the value: now, or once it is here if it is a `Bulk`; `failed` if it cannot come."""
        if not isinstance(value, m.Bulk):
            then(value)
        elif not hasattr(self._cluster, "collect"):
            then(value.handle)
        else:
            self._waiting[value.key] = worker, then, failed
            self._cluster.collect(value)

    def arrived(self, report: m.Collected) -> None:
        """A value is here, or will not come."""
        found = self._waiting.pop(report.key, None)
        if found is None:
            return
        worker, then, failed = found
        if report.error is None:
            then(report.value)
            return
        self._lost(worker, report.error)
        if failed is not None:
            failed()
