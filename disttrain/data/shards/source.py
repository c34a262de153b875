"""Samples in files, as the training asks for them: a slice is read, and then made; each where it costs least."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disttrain.data.loader_settings import LoaderSettings
from disttrain.data.plan import BatchPlan
from disttrain.data.shards.formats import Columns, ragged
from disttrain.data.shards.order import BlockPlan
from disttrain.data.shards.pool import ShardPool
from disttrain.data.sources import Batch, DatasetSource, as_batch
from disttrain.data.structure import leaf_paths
from disttrain.errors import DataError

_SLICES_AHEAD = 4  # of an order that has no windows


@dataclass(frozen=True)
class ShardSettings(LoaderSettings):
    """How slices of shards are made ahead: with 0 `workers`, threads read and the worker itself makes samples."""

    @property
    def reads_on(self) -> bool:
        return True


class ShardSource(DatasetSource):
    """Samples [first, stop) of shards, by number.

    Args:
        shards: the dataset.
        collate: makes a batch of a list of samples.
        loader: what a DataLoader says of its processes.
    """

    def __init__(
        self, shards: Any, collate: Callable[[list[Any]], Any] | None = None, loader: LoaderSettings | None = None,
        first: int = 0, stop: int | None = None,
    ) -> None:  # fmt: skip
        given = {field.name: getattr(loader, field.name) for field in fields(LoaderSettings)} if loader else {"workers": shards.workers}
        super().__init__(shards, collate, ShardSettings(**given))
        self.first, self.stop = first, len(shards) if stop is None else stop
        self.plain = shards.transform is None and collate is None  # nothing of the script's runs
        self.draws = not self.plain
        self._never_draws = self.plain
        self._rows: Any = None

    def __len__(self) -> int:
        return self.stop - self.first

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_rows": None}

    def digest(self) -> str:
        """Says which sample each number stands for."""
        return f"{self.dataset.digest()} {self.first} {self.stop}"

    def range(self, start: int, stop: int) -> ShardSource:
        """Samples [start, stop) of these."""
        return ShardSource(self.dataset, self._collate, self.loader, self.first + start, self.first + stop)

    def planned(self, plan: BatchPlan) -> BatchPlan:
        """The same plan, with an order that visits blocks one after the other."""
        bounds = np.unique(np.clip(self.dataset.bounds, self.first, self.stop)) - self.first
        return BlockPlan(
            plan.samples, plan.batch_size, plan.virtual_workers, plan.shuffle, plan.seed, plan.steps_per_epoch, plan.drop_last,
            plan.restarts, bounds=bounds, window=self.dataset.window,
        )  # fmt: skip

    def depth(self, plan: BatchPlan, ranks: int) -> int:
        """Slices that are asked for ahead: those of a window, so that its blocks are read once, and some of the next."""
        windows = plan.slices_in_window() if isinstance(plan, BlockPlan) and plan.shuffle else 0
        assert self.loader is not None
        return ranks * (windows + _SLICES_AHEAD) + self.loader.depth

    def open_pool(self) -> ShardPool:
        assert self.loader is not None
        return ShardPool(self, self.loader)

    # -- samples --------------------------------------------------------------------------------------------------------------------

    def fetch(self, indices: NDArray[np.int64], key: int) -> Batch:
        return self.make(self.read(indices), indices, key)

    def read(self, indices: NDArray[np.int64]) -> Any:
        """What the files hold of these samples."""
        return self.dataset.rows(np.asarray(indices) + self.first)

    def blocks(self, indices: NDArray[np.int64]) -> list[int]:
        """The blocks that these samples lie in."""
        return np.unique(np.searchsorted(self.dataset.bounds, np.asarray(indices) + self.first, side="right") - 1).tolist()  # type: ignore[no-any-return]

    def make(self, rows: Any, indices: NDArray[np.int64], key: int) -> Batch:
        """The batch of what was read."""
        if self.plain and isinstance(rows, Columns) and not ragged(rows):
            x, y, weight = self.dataset.picks.parts(rows.arrays, f"this {self.dataset.kind} source")
            return as_batch((x, y, weight), counts_weigh=True) if weight is not None else as_batch(x if y is None else (x, y))
        self._rows = rows
        try:
            return super().fetch(indices, key)
        finally:
            self._rows = None

    def _sample(self, number: int, place: int) -> Any:
        return self.dataset.made(self._rows[place], number + self.first)

    def _collated(self, samples: list[Any]) -> Batch:
        try:
            return super()._collated(samples)
        except (RuntimeError, TypeError, ValueError, KeyError) as error:
            found = self._unequal(samples)
            if found is None:
                raise
            raise found from error

    def _unequal(self, samples: list[Any]) -> DataError | None:
        """Which sample is not like the first."""
        if self._collate is not None:
            return None
        first = _form(samples[0])
        for sample in samples[1:]:
            if _form(sample) != first:
                return DataError(
                    f"samples of this {self.dataset.kind} source are not alike: one is {_in_words(sample)}, another "
                    f"{_in_words(samples[0])}.\n"
                    "  expected  the same fields in each, of the same shape\n"
                    "  try       transform=, which pads, cuts or resizes each sample (size=(height, width) for pictures); or a DataLoader\n"
                    "            with a collate_fn"
                )
        return None


def _form(sample: Any) -> list[tuple[str, Any]]:
    return [(path, np.shape(leaf)) for path, leaf in leaf_paths(sample, "sample")]


def _in_words(sample: Any) -> str:
    return ", ".join(f"{path} {shape}" for path, shape in _form(sample)[:6]) or "empty"
