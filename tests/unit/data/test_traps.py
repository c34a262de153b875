"""What data loaders get wrong across a resume, each trap that no other test here names: see also test_own_state and tests/properties."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import stream_cases as cases
import torch
from stream_cases import BATCH, SAMPLES, X, Y
from torch.utils.data import ChainDataset, DataLoader, Dataset, IterableDataset, SequentialSampler, Subset, SubsetRandomSampler

from disttrain.data import StreamPlan, feed_of
from disttrain.data.reader import Reader
from disttrain.data.stream_state import from_json, to_json
from disttrain.data.streams import IndexStream, IterableStream
from disttrain.errors import DataError


def gone_on(make: Any, epoch: int, step: int, other: Any = None) -> tuple[Any, Any]:
    """(what a reader that never stopped reads at a step, what one of another process reads that goes on there)."""
    steady = Reader(make(), 1)
    for before in range(epoch + 1):
        for place in range(step + 1 if before == epoch else 100):
            if steady.item(before, place) is None:
                break
    fresh = Reader((other or make)(), 1)
    fresh.item(0, 0)
    fresh.note_mark(epoch, step, from_json(json.loads(json.dumps(to_json(steady.mark(epoch, step))))))
    return steady.item(epoch, step).told, fresh.item(epoch, step).told


@pytest.mark.parametrize("step", [0, 1])
def test_a_save_before_every_loader_process_has_given_a_batch_is_gone_on_from(step: int):
    steady, fresh = gone_on(lambda: IterableStream(DataLoader(cases.OfShares(), BATCH, num_workers=3), name="loader"), 0, step)
    assert torch.equal(steady[0], fresh[0]) and len(steady[1]) == len(fresh[1])


def test_another_number_of_processes_that_share_a_stream_is_told_as_other_samples():
    def made(workers: int) -> Any:
        return lambda: IterableStream(DataLoader(cases.OfShares(), BATCH, num_workers=workers), name="loader")

    with pytest.raises(DataError, match="loader gave other samples than before: the first 2 batches of pass 1"):
        gone_on(made(2), 0, 2, made(1))


class Mixture(IterableDataset):
    """Draws which of two sources comes next, by a generator of its own, and a source that ends begins anew."""

    def __init__(self) -> None:
        self.draws, self.sources = np.random.default_rng(6), [range(20), range(20, SAMPLES)]

    def __iter__(self):
        running = [iter(source) for source in self.sources]
        for _ in range(SAMPLES):
            which = int(self.draws.integers(2))
            number = next(running[which], None)
            if number is None:
                running[which] = iter(self.sources[which])
                number = next(running[which])
            yield torch.from_numpy(X[number]), Y[number]


@pytest.mark.parametrize("place", [(1, 0), (2, 0), (2, 3)])
def test_mixtures_go_on_after_their_first_epoch(place: tuple[int, int]):
    steady, fresh = gone_on(lambda: IterableStream(ChainDataset([Mixture(), Mixture()]), BATCH), *place)
    assert torch.equal(steady[0], fresh[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda drop: DataLoader(cases.dataset(), BATCH, drop_last=drop),
        lambda drop: DataLoader(cases.dataset(), BATCH, drop_last=drop, shuffle=True),
        lambda drop: DataLoader(cases.dataset(), BATCH, drop_last=drop, sampler=SubsetRandomSampler(range(SAMPLES))),
        lambda drop: DataLoader(cases.dataset(), BATCH, drop_last=drop, shuffle=True, generator=torch.Generator().manual_seed(1)),
        lambda drop: DataLoader(Subset(cases.dataset(), range(SAMPLES)), BATCH, drop_last=drop, sampler=SequentialSampler(range(SAMPLES))),
        lambda drop: DataLoader(cases.Rows(), BATCH, drop_last=drop),
    ],
)
@pytest.mark.parametrize("drop", [True, False])
def test_no_way_to_read_a_loader_loses_its_drop_last(make: Any, drop: bool):
    plan = feed_of(make(drop)).plan(None, 2, trains=True)
    if isinstance(plan, StreamPlan):
        counts = [item.count for step in range(5) if (item := plan.reader.item(0, step)) is not None]
    else:
        counts = [plan.batch_count(0, step) for step in range(plan.steps)]
    assert counts == ([8, 8, 8, 8] if drop else [8, 8, 8, 8, 2])


def test_going_on_in_an_order_of_numbers_makes_none_of_the_samples_that_came_before():
    class Made(Dataset):
        made = 0

        def __len__(self) -> int:
            return SAMPLES

        def __getitem__(self, i: int):
            Made.made += 1
            return X[i], Y[i]

    gone_on(lambda: IndexStream(DataLoader(Made(), BATCH, sampler=SubsetRandomSampler(range(SAMPLES)))), 2, 3)
    assert Made.made == 0
