"""The script of the tests of data: one fit on an iterable dataset, one on a weighted sampler with loader processes, one of which dies, one
on lines of files.

Writes a report of their losses, the digest and the pids of the loader processes. With `--kill-driver`, the driver dies in mid-epoch, once.
"""

import argparse
import json
import os
import random
import signal
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, WeightedRandomSampler

import disttrain as dt

parser = argparse.ArgumentParser()
parser.add_argument("--report")
parser.add_argument("--virtual-workers", type=int)
parser.add_argument(
    "--kill-loader", default="", help="a file: the process that first makes a certain sample leaves its pid there, and dies"
)
parser.add_argument("--kill-driver", default="", help="a file, likewise of the driver in the second epoch")
arguments = parser.parse_args()
if arguments.virtual_workers:
    dt.set_virtual_workers(arguments.virtual_workers)
dt.set_random_seed(3)
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(60, 6)).astype(np.float32), rng.integers(0, 3, 60)


def die_once(path: str) -> None:
    if path and not Path(path).exists():
        Path(path).write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)


class Shuffled(IterableDataset):
    def __iter__(self):
        order = list(range(60))
        random.shuffle(order)
        for i in order:
            yield torch.from_numpy(X[i]) + 0.1 * torch.rand(6), Y[i]


class Noisy(Dataset):
    def __len__(self):
        return 60

    def __getitem__(self, i):
        if i == 41:
            die_once(arguments.kill_loader)
        return torch.from_numpy(X[i]) + 0.1 * np.random.rand(), Y[i]


class Dies(dt.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 1 and batch == 3:
            die_once(arguments.kill_driver)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch


model = dt.Sequential([dt.Input((6,)), dt.layers.Dense(8, activation="relu"), dt.layers.Dropout(0.2), dt.layers.Dense(3)])
model.compile(dt.optimizers.Adam(0.01), dt.losses.SparseCategoricalCrossentropy(from_logits=True))
first = model.fit(Shuffled(), batch_size=8, epochs=3, verbose=0, callbacks=[Dies()])
loader = DataLoader(Noisy(), 8, sampler=WeightedRandomSampler(np.arange(1.0, 61.0), 52), num_workers=2)
second = model.fit(loader, epochs=2, verbose=0)
for part in range(3):
    lines = [json.dumps({"x": X[number].tolist(), "y": int(Y[number])}) for number in range(part, 60, 3)]
    Path(f"rows-{part}.jsonl").write_text("\n".join(lines))


def noisy(sample):
    return np.asarray(sample["x"], np.float32) + np.random.rand(6).astype(np.float32) / 10, sample["y"]


rows = dt.data.json_lines("rows-*.jsonl", transform=noisy, workers=1, window=24, index=str(Path("rows.json").absolute()))
third = model.fit(rows, batch_size=8, epochs=2, verbose=0)
if arguments.report:
    Path(arguments.report).write_text(
        json.dumps({"losses": [first.history["loss"], second.history["loss"], third.history["loss"]], "digest": model.digest()})
    )
