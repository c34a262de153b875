"""What of torch.utils.data is private, in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils.data import default_collate
from torch.utils.data._utils import worker
from torch.utils.data._utils.collate import collate, collate_tensor_fn, default_collate_fn_map


def tell_worker_info(number: int, workers: int, seed: int, dataset: Any) -> None:
    """Let `torch.utils.data.get_worker_info()` answer in this process as in one of torch's own loader processes."""
    worker._worker_info = worker.WorkerInfo(id=number, num_workers=workers, seed=seed, dataset=dataset)


def collated(samples: list[Any], stacked: Callable[[list[Tensor]], Tensor | None] | None) -> Any:
    """`default_collate(samples)`, whose stacks of tensors are made by `stacked` where that makes them."""
    usual = default_collate_fn_map.get(Tensor)
    if stacked is None or usual is not collate_tensor_fn:  # or the script has put one of its own there
        return default_collate(samples)

    def stack(batch: Any, *, collate_fn_map: Any) -> Tensor:
        made = stacked(batch)
        return collate_tensor_fn(batch, collate_fn_map=collate_fn_map) if made is None else made

    return collate(samples, collate_fn_map={**default_collate_fn_map, Tensor: stack})


@contextmanager
def not_as_a_worker() -> Iterator[None]:
    """Let `default_collate` make its batch in plain memory: in a loader process it would take memory of its own to share."""
    info, worker._worker_info = worker._worker_info, None
    try:
        yield
    finally:
        worker._worker_info = info
