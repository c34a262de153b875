"""Sources of samples: arrays in memory and torch map-style datasets. A source is asked for sample numbers and answers with tensors."""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import ConcatDataset, Subset, TensorDataset, default_collate

from disttrain import text
from disttrain.alignment import copy_of, on_border
from disttrain.data.bad_samples import BadSample
from disttrain.data.compat import collated, not_as_a_worker
from disttrain.data.generators import sample_seed, seed_generators, watch_generators, were_drawn_from
from disttrain.data.loader_pool import LoaderPool
from disttrain.data.loader_settings import LoaderSettings, settings_of
from disttrain.data.mapped import file_array, is_large_map
from disttrain.data.own_generators import fingerprints, generators_of, put_back, seed_own, states_of
from disttrain.data.refusals import array_of, located, parts_of, refuse_array, refuse_huge, refuse_labels, refuse_masked, refuse_tensor
from disttrain.data.structure import flatten, leaf_paths, map_structure
from disttrain.errors import DataError
from disttrain.seeds import fold_in

Batch = tuple[Any, Any, Any]  # x, y, sample_weight; y and sample_weight may be None


class Source(Protocol):
    """Numbered samples."""

    def __len__(self) -> int: ...

    def fetch(self, indices: NDArray[np.int64], key: int) -> Batch:
        """The samples of those numbers, stacked along axis 0; what is random in sample i of them draws from `sample_seed(key, i)`."""


def as_array(value: Any) -> NDArray[Any]:
    """A NumPy array without copying where that is possible; float64 becomes float32, as in Keras. A mapped file stays as it lies there."""
    value = _file(value)
    if is_large_map(value) and value.dtype.kind in "biufc" and value.ndim and min(value.strides) >= 0:
        return value.view(np.ndarray)  # type: ignore[no-any-return]
    if isinstance(value, Tensor):
        refuse_tensor(value)
        value = value.detach().cpu().numpy()
    elif hasattr(value, "to_numpy"):  # pandas
        value = value.to_numpy()
    refuse_masked(value)
    array: NDArray[Any] = value if isinstance(value, np.ndarray) else array_of(value)
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.ndim and (array.dtype.kind in "SU" or (array.dtype == object and text.holds_text(array))):
        return text.code_points(array)
    if array.dtype == np.uint32 or array.dtype == np.uint64:  # text travels as the one, and torch cannot select rows of the other
        refuse_huge(array)
        return array.astype(np.int64)
    if array.dtype.kind not in "fiubc":
        refuse_array(array, value)
    return np.ascontiguousarray(array) if array.ndim else array


class ArraySource:
    """Arrays (or dicts, lists and tuples of them) whose first axis counts the samples.

    Raises:
        DataError: arrays of unequal length, scalars, or none at all.
    """

    draws = False

    def __init__(self, x: Any, y: Any = None, sample_weight: Any = None) -> None:
        self.x, self.y, self.sample_weight = (
            map_structure(_column, text.gathered(map_structure(_file, x))),
            *(map_structure(as_array, p) for p in (y, sample_weight)),
        )
        check_targets(self.y, self.sample_weight)
        named = [
            pair for part, name in ((self.x, "x"), (self.y, "y"), (self.sample_weight, "sample_weight")) for pair in leaf_paths(part, name)
        ]
        if not flatten(self.x):
            raise DataError("x holds no array: expected an array, a tensor, or a dict, list or tuple of them.")
        for path, array in named:
            if array.ndim == 0:
                raise DataError(f"{path} is a single number of shape (): expected an array whose first axis counts the samples.")
        lengths = {path: len(array) for path, array in named}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{path} {length}" for path, length in lengths.items())
            raise DataError(f"arrays of unequal length: {found}.\n  expected  the same number of samples in each")
        self._length = next(iter(lengths.values()))
        self.wide = any(array.dtype == np.float64 for _, array in named)  # of mapped files, which become float32 row by row
        self._tensors: tuple[Any, Any, Any] | None = None

    def __len__(self) -> int:
        return self._length

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tensors": None}

    # Both ways give copies: a fresh, aligned tensor with the strides of its shape gives the same kernels, and the same bits, wherever
    # and however the samples lie; and what works in place works on the copy.

    def fetch(self, indices: NDArray[np.int64], key: int) -> Batch:
        rows = torch.from_numpy(indices)
        x, y, weight = self.as_tensors()
        if isinstance(x, Tensor) and (y is None or isinstance(y, Tensor)) and weight is None and not self.wide:
            return x.index_select(0, rows), None if y is None else y.index_select(0, rows), None
        x, y, weight = (map_structure(lambda t: _narrow(t.index_select(0, rows)), part) for part in (x, y, weight))
        return x, y, weight

    def fetch_run(self, first: int, stop: int) -> Batch:
        """The samples [first, stop)."""
        x, y, weight = self.as_tensors()
        if isinstance(x, Tensor) and (y is None or isinstance(y, Tensor)) and weight is None and not self.wide:
            return _rows(x, first, stop), None if y is None else _rows(y, first, stop), None
        x, y, weight = (map_structure(lambda t: _narrow(_rows(t, first, stop)), part) for part in (x, y, weight))
        return x, y, weight

    def as_tensors(self) -> tuple[Any, Any, Any]:
        """x, y and sample_weight as tensors over the memory of the arrays."""
        if self._tensors is None:
            with warnings.catch_warnings():
                # Arrays mapped from the object store are read only; nothing here writes to them.
                warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
                x, y, weight = (map_structure(_as_tensor, part) for part in (self.x, self.y, self.sample_weight))
                self._tensors = (x, y, weight)
        return self._tensors


