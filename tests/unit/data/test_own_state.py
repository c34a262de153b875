"""Generators and counters that the script's own data hold: seeded or kept, so that no bit depends on who makes a sample, or when."""

from __future__ import annotations

import functools
import json
import random
from typing import Any

import numpy as np
import pytest
import stream_cases as cases
import torch
from stream_cases import BATCH, SAMPLES, X, Y
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from disttrain.data import feed_of
from disttrain.data.own_generators import generators_of, put_back, seed_own, states_of
from disttrain.data.own_state import OwnState
from disttrain.data.reader import Reader
from disttrain.data.sources import DatasetSource
from disttrain.data.stream_feed import example_of
from disttrain.data.stream_state import from_json, to_json
from disttrain.data.streams import EpochDataset, IndexStream, IterableStream
from disttrain.errors import DataError

MAKE = {
    "numpy": lambda: np.random.default_rng(3),
    "of NumPy's old kind": lambda: np.random.RandomState(3),
    "python": lambda: random.Random(3),
    "torch": lambda: torch.Generator().manual_seed(3),
    "mersenne": lambda: np.random.Generator(np.random.MT19937(3)),
}


def number(generator: Any) -> float:
    if isinstance(generator, torch.Generator):
        return torch.rand((), generator=generator).item()
    return float(generator.random() if hasattr(generator, "random") else generator.rand())


class Jitter:
    def __init__(self, generator: Any) -> None:
        self.generator = generator

    def __call__(self, x: Any) -> Any:
        return x + number(self.generator)


class Jittered(Dataset):
    """A transform in a list holds the generator."""

    def __init__(self, generator: Any) -> None:
        self.transforms = [Jitter(generator), Jitter(generator)]

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, i: int):
        x = torch.from_numpy(X[i])
        for transform in self.transforms:
            x = transform(x)
        return x, Y[i]


class Lazy(Dataset):
    generator: Any = None

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, i: int):
        if self.generator is None:
            self.generator = np.random.default_rng(1)
        return X[i] + self.generator.random(), Y[i]


SCRIPTS = np.random.default_rng(4)


class OfTheScript(Dataset):
    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, i: int):
        return X[i] + SCRIPTS.random(), Y[i]


@pytest.mark.parametrize("kind", [*MAKE, "lazy", "of the script"])
def test_a_sample_draws_the_same_from_a_dataset_s_own_generator_whoever_makes_it_and_whenever(kind: str):
    dataset = {"lazy": Lazy, "of the script": OfTheScript}.get(kind, lambda: Jittered(MAKE[kind]()))()
    before = states_of(generators_of(dataset)) if kind in MAKE else None
    whole = DatasetSource(dataset).fetch(np.arange(8), 5)[0]
    if before is not None:
        assert repr(states_of(generators_of(dataset))) == repr(before)  # the script may go on with it
    other = DatasetSource(dataset)
    parts = [other.fetch(np.arange(first, first + 2), 5 + first)[0] for first in (6, 2, 0, 4)]
    assert torch.equal(torch.cat([parts[2], parts[1], parts[3], parts[0]]), whole)
    drawn = (whole - torch.from_numpy(X[:8]))[:, 0]
    assert len(set(drawn.tolist())) == 8


def test_a_collator_s_own_generator_is_seeded_for_each_slice():
    draws = np.random.default_rng(0)

    def collate(samples: list[Any]) -> Any:
        return torch.stack([x for x, _ in samples]) * draws.random(), torch.tensor([y for _, y in samples])

    source = DatasetSource(cases.dataset(), functools.partial(collate))
    first = source.fetch(np.arange(4), 1)[0]
    source.fetch(np.arange(4), 2)
    assert torch.equal(source.fetch(np.arange(4), 1)[0], first)


def test_a_sample_that_is_another_one_when_it_is_asked_for_again_is_refused_at_the_door():
    class Counting(Dataset):
        asked = 0

        def __len__(self) -> int:
            return SAMPLES

        def __getitem__(self, i: int):
            self.asked += 1
            return X[i] + self.asked, Y[i]

    feed = feed_of(DataLoader(Counting(), BATCH))
    with pytest.raises(DataError, match=r"sample 0 of Counting is another one when it is asked for again(.|\n)*counter, clock"):
        example_of(feed, feed.plan(None, 1), 1)


def test_generators_are_found_once_each_and_those_of_everybody_are_not_among_them():
    one, two = np.random.default_rng(1), random.Random(2)

    def drawing(count: int = 1, other: Any = two) -> float:
        return one.random() + random.random() + np.random.rand()

    held = {"a": [one], "b": drawing, "c": functools.partial(drawing, 2), "d": torch.nn.Dropout(), "e": random.SystemRandom()}
    assert [id(found) for found in generators_of(held)] == [id(one), id(two)]
    assert generators_of(None, cases.dataset(), X, "text") == []


@pytest.mark.parametrize("kind", MAKE)
def test_a_generator_is_seeded_and_put_back(kind: str):
    generator = MAKE[kind]()
    states = states_of([generator])
    seed_own([generator], 9)
    first = number(generator)
    put_back([generator], from_json(json.loads(json.dumps({**to_json_of(states)}))).position)
    assert number(generator) == number(MAKE[kind]()) != first
    seed_own([generator], 9)
    assert number(generator) == first


