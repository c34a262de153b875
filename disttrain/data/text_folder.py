"""Text files in folders as a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from disttrain.data.folders import Files, Wish, batches_of_files


class TextFiles(Dataset[Any]):
    """The text of file number i, or (text, label)."""

    def __init__(self, files: Files, max_length: int | None) -> None:
        self.files, self.max_length = files, max_length
        self.class_names, self.file_paths = files.class_names, files.paths

    def __len__(self) -> int:
        return len(self.files.paths)

    def __getitem__(self, number: int) -> Any:
        data = Path(self.files.paths[number]).read_bytes()[: self.max_length]
        text = data.decode("utf-8", "ignore" if self.max_length is not None else "strict")  # a cut may fall within a character
        return text if self.files.labels is None else (text, torch.as_tensor(self.files.labels[number]))


def text_dataset_from_directory(
    directory: str,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Any = None,
    batch_size: int | None = 32,
    max_length: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    follow_links: bool = False,
    format: str = "tf",
    verbose: bool = True,
) -> Any:
    """The `.txt` files of a folder, whose class is the folder that each is in.

    Args:
        directory: with a folder for each class; every worker reads the files, so it must be there on each host.
        labels: "inferred"; None for texts alone; or an integer for each file in the order of their paths.
        label_mode: "int": int32 `(batch,)`; "binary": float32 `(batch, 1)`; "categorical": one-hot; None: no labels.
        class_names: the folders, in the order of their labels; else as they sort.
        batch_size: None for single samples.
        max_length: of a text, in bytes.
        shuffle: mix the files; else they are in the order of their paths.
        seed: of the order; None takes one from the process seed.
        validation_split: the share of files to validate on.
        subset: "training", "validation" or "both" of that split; both give two datasets.
        follow_links: into folders that links lead to.
        format: changes nothing; what comes back is torch's.
        verbose: print what was found.

    Returns:
        Batches that `fit` takes, with `class_names`: (array of strings, labels); without `batch_size` a map-style dataset of samples.
    """
    owner = "text_dataset_from_directory"
    wish = Wish(owner, directory, labels, label_mode, class_names, shuffle, seed, validation_split, subset, follow_links, verbose)
    return batches_of_files(wish, (".txt",), lambda files: TextFiles(files, max_length), batch_size)
