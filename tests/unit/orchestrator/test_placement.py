"""Which virtual ranks a worker hosts."""

import pytest

from disttrain.orchestrator import place


@pytest.mark.parametrize(
    ("virtual_workers", "workers", "runs"),
    [
        (4, 4, ((0, 1), (1, 2), (2, 3), (3, 4))),
        (4, 1, ((0, 4),)),
        (8, 3, ((0, 3), (3, 6), (6, 8))),
        (5, 2, ((0, 3), (3, 5))),
    ],
)
def test_runs_are_contiguous_and_the_larger_ones_come_first(virtual_workers: int, workers: int, runs: tuple[tuple[int, int], ...]):
    assert place(virtual_workers, workers) == runs


@pytest.mark.parametrize("workers", [0, 5, -1])
def test_a_worker_without_a_virtual_rank_is_refused(workers: int):
    with pytest.raises(ValueError, match=rf"place\(virtual_workers=4, workers={workers}\): expected 1 to 4 workers"):
        place(4, workers)
