"""What data cannot be made of, each told by what it is, with what to do; and the parts of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike, fspath
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from disttrain.data.structure import flatten, leaf_paths
from disttrain.errors import DataError

_TARGETS = frozenset({"label", "labels", "target", "targets", "y", "y_true"})
_WEIGHTS = frozenset({"sample_weight", "sample_weights", "w", "weight", "weights"})


def refuse_tensor(tensor: Tensor) -> None:
    """Raise DataError for a tensor that is no plain array of numbers.

    Raises:
        DataError: a sparse, nested or quantized tensor, or one in bfloat16, which NumPy does not know.
    """
    if tensor.is_nested:
        raise DataError(
            "a nested tensor, whose rows have lengths of their own, cannot be cut into slices of a batch.\n"
            "  expected  a dense tensor, padded\n"
            "  try       torch.nested.to_padded_tensor(x, 0.0); or a Dataset of single sequences, and DataLoader(collate_fn=...) that pads"
        )
    layout = str(tensor.layout).removeprefix("torch.")
    if layout != "strided":
        raise DataError(
            f"a sparse tensor ({layout}) cannot be cut into slices of a batch.\n"
            "  expected  a dense tensor\n"
            "  try       x.to_dense(), of each sample in a Dataset if that is too much at once; or the indices, and a layers.Embedding"
        )
    if tensor.is_quantized:
        raise DataError("a quantized tensor cannot be trained on.\n  expected  numbers\n  try       x.dequantize()")
    if str(tensor.dtype) == "torch.bfloat16":
        raise DataError(
            "a tensor in bfloat16 among the data: they are kept in NumPy's dtypes.\n"
            "  expected  float32, float16 or integers\n"
            "  try       x.float(); the policy mixed_bfloat16 lets layers compute in bfloat16"
        )


def array_of(value: Any) -> NDArray[Any]:
    """`np.asarray(value)`.

    Raises:
        DataError: a packed sequence, a sparse matrix, rows of unequal length.
    """
    if isinstance(value, PackedSequence):
        raise DataError(
            "a packed sequence cannot be cut into slices of a batch.\n"
            "  expected  a dataset of single sequences\n"
            "  try       DataLoader(dataset, batch_size=..., collate_fn=...) with a collate_fn that gives pack_sequence(...)"
        )
    if hasattr(value, "nnz") and hasattr(value, "toarray"):
        raise DataError(
            f"a sparse matrix ({type(value).__name__}) cannot be cut into slices of a batch.\n"
            "  expected  an array\n"
            "  try       x.toarray(); or a Dataset whose __getitem__ gives x[i].toarray()[0], if that is too much at once"
        )
    if isinstance(value, np.lib.npyio.NpzFile) or (isinstance(value, str | PathLike) and fspath(value).endswith(".npz")):
        raise DataError(
            f"{value if isinstance(value, str) else 'a .npz file'} holds several arrays.\n  expected  one of them, or a dict of some\n"
            '  try       arrays = np.load(path) and fit(arrays["x"], arrays["y"])'
        )
    try:
        return np.asarray(value)
    except ValueError as error:  # NumPy's own: an inhomogeneous shape
        raise DataError(f"no array could be made of it: {error}\n{_PAD}") from None


_PAD = (
    "  expected  numbers of one shape (are the rows of unequal length?)\n"
    "  try       dt.utils.pad_sequences(rows); or a Dataset of single rows, and DataLoader(collate_fn=...) that pads each batch"
)


def refuse_array(array: NDArray[Any], value: Any) -> NoReturn:
    """Raise DataError for an array of no numbers.

    Raises:
        DataError: always.
    """
    first = next(iter(array.flat), None) if array.dtype == object else None
    if array.dtype.kind in "US" or isinstance(first, str | bytes):
        raise DataError(
            f"text, such as {str(first if array.dtype == object else next(iter(array.flat), ''))[:40]!r}, cannot be trained on.\n"
            "  expected  numbers\n"
            "  try       numbers for it, made before fit() or in the Dataset; what is only to be looked at, such as a path, left out"
        )
    if array.dtype == object and array.ndim == 0:
        raise DataError(
            f"a {type(value).__name__} object is neither a tensor nor an array of numbers.\n"
            "  expected  tensors, arrays and numbers, in dicts, lists, tuples and named tuples\n"
            "  try       a dict of its tensors; of a Dataset, in __getitem__ or by DataLoader(collate_fn=...)"
        )
    if array.dtype == object:
        raise DataError(f"an array of Python objects cannot be trained on.\n{_PAD}")
    raise DataError(f"an array of dtype {array.dtype} cannot be trained on.\n  expected  numbers\n  try       x.astype('float32')")


def refuse_masked(value: Any) -> None:
    """Raise DataError for a masked array some of whose numbers are masked: nothing here knows of a mask.

    Raises:
        DataError: it is one.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(
            f"a masked array, {int(np.count_nonzero(np.ma.getmaskarray(value)))} of whose numbers are masked.\n  expected  numbers\n"
            "  try       x.filled(0.0); or sample_weight=, which is 0 for samples that do not count"
        )