def to_json_of(value: Any) -> dict[str, Any]:
    from disttrain.data.reader import Mark

    return to_json(Mark(0, position=value))


class Counts(Sampler):
    """As scripts have them: its epochs are counted by itself, its list is shuffled in place, its draws go on."""

    def __init__(self) -> None:
        self.epoch, self.order, self.draws = 0, list(range(SAMPLES)), np.random.default_rng(0)

    def __iter__(self):
        self.epoch += 1
        self.draws.shuffle(self.order)
        return iter(self.order[self.epoch :])

    def __len__(self) -> int:
        return SAMPLES


class CountsToo(IterableDataset):
    def __init__(self) -> None:
        self.epoch, self.draws = 0, random.Random(4)

    def __iter__(self):
        self.epoch += 1
        for i in self.draws.sample(range(SAMPLES), SAMPLES):
            yield torch.from_numpy(X[i]) * self.epoch + self.draws.random(), Y[i]


class Batches(cases.Draws):
    def __init__(self) -> None:
        super().__init__()
        self.on_epoch_end()


MADE = {
    "a sampler": lambda: IndexStream(DataLoader(cases.dataset(), BATCH, sampler=Counts())),
    "an iterable": lambda: IterableStream(CountsToo(), BATCH),
    "in a loader": lambda: IterableStream(DataLoader(CountsToo(), BATCH)),
    "that seeks": lambda: IterableStream(cases.SeeksEpochs(), BATCH),
    "a function": lambda: IterableStream(cases.drawn_batches()),
    "a PyDataset": lambda: EpochDataset(Batches(), 4, True, True),
}


def told(reader: Reader, epoch: int, step: int) -> bytes:
    found = reader.item(epoch, step).told
    return found.tobytes() if isinstance(found, np.ndarray) else found[0].numpy().tobytes()


@pytest.mark.parametrize("kind", MADE)
def test_a_fresh_process_goes_on_anywhere_with_what_one_that_never_stopped_would_read(kind: str):
    steady, marks, expected = Reader(MADE[kind](), 1), {}, {}
    for epoch in range(3):
        for step in range(4):
            expected[epoch, step] = told(steady, epoch, step)
            marks[epoch, step] = steady.mark(epoch, step)
        while steady.item(epoch, step := step + 1) is not None:
            pass
    assert len(set(expected.values())) == 12
    for place in ((0, 0), (1, 0), (1, 2), (2, 0), (2, 3)):
        fresh = Reader(MADE[kind](), 1)
        fresh.item(0, 0)  # from which the model learned its shapes
        fresh.note_mark(*place, from_json(json.loads(json.dumps(to_json(marks[place])))))
        assert told(fresh, *place) == expected[place]
        again = Reader(MADE[kind](), 1)  # and a second time in one epoch
        again.note_mark(*place, from_json(json.loads(json.dumps(to_json(fresh.mark(*place))))))
        for epoch, step in [(place[0], step) for step in range(place[1], 4)]:
            assert told(again, epoch, step) == expected[epoch, step]


def test_a_pass_that_was_begun_without_its_mark_is_that_of_its_epoch_too():
    steady = Reader(MADE["an iterable"](), 1)
    expected = [[told(steady, epoch, step) for step in range(5)] + [steady.item(epoch, 5)] for epoch in range(2)]
    fresh = Reader(MADE["an iterable"](), 1)
    fresh.note_mark(1, 3, steady.mark(1, 3))
    assert told(fresh, 1, 1) == expected[1][1]  # asked for before the place of the checkpoint


def test_validation_begins_anew_each_time_and_takes_no_draw_from_the_training():
    draws = np.random.default_rng(5)

    def batches():
        for first in range(0, SAMPLES, BATCH):
            yield X[first : first + BATCH] + draws.random(dtype="float32"), Y[first : first + BATCH]

    training, validation = Reader(IterableStream(batches), 1), Reader(IterableStream(batches), 2, restarts=True)
    mixed = [(told(training, epoch, step), told(validation, epoch, step)) for epoch in range(2) for step in range(5)]
    draws = np.random.default_rng(5)
    alone = Reader(IterableStream(batches), 1)
    assert [train for train, _ in mixed] == [told(alone, epoch, step) for epoch in range(2) for step in range(5)]
    assert [validate for _, validate in mixed[:5]] == [validate for _, validate in mixed[5:]]


def test_what_did_not_change_is_neither_kept_nor_put_back():
    sampler = Counts()
    own = OwnState(sampler)
    sampler.path = "/elsewhere"
    assert own.memory()["changed"] == [{"path": "/elsewhere"}]
    sampler.epoch = 3
    memory = own.memory()
    later = Counts()
    OwnState(later).recall(memory)
    assert later.epoch == 3 and not hasattr(later, "path")


def test_processes_that_persist_beside_an_iterable_dataset_are_started_anew_and_that_is_said():
    loader = DataLoader(cases.OfShares(), BATCH, num_workers=1, persistent_workers=True)
    with pytest.warns(UserWarning, match="started anew for each pass"):
        stream = IterableStream(loader, name="DataLoader")
    first = Reader(stream, 1)
    second = told(first, 0, 0), told(first, 1, 0)
    fresh = Reader(IterableStream(DataLoader(cases.OfShares(), BATCH, num_workers=1), name="DataLoader"), 1)
    assert told(fresh, 1, 0) == second[1] != second[0]
