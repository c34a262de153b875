"""Windows that slide over a series."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from disttrain.data.loaded import Batches
from disttrain.seeds import next_key


class Windows(Dataset[Any]):
    """Window number i of a series begins at `starts[i]`; with targets a sample is (window, target at that place)."""

    def __init__(self, data: np.ndarray, targets: np.ndarray | None, starts: np.ndarray, length: int, rate: int) -> None:
        self.data, self.targets, self.starts, self.length, self.rate = data, targets, starts, length, rate

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> Any:
        start = int(self.starts[number])
        window = torch.as_tensor(self.data[start : start + self.length * self.rate : self.rate])
        return window if self.targets is None else (window, torch.as_tensor(self.targets[start]))


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
    format: str = "tf",
) -> Any:
    """Windows of `sequence_length` steps of `data`, `sampling_rate` apart, one every `sequence_stride` steps.

    Args:
        data: an array whose first axis is time.
        targets: None, or an array: the target of a window is the one at the place of its first step.
        batch_size: None for single samples.
        shuffle: mix the windows.
        seed: of the order; None takes one from the process seed.
        start_index, end_index: use no steps before, none from there on.
        format: changes nothing; what comes back is torch's.

    Returns:
        Batches of (windows, targets) that `fit` takes, or without `batch_size` a map-style dataset of samples.

    Example:
        >>> next(iter(timeseries_dataset_from_array(np.arange(6), None, sequence_length=3, batch_size=2)))
        tensor([[0, 1, 2],
                [1, 2, 3]])
    """
    data, owner = np.asarray(data), "timeseries_dataset_from_array"
    steps = len(data)
    if start_index and not 0 <= start_index < steps:
        raise ValueError(f"{owner}(start_index={start_index}): expected a number from 0 to below {steps}, the length of the data.")
    if end_index and (not 0 < end_index < steps or end_index <= (start_index or 0)):
        raise ValueError(f"{owner}(end_index={end_index}): expected a number above {start_index or 0}, below {steps}.")
    for name, value in (("sampling_rate", sampling_rate), ("sequence_stride", sequence_stride)):
        if not 0 < value < steps:
            raise ValueError(f"{owner}({name}={value}): expected a number from 1 to below {steps}, the length of the data.")
    if sequence_length < 1:
        raise ValueError(f"{owner}(sequence_length={sequence_length}): expected 1 or more.")
    first, last = start_index or 0, end_index or steps
    count = last - first - (sequence_length - 1) * sampling_rate
    kept = None if targets is None else np.asarray(targets)[first:last]
    if kept is not None:
        count = min(count, len(targets))
    starts = np.arange(0, count, sequence_stride)
    if not len(starts):
        raise ValueError(f"{owner}: {last - first} steps hold no window of {sequence_length} steps, {sampling_rate} apart.")
    if kept is not None and starts[-1] >= len(kept):
        raise ValueError(
            f"{owner}: targets has {len(kept)} entries, expected more than {starts[-1]}, one for the first step of each window."
        )
    seed = next_key(owner) % 2**32 if seed is None else seed
    if shuffle:
        np.random.RandomState(seed).shuffle(starts)
    windows = Windows(data[first:last], kept, starts, sequence_length, sampling_rate)
    return windows if batch_size is None else Batches(windows, batch_size, shuffle, seed)
