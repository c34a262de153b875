"""What of torch.utils.data is private, in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data._utils import worker


def tell_worker_info(number: int, workers: int, seed: int, dataset: Any) -> None:
    """Let `torch.utils.data.get_worker_info()` answer in this process as in one of torch's own loader processes."""
    worker._worker_info = worker.WorkerInfo(id=number, num_workers=workers, seed=seed, dataset=dataset)


@contextmanager
def not_as_a_worker() -> Iterator[None]:
    """Let `default_collate` make its batch in plain memory: in a loader process it would take memory of its own to share."""
    info, worker._worker_info = worker._worker_info, None
    try:
        yield
    finally:
        worker._worker_info = info
