"""Files in folders that are named after classes: which there are, and which of them to train on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from disttrain.data.loaded import Batches
from disttrain.seeds import next_key


@dataclass(frozen=True)
class Files:
    """Paths with labels.

    Args:
        labels: a row for each path; None where there are none.
        class_names: by label.
    """

    paths: list[str]
    labels: np.ndarray | None
    class_names: list[str] | None


@dataclass(frozen=True)
class Wish:
    """What a person asked for, in the words of `image_dataset_from_directory` and `text_dataset_from_directory`.

    Raises:
        ValueError: what cannot be.
    """

    owner: str
    directory: str
    labels: Any
    label_mode: str | None
    class_names: Any
    shuffle: bool
    seed: int | None
    validation_split: float | None
    subset: str | None
    follow_links: bool
    verbose: bool

    def __post_init__(self) -> None:
        if not os.path.isdir(self.directory):
            raise ValueError(f"{self.owner}(directory={str(self.directory)!r}): no such folder here.\n  expected  a folder of this machine")
        if self.labels not in ("inferred", None) and not isinstance(self.labels, list | tuple):
            raise ValueError(f"{self.owner}(labels={self.labels!r}): expected 'inferred', None, or a list of integers, one for each file.")
        if self.labels != "inferred" and self.class_names:
            raise ValueError(f"{self.owner}(class_names=...): goes with labels='inferred'.")
        if self.label_mode not in ("int", "categorical", "binary", None):
            raise ValueError(f"{self.owner}(label_mode={self.label_mode!r}): expected 'int', 'categorical', 'binary' or None.")
        if self.validation_split and not 0 < self.validation_split < 1:
            raise ValueError(f"{self.owner}(validation_split={self.validation_split}): expected a number between 0 and 1.")
        if bool(self.validation_split) != bool(self.subset):
            raise ValueError(f"{self.owner}: validation_split and subset go together.")
        if self.subset not in ("training", "validation", "both", None):
            raise ValueError(f"{self.owner}(subset={self.subset!r}): expected 'training', 'validation', 'both' or None.")
        if self.validation_split and self.shuffle and self.seed is None:
            raise ValueError(
                f"{self.owner}(validation_split={self.validation_split}, shuffle=True): needs seed=, so that no file is in both parts."
            )

    @property
    def order_seed(self) -> int:
        """The seed of the order, drawn from the process seed where none was given."""
        return next_key(self.owner) % 2**32 if self.seed is None else self.seed


def labelled_files(wish: Wish, endings: tuple[str, ...]) -> tuple[list[Files], int]:
    """(the files of the wished subset, or of both; the seed of their order), in Keras's order for each seed.

    Raises:
        ValueError: no files, other numbers of files and labels, or of classes.
    """
    unlabelled = wish.labels is None or wish.label_mode is None
    labels = None if unlabelled else wish.labels
    inferred = labels == "inferred"
    folders = [""]
    if inferred:
        folders = sorted(name for name in os.listdir(wish.directory) if os.path.isdir(os.path.join(wish.directory, name)))
        folders = [name for name in folders if not name.startswith(".")]
        if wish.class_names is not None:
            if not set(wish.class_names) <= set(folders):
                raise ValueError(f"{wish.owner}(class_names={list(wish.class_names)}): expected names of folders, some of {folders}.")
            folders = list(wish.class_names)
    paths: list[str] = []
    found: list[int] = []
    for label, folder in enumerate(folders):
        inside = _files_in(os.path.join(wish.directory, folder), endings, wish.follow_links)
        paths += inside
        found += [label] * len(inside)
    values: np.ndarray | None = np.array(found, np.int32) if inferred else None
    class_names = folders if inferred else None
    if labels is not None and not inferred:
        if len(labels) != len(paths):
            raise ValueError(f"{wish.owner}: got {len(labels)} labels, and {len(paths)} files in {wish.directory}.")
        values, class_names = np.array(labels, np.int32), [str(label) for label in sorted(set(labels))]
    if wish.verbose:
        print(f"Found {len(paths)} files" + (f" belonging to {len(class_names)} classes." if class_names is not None else "."))
    seed = wish.order_seed
    if wish.shuffle:
        np.random.RandomState(seed).shuffle(paths)
        if values is not None:
            np.random.RandomState(seed).shuffle(values)
    if wish.label_mode == "binary" and values is not None and len(class_names or ()) != 2:
        raise ValueError(f"{wish.owner}(label_mode='binary'): expected 2 classes, found {class_names}.")
    whole = Files([os.path.abspath(path) for path in paths], _encoded(values, wish.label_mode, len(class_names or ())), class_names)
    kept = int((wish.validation_split or 0) * len(paths))
    parts = {"training": slice(None, len(paths) - kept), "validation": slice(len(paths) - kept, None), None: slice(None)}
    wished = ["training", "validation"] if wish.subset == "both" else [wish.subset]
    cuts = []
    for name in wished:
        part = parts[name]
        cut = replace(whole, paths=whole.paths[part], labels=None if whole.labels is None else whole.labels[part])
        if not cut.paths:
            named = f"{name} " if name else ""
            raise ValueError(f"{wish.owner}: no {named}files in {wish.directory}.\n  expected  names that end in {', '.join(endings)}")
        if name and wish.verbose:
            print(f"Using {len(cut.paths)} files for {name}.")
        cuts.append(cut)
    return cuts, seed


def batches_of_files(wish: Wish, endings: tuple[str, ...], samples_of: Callable[[Files], Any], batch_size: int | None) -> Any:
    """Batches of what `samples_of` makes of the files, or its samples where `batch_size` is None; a list of two for both parts.

    Raises:
        ValueError: see `labelled_files`.
    """
    parts, order = labelled_files(wish, endings)
    made = []
    for number, files in enumerate(parts):
        samples = samples_of(files)
        mixed = wish.shuffle and number == 0
        made.append(samples if batch_size is None else Batches(samples, batch_size, mixed, order, (), files.class_names, files.paths))
    return made if wish.subset == "both" else made[0]


def _files_in(folder: str, endings: tuple[str, ...], follow_links: bool) -> list[str]:
    found = []
    for root, _, names in sorted(os.walk(folder, followlinks=follow_links), key=lambda place: place[0]):
        found += [os.path.join(root, name) for name in sorted(names) if name.lower().endswith(endings)]
    return found


def _encoded(labels: np.ndarray | None, mode: str | None, classes: int) -> np.ndarray | None:
    if labels is None or mode == "int":
        return labels
    if mode == "binary":
        return labels.astype(np.float32)[:, None]
    return np.eye(classes, dtype=np.float32)[labels]  # type: ignore[no-any-return]
