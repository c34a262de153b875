"""Which virtual ranks a worker hosts."""

from __future__ import annotations


def place(virtual_workers: int, workers: int) -> tuple[tuple[int, int], ...]:
    """Cut virtual ranks 0..V-1 into one contiguous run for each of `workers`: sizes differ by at most one, the larger ones first.

    Runs are contiguous so that a worker can fold whole subtrees of the fixed reduction tree on its own.

    Returns:
        For rank r, (start, stop) with `stop` not included.

    Raises:
        ValueError: fewer than one worker, or more workers than virtual ranks.

    Example:
        >>> place(8, 3)
        ((0, 3), (3, 6), (6, 8))
    """
    if not 1 <= workers <= virtual_workers:
        raise ValueError(f"place(virtual_workers={virtual_workers}, workers={workers}): expected 1 to {virtual_workers} workers.")
    size, larger = divmod(virtual_workers, workers)
    starts = [rank * size + min(rank, larger) for rank in range(workers + 1)]
    return tuple((starts[rank], starts[rank + 1]) for rank in range(workers))