def refuse_huge(array: NDArray[Any]) -> None:
    """Raise DataError for whole numbers beyond int64.

    Raises:
        DataError: there are some.
    """
    if array.dtype == np.uint64 and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise DataError(f"whole numbers up to {int(array.max())} in uint64: expected less than 2 ** 63, as int64 has them.")


def parts_of(batch: Any) -> tuple[Any, Any, Any]:
    """(x, y, sample_weight) of what a dataset or a collator gave, None for what is not there.

    Raises:
        DataError: a named tuple whose names say another order.
    """
    if not isinstance(batch, list | tuple) or not 1 <= len(batch) <= 3 or isinstance(batch, PackedSequence):
        return batch, None, None
    names = [str(name) for name in getattr(batch, "_fields", ())]
    if names and (names[0].lower() in _TARGETS or (len(names) == 3 and names[2].lower() not in _WEIGHTS)):
        raise DataError(
            f"a batch is a {type(batch).__name__} of ({', '.join(names)}): it would be taken for (x, y, sample_weight).\n"
            "  expected  named tuples in that order\n"
            "  try       a collate_fn that gives (x, y), where x may be a dict or a tuple of several tensors"
        )
    x, y, weight = (*batch, None, None)[:3]
    return x, y, weight


def refuse_labels(weight: Any) -> None:
    """Raise DataError for sample weights that are integers: (a, b, same or not) of pairs, say, is no (x, y, sample_weight).

    Raises:
        DataError: with the way to say either.
    """
    if any(not leaf.is_floating_point() for leaf in flatten(weight) if isinstance(leaf, Tensor)):
        raise DataError(
            "a dataset gives three parts, the third of integers: it would be taken for (x, y, sample_weight).\n"
            "  expected  weights in floating point\n"
            "  try       ((a, b), label) for two inputs and a label; or weights.float()"
        )


def located(error: DataError, batch: Any, convert: Callable[[Any], Any]) -> DataError:
    """`error`, with the place in the batch that gave rise to it."""
    for name, part in zip(("x", "y", "sample_weight"), _tried(batch), strict=True):
        for path, leaf in leaf_paths(part, name):
            try:
                convert(leaf)
            except DataError as found:
                first, _, rest = str(found).partition("\n")
                return DataError(f"{path} of a batch: {first}" + (f"\n{rest}" if rest else ""))
    return error


def _tried(batch: Any) -> tuple[Any, Any, Any]:
    try:
        return parts_of(batch)
    except DataError:
        return None, None, None


def refuse_others_orders(x: Any, argument: str) -> None:
    """Raise DataError for data whose order nobody can ask for again: of Ray Data and of tf.data.

    Raises:
        DataError: they are.
    """
    module, name = type(x).__module__, type(x).__name__
    if module.startswith("ray.data.") and (hasattr(x, "iter_batches") or hasattr(x, "__iter__")):
        raise DataError(
            f"{argument} is a {name} of Ray Data: the order of its rows follows the cluster that makes them, so that a run\n"
            "which goes on could neither leave out what it had nor find what it lacks.\n"
            "  expected  samples that have numbers\n"
            "  try       ds.write_parquet(url), once, and fit(dt.data.parquet(url, columns=[...], target=...)); or ds.to_pandas(), of\n"
            "            what fits into memory"
        )
    if module.startswith("tensorflow.") and hasattr(x, "as_numpy_iterator"):
        raise DataError(
            f"{argument} is a {name} of tf.data: what it shuffles goes on from pass to pass inside TensorFlow, so that a run\n"
            "which goes on would find another order.\n"
            "  expected  what gives the batches of a pass when it is begun again\n"
            "  try       def batches(): yield from make_dataset(seed=int(np.random.randint(2**31))).as_numpy_iterator()\n"
            "            and fit(batches), where make_dataset builds the tf.data pipeline, batched, with shuffle(..., seed=seed): NumPy's\n"
            "            generator is seeded for each pass"
        )


def refuse_samples(x: Any, argument: str) -> None:
    """Raise DataError for a list of samples that look like what a dataset gives, where a list is several inputs.

    Raises:
        DataError: a list of dicts or of pairs of a sample and its label.
    """
    if not isinstance(x, list) or len(x) < 2:
        return
    first, last = x[0], x[-1]
    dicts = isinstance(first, Mapping) and isinstance(last, Mapping) and set(first) == set(last)
    pairs = all(
        isinstance(item, tuple) and len(item) == 2 and not np.ndim(item[1]) and not isinstance(item[1], str) for item in (first, last)
    )
    if dicts or pairs:
        raise DataError(
            f"{argument} is a list of {len(x)} {'dicts' if dicts else 'pairs'}: a list stands for several inputs, not for samples.\n"
            "  expected  a dict of arrays, or a dataset\n"
            f"  try       DataLoader({argument}, batch_size=...), which takes a list for a dataset"
        )
