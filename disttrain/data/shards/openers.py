"""Samples in files by URL: Parquet, CSV, JSON lines, tar files of WebDataset, folders of pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from disttrain.data.pixels import MODES
from disttrain.data.shards.blocks import Blocks
from disttrain.data.shards.dataset import Shards
from disttrain.data.shards.files import Files, files_at
from disttrain.data.shards.folder_format import ENDINGS, FolderFormat, folder_of
from disttrain.data.shards.formats import Format
from disttrain.data.shards.parquet_format import ParquetFormat
from disttrain.data.shards.picking import Picks
from disttrain.data.shards.survey import survey
from disttrain.data.shards.tar_format import TarFormat
from disttrain.data.shards.text_format import Csv, JsonLines
from disttrain.errors import DataError

_MEMORY = 512 << 20

Names = str | Sequence[str] | None
Transform = Callable[[dict[str, Any]], Any] | None


def parquet(
    urls: Any,
    columns: Names = None,
    target: Names = None,
    weight: str | None = None,
    *,
    stack: bool = False,
    transform: Transform = None,
    window: int | None = None,
    workers: int = 0,
    memory: int = _MEMORY,
    storage_options: Mapping[str, Any] | None = None,
) -> Shards:
    """The rows of Parquet files; a row group is what is read at once. Takes `pip install 'disttrain[parquet]'`.

    Args:
        urls: one, or a list; `*` and `{0000..0099}` stand for several. A folder stands for the files in it.
        columns: names of inputs: one name, whose values are x; a list, which makes x a dict of them; None: all other columns.
        target: the name of y; several make a dict.
        weight: the name of sample_weight.
        stack: put the columns, all of them numbers, into one array of shape (batch, columns).
        transform: makes x, (x, y) or (x, y, sample_weight) of a sample, which is a dict of its columns; instead of columns, target and
            weight. What it draws from the generators of Python, NumPy and torch is seeded for each sample.
        window: samples that are mixed with one another when fit shuffles: the blocks come in an order drawn for each epoch, and samples
            within a window of them are permuted. None: as many as take 128 MB, from 1024 to 65536.
        workers: loader processes beside each worker of the run, which make samples of what was read; threads read, either way.
        memory: bytes that each worker keeps of what it reads ahead.
        storage_options: for fsspec, such as {"anon": True}.

    Raises:
        DataError: no such file, one that is damaged or cut short, a column that is missing.
        StorageUnavailable: the storage did not answer, however often it was asked.

    Example:
        >>> rows = data.parquet("s3://bucket/train/*.parquet", columns=["age", "income"], target="bought", stack=True)  # doctest: +SKIP
        >>> model.fit(rows, batch_size=256, epochs=3)  # doctest: +SKIP
    """
    picks = _picks("parquet", columns, target, weight, stack, transform)
    files = files_at(urls, storage_options, "parquet", ".parquet")
    form = ParquetFormat(None if transform is not None and columns is None else picks.names())
    return _opened("parquet", files, form, picks, transform, None, window, memory, workers)


def csv(
    urls: Any,
    columns: Names = None,
    target: Names = None,
    weight: str | None = None,
    *,
    stack: bool = False,
    delimiter: str = ",",
    names: Sequence[str] | None = None,
    dtypes: Mapping[str, str] | None = None,
    transform: Transform = None,
    window: int | None = None,
    workers: int = 0,
    memory: int = _MEMORY,
    index: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Shards:
    """The rows of CSV files, which name their columns in their first lines.

    Args:
        urls: one, or a list; `*` and `{0000..0099}` stand for several. A folder stands for the files in it.
        columns: names of inputs: one name, whose values are x; a list, which makes x a dict of them; None: all other columns.
        target: the name of y; several make a dict.
        weight: the name of sample_weight.
        stack: put the columns, all of them numbers, into one array of shape (batch, columns).
        delimiter: between fields.
        names: of the columns, of files that do not name them.
        dtypes: "int", "float" or "text" by column; of the others, what the first 200 rows look like.
        transform: makes x, (x, y) or (x, y, sample_weight) of a sample, which is a dict of its columns; instead of columns, target and
            weight. What it draws from the generators of Python, NumPy and torch is seeded for each sample.
        window: samples that are mixed with one another when fit shuffles: the blocks come in an order drawn for each epoch, and samples
            within a window of them are permuted. None: as many as take 128 MB, from 1024 to 65536.
        workers: loader processes beside each worker of the run, which make samples of what was read; threads read, either way.
        memory: bytes that each worker keeps of what it reads ahead.
        index: a URL of a JSON file that keeps where samples lie, which is found out by reading each file once; None: a file in the
            cache folder of this machine's user.
        storage_options: for fsspec, such as {"anon": True}.

    Raises:
        DataError: no such file, one that is damaged or cut short, a column that is missing.
        StorageUnavailable: the storage did not answer, however often it was asked.
    """
    picks = _picks("csv", columns, target, weight, stack, transform)
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise DataError(f"csv(delimiter={delimiter!r}): expected one character.")
    wrong = [kind for kind in (dtypes or {}).values() if kind not in ("int", "float", "text")]
    if wrong:
        raise DataError(f"csv(dtypes=...): {wrong[0]!r} is no kind of column.\n  expected  'int', 'float' or 'text'")
    files = files_at(urls, storage_options, "csv", (".csv", ".tsv"))
    form = Csv(delimiter, None if names is None else list(names), dict(dtypes or {}))
    form.learn(files)
    _check_names("csv", files, picks, form.names)
    return _opened("csv", files, form, picks, transform, index, window, memory, workers)


def json_lines(
    urls: Any,
    columns: Names = None,
    target: Names = None,
    weight: str | None = None,
    *,
    stack: bool = False,
    transform: Transform = None,
    window: int | None = None,
    workers: int = 0,
    memory: int = _MEMORY,
    index: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Shards:
    """The lines of files, each a JSON object.

    Args:
        urls: one, or a list; `*` and `{0000..0099}` stand for several. A folder stands for the files in it.
        columns: names of inputs: one name, whose values are x; a list, which makes x a dict of them; None: all other keys.
        target: the name of y; several make a dict.
        weight: the name of sample_weight.
        stack: put the columns, all of them numbers, into one array of shape (batch, columns).
        transform: makes x, (x, y) or (x, y, sample_weight) of a sample, which is a dict of its keys; instead of columns, target and
            weight. What it draws from the generators of Python, NumPy and torch is seeded for each sample.
        window: samples that are mixed with one another when fit shuffles: the blocks come in an order drawn for each epoch, and samples
            within a window of them are permuted. None: as many as take 128 MB, from 1024 to 65536.
        workers: loader processes beside each worker of the run, which make samples of what was read; threads read, either way.
        memory: bytes that each worker keeps of what it reads ahead.
        index: a URL of a JSON file that keeps where samples lie, which is found out by reading each file once; None: a file in the
            cache folder of this machine's user.
        storage_options: for fsspec, such as {"anon": True}.

    Raises:
        DataError: no such file, one that is damaged or cut short, a column that is missing.
        StorageUnavailable: the storage did not answer, however often it was asked.
    """
    picks = _picks("json_lines", columns, target, weight, stack, transform)
    files = files_at(urls, storage_options, "json_lines", (".jsonl", ".ndjson", ".json"))
    return _opened("json_lines", files, JsonLines(), picks, transform, index, window, memory, workers)


def tar(
    urls: Any,
    columns: Names = None,
    target: Names = None,
    weight: str | None = None,
    *,
    decode: bool = True,
    mode: str = "rgb",
    size: tuple[int, int] | None = None,
    transform: Transform = None,
    window: int | None = None,
    workers: int = 0,
    memory: int = _MEMORY,
    index: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Shards:
    """The samples of tar files as WebDataset writes them: members that share a name up to its first dot are the fields of a sample.

    Args:
        urls: one, or a list; `*` and `{0000..0099}` stand for several. A folder stands for the files in it.
        columns: names of inputs: one name, whose values are x; a list, which makes x a dict of them; None: all other fields.
        target: the name of y; several make a dict.
        weight: the name of sample_weight.
        decode: make of each field what its ending says: pictures are uint8 (height, width, channels), `cls` and `id` integers, `txt` text,
            `json` and `npy` what they hold; others stay bytes. False: all stay bytes.
        mode: of pictures: "rgb", "rgba" or "grayscale".
        size: (height, width) that pictures are resized to.
        transform: makes x, (x, y) or (x, y, sample_weight) of a sample, which is a dict of its fields; instead of columns, target and
            weight. What it draws from the generators of Python, NumPy and torch is seeded for each sample.
        window: samples that are mixed with one another when fit shuffles: the blocks come in an order drawn for each epoch, and samples
            within a window of them are permuted. None: as many as take 128 MB, from 1024 to 65536.
        workers: loader processes beside each worker of the run, which make samples of what was read; threads read, either way.
        memory: bytes that each worker keeps of what it reads ahead.
        index: a URL of a JSON file that keeps where samples lie, which is found out by reading each file once; None: a file in the
            cache folder of this machine's user.
        storage_options: for fsspec, such as {"anon": True}.

    Raises:
        DataError: no such file, one that is damaged or cut short, a column that is missing.
        StorageUnavailable: the storage did not answer, however often it was asked.

    Example:
        >>> pictures = data.tar("s3://bucket/train-{0000..0099}.tar", "jpg", "cls", size=(224, 224), workers=4)  # doctest: +SKIP
    """
    picks = _picks("tar", columns, target, weight, False, transform)
    files = files_at(urls, storage_options, "tar", ".tar")
    form = TarFormat(decode, _mode("tar", mode), _size("tar", size))
    return _opened("tar", files, form, picks, transform, index, window, memory, workers)


def images(
    urls: Any,
    *,
    labels: str | None = "folders",
    class_names: Sequence[str] | None = None,
    mode: str = "rgb",
    size: tuple[int, int] | None = None,
    transform: Transform = None,
    window: int | None = None,
    workers: int = 0,
    memory: int = _MEMORY,
    storage_options: Mapping[str, Any] | None = None,
) -> Shards:
    """The pictures of folders, uint8 of shape (height, width, channels), each with the number of the folder that it is in.

    Args:
        urls: a folder, with a folder for each class; or patterns of files.
        labels: "folders", or None for pictures alone.
        class_names: folders by label; else all there are, as they sort.
        mode: "rgb", "rgba" or "grayscale".
        size: (height, width) that they are resized to.
        transform: makes x, (x, y) or (x, y, sample_weight) of a dict with "image" and "label".
        window, workers, memory, storage_options: see `tar`; every picture is a file of its own, so that shuffling mixes all of them.

    Raises:
        DataError: no pictures, or one in a folder that `class_names` does not have.
        StorageUnavailable: the storage did not answer, however often it was asked.
    """
    if labels not in ("folders", None):
        raise DataError(f"images(labels={labels!r}): expected 'folders' or None.")
    files = files_at(urls, storage_options, "images", ENDINGS)
    found = sorted({folder_of(url) for url in files.urls}) if labels else None
    if class_names is not None and found is not None:
        other = sorted(set(found) - set(class_names))
        if other:
            raise DataError(f"images(class_names={list(class_names)}): there are pictures in the folder {other[0]!r} too.")
        found = list(class_names)
    form = FolderFormat(_mode("images", mode), _size("images", size), found)
    sizes = np.asarray(files.sizes, dtype=np.int64)
    ones = np.ones_like(sizes)
    blocks = Blocks(np.arange(len(sizes)), np.zeros_like(sizes), sizes, ones, sizes)
    picks = Picks("image", "label" if labels else None)
    return Shards("images", files, blocks, form, picks, transform, window=window, memory=memory, workers=workers)


def _opened(
    kind: str, files: Files, form: Format, picks: Picks, transform: Transform, index: str | None, window: int | None, memory: int,
    workers: int,
) -> Shards:  # fmt: skip
    blocks = survey(files, form.settings, lambda number: form.look(files, number), index, keeps=form.keeps)
    return Shards(kind, files, blocks, form, picks, transform, window=window, memory=memory, workers=workers)


def _picks(kind: str, columns: Names, target: Names, weight: str | None, stack: bool, transform: Transform) -> Picks:
    if transform is not None and (target is not None or weight is not None or stack):
        raise DataError(
            f"{kind}(transform=...) beside target, weight or stack: what transform gives is the sample.\n"
            "  expected  one or the other; columns= says what is read"
        )
    if transform is not None and not callable(transform):
        raise DataError(f"{kind}(transform={transform!r}): expected a function of a dict.")
    for name, value in (("columns", columns), ("target", target)):
        listed = [value] if isinstance(value, str) else value
        if listed is not None and (not listed or not all(isinstance(one, str) for one in listed)):
            raise DataError(f"{kind}({name}={value!r}): expected a name, or a list of names.")
    return Picks(_named(columns), _named(target), weight, stack)


def _named(names: Names) -> str | list[str] | None:
    return names if names is None or isinstance(names, str) else list(names)


def _check_names(kind: str, files: Files, picks: Picks, known: list[str]) -> None:
    for name in picks.names() or ():
        if name not in known:
            raise DataError(f"{kind}: {files.urls[0]} has no column {name!r}.\n  expected  one of {', '.join(known[:20])}")


def _mode(kind: str, mode: str) -> str:
    if mode not in MODES:
        raise DataError(f"{kind}(mode={mode!r}): expected {', '.join(map(repr, MODES))}.")
    return mode


def _size(kind: str, size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    if not isinstance(size, tuple | list) or len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise DataError(f"{kind}(size={size!r}): expected (height, width).")
    return int(size[0]), int(size[1])
