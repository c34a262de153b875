"""Vocabularies: tokens out of what a person passes, by frequency, and as files of one token a line."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from disttrain.text import holds_text, is_text, strings_of


def token_batches(data: Any, steps: int | None, owner: str) -> Iterator[Any]:
    """What `adapt` is given, batch by batch: an array, a tensor or lists are one batch; a batch of several things is (x, y, ...).

    One axis of tokens are so many documents, where a batch of an iterable is one, as in Keras.

    Raises:
        ValueError: something that holds no tokens, or no batch at all.
    """
    if hasattr(data, "to_numpy"):  # pandas
        data = data.to_numpy()
    if isinstance(data, str | bytes | dict) or not (isinstance(data, Tensor) or hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        raise ValueError(f"{owner}.adapt: got a {type(data).__name__}, expected an array, lists, a tensor or an iterable of batches.")
    if isinstance(data, list | tuple | np.ndarray | Tensor):
        yield one_column(data)
        return
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not hasattr(data, "__iter__"):  # a PyDataset
        data = map(data.__getitem__, range(len(data)))
    empty = True
    for batch in itertools.islice(data, steps):
        empty = False
        several = isinstance(batch, tuple | list) and batch and isinstance(batch[0], np.ndarray | Tensor | list | tuple)
        yield batch[0] if several and not _is_table(batch) else batch
    if empty:
        raise ValueError(f"{owner}.adapt: got no batch at all.")


def _is_table(batch: Any) -> bool:
    """Lists of tokens, rather than (x, y)?"""
    return isinstance(batch, list) and all(isinstance(row, list | tuple) for row in batch)


def one_column(data: Any) -> Any:
    """An array of one axis as a column, anything else as it is."""
    if is_text(data):
        data = strings_of(data)
    if isinstance(data, Tensor):
        data = data.detach().cpu().numpy()
    array = np.asarray(data) if not isinstance(data, list | tuple) or not _ragged(data) else None
    if array is None:
        return data
    return array.reshape(-1, 1) if array.ndim == 1 else array


def _ragged(rows: Sequence[Any]) -> bool:
    return len({len(row) if isinstance(row, list | tuple | np.ndarray) else -1 for row in rows}) > 1


def rows_of(data: Any, kind: type, owner: str) -> Iterator[list[Any]]:
    """The tokens of each document: the rows of an array, of which all axes but the first are one; one axis is one row."""
    if isinstance(data, list | tuple) and _ragged(data) and all(isinstance(row, list | tuple | np.ndarray) for row in data):
        for row in data:
            yield [as_token(token, kind, owner) for token in row]
        return
    if hasattr(data, "numpy") and not isinstance(data, Tensor):  # TensorFlow's
        data = data.numpy()
    array = strings_of(data) if is_text(data) or holds_text(data) else np.asarray(data.detach().cpu() if isinstance(data, Tensor) else data)
    array = array.reshape(1, -1) if array.ndim <= 1 else array.reshape(array.shape[0], -1)
    for tokens in array.tolist():
        yield tokens if not tokens or type(tokens[0]) is kind else [as_token(token, kind, owner) for token in tokens]


def as_token(value: Any, kind: type, owner: str) -> Any:
    """`value` as a string or a whole number.

    Raises:
        ValueError: it is neither, or the other one.
    """
    if kind is str and isinstance(value, str):
        return str(value)
    if kind is str and isinstance(value, bytes):
        return value.decode()
    if kind is int and isinstance(value, int | float | np.number) and not isinstance(value, bool) and int(value) == value:
        return int(value)
    other = "IntegerLookup" if kind is str else "StringLookup"
    raise ValueError(
        f"{owner}: got {value!r} of type {type(value).__name__}, expected {'strings' if kind is str else 'whole numbers'}.\n"
        f"  try  layers.{other}"
    )


def as_tokens(vocabulary: Any, kind: type, owner: str) -> list[Any]:
    """The tokens of a list, an array, a tensor, or a file with one token a line."""
    if isinstance(vocabulary, str | Path):
        if not Path(vocabulary).is_file():
            raise ValueError(f"{owner}: the vocabulary file {str(vocabulary)!r} does not exist.")
        return read(Path(vocabulary), kind, None, owner)
    if is_text(vocabulary):
        vocabulary = strings_of(vocabulary)
    if isinstance(vocabulary, Tensor):
        vocabulary = vocabulary.detach().cpu().numpy()
    if isinstance(vocabulary, np.ndarray) and vocabulary.ndim != 1:
        raise ValueError(f"{owner}: a vocabulary of shape {vocabulary.shape}, expected one axis.")
    return [as_token(token, kind, owner) for token in (vocabulary.tolist() if isinstance(vocabulary, np.ndarray) else vocabulary)]


def by_frequency(counts: Counter[Any]) -> list[Any]:
    """The most frequent first; of equally frequent ones the one that sorts last, strings by their bytes in UTF-8."""
    return sorted(counts, key=lambda token: (counts[token], token.encode() if isinstance(token, str) else token), reverse=True)


def two_keys(salt: Any, owner: str) -> list[int] | None:
    """The key of a hash: two whole numbers, or one for both."""
    if salt is None:
        return None
    if isinstance(salt, int) and not isinstance(salt, bool):
        return [salt, salt]
    if isinstance(salt, list | tuple) and len(salt) == 2 and all(isinstance(part, int) for part in salt):
        return list(salt)
    raise ValueError(f"{owner}(salt={salt!r}): expected a whole number, or two.")


def listed(tokens: Sequence[Any]) -> str:
    """A few of them."""
    shown = list(dict.fromkeys(tokens))[:5]
    return ", ".join(map(repr, shown)) + (" ..." if len(set(tokens)) > 5 else "")


def write(path: Path, tokens: Sequence[Any], owner: str) -> None:
    """One token a line.

    Raises:
        ValueError: a token with a line break.
    """
    for token in tokens:
        if (isinstance(token, str) and len(token.splitlines()) > 1) or (isinstance(token, str) and token.strip("\r\n") != token):
            raise ValueError(
                f"{owner}: the token {token!r} has a line break, which the file of a vocabulary, one token a line, cannot hold.\n"
                "  try  vocabulary=layer.get_vocabulary() in the constructor: then the config holds it"
            )
    path.write_text("\n".join(str(token) for token in tokens), encoding="utf-8", newline="\n")


def read(path: Path, kind: type, size: int | None, owner: str) -> list[Any]:
    """The tokens of a file; `size` tells how many, where the last ones are empty."""
    lines = path.read_text(encoding="utf-8").split("\n")
    while lines and lines[-1] == "" and (size is None or len(lines) > size):
        lines.pop()
    try:
        return [kind(line) for line in lines]
    except ValueError as error:
        raise ValueError(f"{owner}: {path.name}: {error}: expected a whole number on each line.") from None