def _narrow(tensor: Tensor) -> Tensor:
    return tensor.float() if isinstance(tensor, Tensor) and tensor.dtype == torch.float64 else tensor


def check_targets(*targets: Any) -> None:
    """Refuse targets and weights that are text.

    Raises:
        DataError: there are some.
    """
    if any(str(leaf.dtype).endswith("uint32") for leaf in flatten(list(targets)) if hasattr(leaf, "dtype")):
        raise DataError(
            "y holds text: expected numbers.\n"
            "  try       layers.StringLookup(vocabulary=labels, num_oov_indices=0)(y), which gives the place of each label"
        )


def _file(value: Any) -> Any:
    """The array in a `.npy` file, where that is what is given."""
    return file_array(value) if isinstance(value, str | os.PathLike) and os.fspath(value).endswith(".npy") else value


def _column(value: Any) -> Any:
    """An array of numbers, or of strings as they are."""
    if hasattr(value, "to_numpy"):  # pandas
        value = value.to_numpy()
    return text.Strings(value) if isinstance(value, np.ndarray) and text.holds_text(value) else as_array(value)


def _as_tensor(value: Any) -> Any:
    return value if isinstance(value, text.Strings) else torch.from_numpy(value)


def _rows(tensor: Tensor, first: int, stop: int) -> Tensor:
    return tensor[first:stop].clone(memory_format=torch.contiguous_format)


def standard_layout(tensor: Tensor) -> Tensor:
    """The same values as a fresh tensor of its shape has them: with its strides, from a border on; copied only where it must be.

    `array[..., None]` has a stride of 0 in its last axis, which is lost when the array travels to another process: kernels are chosen
    by strides, so without this the same samples could give other bits there.
    """
    shape, expected = tensor.shape, 1
    for size, stride in zip(shape[::-1], tensor.stride()[::-1], strict=True):  # a view takes longer than this
        if stride != expected:
            return on_border(tensor.contiguous().view(-1).view(shape))
        expected *= size
    return on_border(tensor)


class DatasetSource:
    """A torch map-style dataset: `len(dataset)` and `dataset[i]`, which gives x, (x, y) or (x, y, sample_weight).

    Random augmentation in `__getitem__` repeats exactly: Python's, NumPy's and torch's generators, and those that the dataset holds, are
    seeded for each sample, and for the collating of a slice. Where nobody draws from them, which is looked at once for each slice,
    nothing is seeded.

    Args:
        dataset: the dataset.
        collate: makes a batch of a list of samples; torch's own way unless given.
        loader: the processes that make its slices ahead of time; None for none.
    """

    draws = True  # a fetch disturbs the generators of the process

    def __init__(self, dataset: Any, collate: Callable[[list[Any]], Any] | None = None, loader: LoaderSettings | None = None) -> None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise DataError(f"{type(dataset).__name__} is no map-style dataset: expected __len__ and __getitem__.")
        self.dataset, self._collate, self.loader = dataset, collate, loader
        self._never_draws = collate is None and _only_holds_tensors(dataset)
        self._has_fetched = self._has_drawn = False
        self._own: list[Any] | None = None  # generators that the dataset or the collator holds
        self.skips_bad = False  # name a sample that cannot be made, for it to be left out, instead of raising what it raised
        self.pool: Any = None  # its loader processes, once they run
        self.stacked: Callable[[list[Tensor]], Tensor | None] | None = None  # in one of those: where batches are put together

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "pool": None, "stacked": None, "_own": None, "_has_fetched": False, "_has_drawn": False}

    def __len__(self) -> int:
        return len(self.dataset)

    def depth(self, plan: Any, ranks: int) -> int:
        """How many slices are asked for ahead, of those of so many virtual ranks."""
        return 0 if self.loader is None else self.loader.depth

    def open_pool(self) -> Any:
        """What makes its slices ahead of time."""
        assert self.loader is not None
        return LoaderPool(self, self.loader)

    def fetch(self, indices: NDArray[np.int64], key: int) -> Batch:
        numbers = [int(i) for i in indices]
        if self._never_draws:
            return self._collated(self._samples(numbers))
        if self._own is None:
            self._own = generators_of(self.dataset, self._collate)
        known = self._own
        before = states_of(known)
        try:
            return self._made(numbers, key)
        finally:
            put_back(known, before)  # the script may go on with them

    def _made(self, numbers: list[int], key: int) -> Batch:
        if not self._has_drawn:
            watch_generators()
            marks = fingerprints(self._own or ())
            batch = self._collated(self._samples(numbers))
            found = self._own or []
            if not self._has_fetched:
                self._has_fetched, found = True, generators_of(self.dataset, self._collate)  # some come to be at the first sample
            drawn = len(found) != len(marks) or fingerprints(found) != marks
            if not were_drawn_from() and not drawn:
                return batch
            self._has_drawn, self._own = True, found  # and once more, each sample from its own seed
        samples = []
        for place, number in enumerate(numbers):
            self._seed(sample_seed(key, place))
            samples += self._samples([number], place)
        self._seed(fold_in(key, "collate"))
        return self._collated(samples)

    def _seed(self, key: int) -> None:
        seed_generators(key)
        if self._own:
            seed_own(self._own, key)

    def _samples(self, numbers: list[int], first: int = 0) -> list[Any]:
        several = getattr(self.dataset, "__getitems__", None)
        if several is not None and not self.skips_bad:
            return list(several(numbers))
        samples: list[Any] = []
        try:
            for number in numbers:
                samples.append(self._sample(number, first + len(samples)))
        except Exception as error:
            number, name = numbers[len(samples)], type(self.dataset).__name__
            if self.skips_bad:
                raise BadSample(first + len(samples), number, f"{type(error).__name__}: {error}") from error
            error.add_note(f"raised by sample {number} of {name}")
            raise
        return samples

    def _sample(self, number: int, place: int) -> Any:
        """A sample, which has this place in its slice."""
        return self.dataset[number]

    def _collated(self, samples: list[Any]) -> Batch:
        if self._collate is not None:
            return as_batch(self._collate(samples))
        with not_as_a_worker():
            return as_batch(collated(samples, self.stacked))


