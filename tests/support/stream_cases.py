"""Data that have an order of their own, each kind made anew for each run as a script makes it, and the model that trains on them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from thread_runs import make_model
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

import disttrain as dt

SAMPLES, BATCH = 34, 8
_R = np.random.default_rng(5)
X = _R.normal(size=(SAMPLES, 6)).astype(np.float32)
Y = _R.integers(0, 3, SAMPLES)


def dataset() -> TensorDataset:
    return TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


class Rows(IterableDataset):
    """Sample by sample; noise from the process's generators, and a shuffle of its own."""

    def __iter__(self):
        order = list(range(SAMPLES))
        random.shuffle(order)
        for i in order:
            yield torch.from_numpy(X[i]) + 0.1 * torch.rand(6), Y[i] + np.random.randint(1)


class Seekable(IterableDataset):
    """Can tell where it is, and go there."""

    def __init__(self) -> None:
        self.at = 0
        self.read: list[int] = []

    def __iter__(self):
        for i in range(self.at, SAMPLES):
            self.at = i + 1
            self.read.append(i)
            yield torch.from_numpy(X[i]), Y[i]
        self.at = 0

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.at = state["at"]


def batches():
    """A generator function, whose last batch is smaller, and whose batches have several sizes."""
    for first in (0, 8, 13, 21, 29):
        stop = {0: 8, 8: 13, 13: 21, 21: 29, 29: SAMPLES}[first]
        yield X[first:stop] + np.random.rand(1).astype("float32"), Y[first:stop]


class Bucket(Sampler):
    """Batches of its own, drawn anew for each epoch, some epochs with fewer of them."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):
        order = torch.randperm(SAMPLES).tolist()
        count = 4 - self.epoch % 2
        return iter([order[i * BATCH : (i + 1) * BATCH] for i in range(count)])


class Shuffled(dt.PyDataset):
    """Keras's idiom: it shuffles itself when an epoch ends."""

    def __init__(self) -> None:
        super().__init__()
        self.order = np.arange(SAMPLES)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int):
        rows = self.order[index * BATCH : (index + 1) * BATCH]
        return X[rows], Y[rows]

    def on_epoch_end(self) -> None:
        np.random.shuffle(self.order)


class Counts(Sampler):
    """Counts its epochs itself, and draws from a generator of its own."""

    def __init__(self) -> None:
        self.epoch, self.draws = 0, np.random.default_rng(1)

    def __iter__(self):
        self.epoch += 1
        return iter((self.draws.permutation(SAMPLES) + self.epoch).__mod__(SAMPLES).tolist())

    def __len__(self) -> int:
        return SAMPLES


class InPlace(Sampler):
    """Shuffles the list that it has."""

    def __init__(self) -> None:
        self.order = list(range(SAMPLES))

    def __iter__(self):
        random.shuffle(self.order)
        return iter(list(self.order))

    def __len__(self) -> int:
        return SAMPLES


class SeeksEpochs(Seekable):
    """Can tell where it is, its epoch included."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = 0

    def __iter__(self):
        order = np.random.default_rng(self.epoch).permutation(SAMPLES)
        while self.at < SAMPLES:
            self.at += 1
            yield torch.from_numpy(X[order[self.at - 1]]), Y[order[self.at - 1]]
        self.at, self.epoch = 0, self.epoch + 1

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.at, self.epoch = state["at"], state["epoch"]


class Draws(Shuffled):
    """Shuffles and changes its pictures by a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.draws = np.random.default_rng(3)

    def __getitem__(self, index: int):
        x, y = super().__getitem__(index)
        return x + self.draws.random(dtype="float32"), y

    def on_epoch_end(self) -> None:
        self.draws.shuffle(self.order)


class OfShares(IterableDataset):
    """Each loader process gives its share of the samples, with noise."""

    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        for i in range(info.id, SAMPLES, info.num_workers):
            yield torch.from_numpy(X[i]) + float(np.random.rand()), Y[i]


def drawn_batches():
    """A generator function that draws from a generator which the script made before."""
    draws = np.random.default_rng(2)

    def batches_of_it():
        for first in range(0, SAMPLES, BATCH):
            yield X[first : first + BATCH] + draws.random(dtype="float32"), Y[first : first + BATCH]

    return batches_of_it


def loader(**arguments: Any) -> DataLoader:
    return DataLoader(dataset(), **{"batch_size": BATCH, **arguments})


KINDS: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
    "an iterable dataset": lambda: (Rows(), {"batch_size": BATCH}),
    "one that can seek": lambda: (Seekable(), {"batch_size": BATCH}),
    "a loader over an iterable dataset": lambda: (DataLoader(Rows(), BATCH), {}),
    "a generator function": lambda: (batches, {}),
    "a generator function, in steps": lambda: (batches, {"steps_per_epoch": 3}),
    "a list of batches that can only be iterated": lambda: (Only(list(batches())), {}),
    "weighted": lambda: (loader(sampler=WeightedRandomSampler(torch.arange(1.0, SAMPLES + 1), 29)), {}),
    "a subset drawn at random": lambda: (loader(sampler=SubsetRandomSampler(range(5, 30))), {}),
    "of DDP": lambda: (loader(sampler=DistributedSampler(dataset(), 1, 0)), {}),
    "a generator of its own": lambda: (loader(shuffle=True, generator=torch.Generator().manual_seed(11)), {}),
    "with replacement": lambda: (loader(sampler=RandomSampler(dataset(), replacement=True, num_samples=40)), {"steps_per_epoch": 3}),
    "batches of a sampler": lambda: (DataLoader(dataset(), batch_sampler=BatchSampler(SequentialSampler(dataset()), BATCH, True)), {}),
    "batches of its own": lambda: (DataLoader(dataset(), batch_sampler=Bucket()), {}),
    "a subset by index": lambda: (DataLoader(Subset(dataset(), range(3, 33)), BATCH, sampler=SubsetRandomSampler(range(30))), {}),
    "shuffles itself": lambda: (Shuffled(), {}),
    "counts its epochs": lambda: (loader(sampler=Counts()), {}),
    "shuffles in place": lambda: (loader(sampler=InPlace()), {"steps_per_epoch": 4}),
    "seeks its epoch": lambda: (SeeksEpochs(), {"batch_size": BATCH}),
    "draws for itself": lambda: (Draws(), {}),
    "shares of processes": lambda: (DataLoader(OfShares(), BATCH, num_workers=2, drop_last=True), {}),
    "a closure that draws": lambda: (drawn_batches(), {}),
}


class Only:
    """An iterable and nothing else."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items

    def __iter__(self):
        return iter(self._items)


def train_on(kind: str, callbacks: Any = None, epochs: int = 3, **more: Any) -> tuple[str, dict[str, list[float]]]:
    """(digest, History) of a fit on data of that kind, with validation on a stream."""
    x, arguments = KINDS[kind]()
    model = make_model()
    history = model.fit(
        x, epochs=epochs, verbose=0, callbacks=callbacks, validation_data=Only([(X[:9], Y[:9]), (X[9:13], Y[9:13])]), **arguments, **more
    )
    return model.digest(), history.history
