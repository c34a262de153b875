"""What of torch.utils.data is private, in one place."""

from __future__ import annotations

from typing import Any

from torch.utils.data._utils import worker


def tell_worker_info(number: int, workers: int, seed: int, dataset: Any) -> None:
    """Let `torch.utils.data.get_worker_info()` answer in this process as in one of torch's own loader processes."""
    worker._worker_info = worker.WorkerInfo(id=number, num_workers=workers, seed=seed, dataset=dataset)
