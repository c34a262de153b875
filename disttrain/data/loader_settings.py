"""What a DataLoader says of the processes that make its batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_PREFETCH = 2  # torch's own


@dataclass(frozen=True)
class LoaderSettings:
    """How slices are made ahead of the steps that take them.

    Args:
        workers: loader processes beside each worker, 1 or more.
        prefetch: slices that each of them has asked of it at once.
        init: `worker_init_fn`, called in each process with its number before its first sample.
        method: how processes are started, as `multiprocessing` calls it; None for its own choice.
        pins: put batches into pinned memory, where there is a GPU.
        persistent: the processes outlive the epoch.
        timeout_s: so long may a slice take; 0 for ever.
    """

    workers: int
    prefetch: int = _PREFETCH
    init: Callable[[int], Any] | None = None
    method: str | None = None
    pins: bool = False
    persistent: bool = False
    timeout_s: float = 0.0

    @property
    def reads_on(self) -> bool:
        """May what comes after an epoch be made before that is over?"""
        return self.persistent

    @property
    def depth(self) -> int:
        """How many slices are under way at once."""
        return self.workers * self.prefetch


def settings_of(loader: Any) -> LoaderSettings | None:
    """Those of a torch DataLoader; None where it makes its batches in the process that asks."""
    if not loader.num_workers:
        return None
    context = loader.multiprocessing_context
    method = context if isinstance(context, str) or context is None else context.get_start_method()
    prefetch = _PREFETCH if loader.prefetch_factor is None else int(loader.prefetch_factor)
    return LoaderSettings(
        int(loader.num_workers), max(1, prefetch), loader.worker_init_fn, method, bool(loader.pin_memory),
        bool(loader.persistent_workers), float(loader.timeout),
    )  # fmt: skip
