"""Samples in files, as a map-style dataset: each has a number, and where it lies is known without reading what comes before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from disttrain.data.loader_settings import LoaderSettings
from disttrain.data.shards.blocks import Blocks, in_runs
from disttrain.data.shards.failures import changed
from disttrain.data.shards.files import Files, again_where_it_fails
from disttrain.data.shards.formats import Format, gathered
from disttrain.data.shards.picking import Picks
from disttrain.data.shards.reader import BlockReader
from disttrain.data.shards.source import ShardSource
from disttrain.errors import DataError

_WINDOW_BYTES = 128 << 20
_WINDOW_ROWS = (1 << 10, 1 << 16)


class Shards(Dataset[Any]):
    """What `data.parquet`, `data.csv`, `data.json_lines`, `data.tar` and `data.images` give: `fit`, `evaluate`, `predict` and
    `validation_data` take it, and so does a `DataLoader`.

    Args:
        kind: what made it, for people.
        transform: makes `x`, `(x, y)` or `(x, y, sample_weight)` of a dict of fields, instead of `picks`.
        window: samples that are mixed with one another when `fit` shuffles; None: as many as take 128 MB, 1024 at least.
        memory: bytes that each worker keeps of what it reads ahead.
        workers: processes beside each worker that make samples of what was read.
    """

    def __init__(
        self, kind: str, files: Files, blocks: Blocks, form: Format, picks: Picks, transform: Callable[[dict[str, Any]], Any] | None,
        *, window: int | None, memory: int, workers: int,
    ) -> None:  # fmt: skip
        self.kind, self.files, self.blocks, self.form, self.picks, self.transform = kind, files, blocks, form, picks, transform
        for name, value, least in (("window", window, 1), ("memory", memory, 1), ("workers", workers, 0)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                raise DataError(f"{kind}({name}={value!r}): expected a whole number of {least} or more.")
        self.bounds = blocks.bounds()
        self.memory, self.workers = memory, workers
        row_bytes = max(1, int(blocks.nbytes.sum()) // len(self))
        self.window = window or int(np.clip(_WINDOW_BYTES // row_bytes, *_WINDOW_ROWS))
        self.class_names = getattr(form, "class_names", None)
        self._first_of_shard = blocks.first_of_shard()
        self._reader: BlockReader | None = None

    def __len__(self) -> int:
        return int(self.bounds[-1])

    def __getitem__(self, number: int) -> Any:
        count = len(self)
        if not -count <= number < count:
            raise IndexError(f"sample {number} of {count}")
        number = int(number) % count
        return self.made(self.rows(np.array([number]))[0], number)

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None}

    def __repr__(self) -> str:
        return f"<{self.kind}: {len(self)} samples in {len(self.files)} files, {len(self.blocks)} blocks>"

    def numbered_source(self, collate: Callable[[list[Any]], Any] | None = None, loader: LoaderSettings | None = None) -> ShardSource:
        """What the training asks for its samples."""
        return ShardSource(self, collate, loader)

    def digest(self) -> str:
        """Says which sample each number stands for."""
        return f"{self.blocks.digest(self.files.sizes)} {self.window}"

    # -- reading --------------------------------------------------------------------------------------------------------------------

    @property
    def reader(self) -> BlockReader:
        """The blocks in this process."""
        if self._reader is None:
            self._reader = BlockReader(_Loader(self.files, self.blocks, self.form), self.blocks.nbytes.tolist(), self.memory)
        return self._reader

    def rows(self, numbers: NDArray[np.int64]) -> Any:
        """What is read of these samples, in their order: `Columns`, or a list."""
        runs = in_runs(numbers, self.bounds)
        if self.form.columnar:
            return gathered([(self.reader.get(block), places, rows) for block, places, rows in runs], len(numbers))
        found: list[Any] = [None] * len(numbers)
        for block, places, rows in runs:
            held = self.reader.get(block)
            for place, row in zip(places.tolist(), rows.tolist(), strict=True):
                found[place] = held[row]
        return found

    # -- samples --------------------------------------------------------------------------------------------------------------------

    def made(self, row: Any, number: int) -> Any:
        """The sample of what was read of it.

        Raises:
            DataError: it is damaged, or a field is missing.
            Exception: what `transform` raises.
        """
        where = self.where(number)
        fields = self.form.sample(row, where)
        return self.picks.sample(fields, where) if self.transform is None else self.transform(fields)

    def where(self, number: int) -> str:
        """Where a sample lies, for people."""
        block = int(np.searchsorted(self.bounds, number, side="right")) - 1
        url = self.files.urls[int(self.blocks.shard[block])]
        return f"sample {number - int(self.bounds[int(self._first_of_shard[block])])} of {url}"


class _Loader:
    """Reads a block from its file. Apart from the dataset, so that nothing refers to that which outlives it."""

    def __init__(self, files: Files, blocks: Blocks, form: Format) -> None:
        self._files, self._blocks, self._form = files, blocks, form
        self._first_of_shard = blocks.first_of_shard()

    def __call__(self, block: int, stopped: threading.Event) -> Any:
        blocks = self._blocks
        number, begin, end = int(blocks.shard[block]), int(blocks.begin[block]), int(blocks.end[block])
        what = f"block {block - self._first_of_shard[block]} of {self._files.urls[number]}"
        found = again_where_it_fails(lambda: self._form.load(self._files, number, begin, end), what, stopped)
        if len(found) != blocks.rows[block]:
            raise changed(what, len(found), int(blocks.rows[block]))
        return found