_lasting: weakref.WeakKeyDictionary[Any, DatasetSource] = weakref.WeakKeyDictionary()  # of loaders whose processes persist


def loader_source(loader: Any) -> DatasetSource:
    """The samples of a torch DataLoader, made by its `collate_fn` in its processes; the same again where those persist."""
    default = loader.collate_fn is default_collate or getattr(loader.collate_fn, "__name__", "") == "default_collate"
    source = _lasting.get(loader)
    if source is None:
        collate, settings = None if default else loader.collate_fn, settings_of(loader)
        make = getattr(loader.dataset, "numbered_source", None)  # of shards
        source = DatasetSource(loader.dataset, collate, settings) if make is None else make(collate, settings)
    if source.loader is not None and source.loader.persistent:
        _lasting[loader] = source
    return source


def _only_holds_tensors(dataset: Any) -> bool:
    """Is it made of torch's own datasets of tensors, which draw nothing?"""
    if type(dataset) is Subset:
        return _only_holds_tensors(dataset.dataset)
    if type(dataset) is ConcatDataset:
        return all(_only_holds_tensors(part) for part in dataset.datasets)
    return type(dataset) is TensorDataset


def as_batch(batch: Any, *, counts_weigh: bool = False) -> Batch:
    """(x, y, sample_weight) as tensors from x, (x,), (x, y) or (x, y, sample_weight).

    Args:
        counts_weigh: may weights be integers? As the third part of what torch's datasets give, those are labels.

    Raises:
        DataError: something in it that is no tensor and no array of numbers, or a named tuple in another order.
    """
    try:
        batch = text.gathered(batch)
        x, y, weight = (map_structure(_leaf, part) for part in parts_of(batch))
        check_targets(y, weight)
    except DataError as error:
        raise located(error, batch, _leaf) from error
    if weight is not None and not counts_weigh:
        refuse_labels(weight)
    return x, y, weight


def _leaf(leaf: Any) -> Any:
    if isinstance(leaf, PackedSequence):
        return leaf._replace(data=standard_layout(leaf.data))
    if isinstance(leaf, Tensor):
        if leaf.layout is not torch.strided:
            refuse_tensor(leaf)
        value = leaf.long() if leaf.dtype is text.TEXT else leaf  # as which text travels, and these are numbers
    else:
        value = copy_of(as_array(leaf))
    return standard_layout(value.float() if value.dtype == torch.float64 else value)


class RangeSource:
    """Samples [start, stop) of another source; nothing is copied."""

    def __init__(self, source: Source, start: int, stop: int) -> None:
        self.source, self.start, self.stop = source, start, stop
        self.draws = bool(getattr(source, "draws", False))

    def __len__(self) -> int:
        return self.stop - self.start

    def fetch(self, indices: NDArray[np.int64], key: int) -> Batch:
        return self.source.fetch(indices + self.start, key)
