"""What data cost: loader processes beside a plain loop with the same loader, and files that are mapped. Alternating, in one run.

python benchmarks/data.py [loader] [jpeg] [memmap]
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import disttrain as dt

_ROUNDS = 5
_KINDS = ("loader", "jpeg", "memmap")


class Slow(Dataset[Any]):
    """A sample takes 4 ms, as from a network disk."""

    def __len__(self) -> int:
        return 640

    def __getitem__(self, index: int) -> Any:
        time.sleep(0.004)
        return torch.full((8,), float(index)), index % 3


class Pictures(Dataset[Any]):
    """JPEG of 224 x 224, decoded and flipped by chance."""

    def __init__(self) -> None:
        from PIL import Image  # late: only this one needs it

        picture = np.random.default_rng(0).integers(0, 255, (28, 28, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(picture).resize((224, 224)).save(stream, "JPEG", quality=90)
        self._data = stream.getvalue()

    def __len__(self) -> int:
        return 512

    def __getitem__(self, index: int) -> Any:
        from PIL import Image  # late: see above

        pixels = torch.from_numpy(np.array(Image.open(io.BytesIO(self._data)))).permute(2, 0, 1).float() / 255
        return (pixels.flip(2) if torch.rand(()) < 0.5 else pixels), index % 3


def _small() -> nn.Module:
    return nn.Linear(8, 3)


def _pooled() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 7, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


def plain_loop(loader: Any, make: Callable[[], nn.Module]) -> Callable[[], float]:
    """Epochs of a hand-written loop; each call gives the seconds of one."""
    network = make()
    optimizer = torch.optim.SGD(network.parameters(), 1e-4)

    def epoch() -> float:
        began = time.perf_counter()
        for x, y in loader:
            loss = nn.functional.cross_entropy(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
        return time.perf_counter() - began

    return epoch


def fitted(loader: Any, make: Callable[[], nn.Module]) -> Callable[[], float]:
    """Epochs of `fit`, each a call of its own."""
    model = dt.Sequential([make()])
    model.compile(dt.optimizers.SGD(1e-4), dt.losses.SparseCategoricalCrossentropy(from_logits=True))

    def epoch() -> float:
        began = time.perf_counter()
        model.fit(loader, epochs=1, verbose=0)
        return time.perf_counter() - began

    return epoch


def compare(name: str, dataset: Dataset[Any], batch: int, make: Callable[[], nn.Module], workers: int) -> None:
    """Print the medians of epochs, and how fast `fit` is relative to the loop."""
    for persistent in (True, False):
        loaders = [DataLoader(dataset, batch, num_workers=workers, persistent_workers=persistent) for _ in range(2)]
        ways = {"plain loop": plain_loop(loaders[0], make), "fit": fitted(loaders[1], make)}
        for way in ways.values():
            way()
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(_ROUNDS):
            for way, epoch in ways.items():
                times[way].append(epoch())
        plain, ours = (statistics.median(times[way]) for way in ways)
        kind = "processes that persist" if persistent else "new processes each epoch"
        print(f"{name}, {workers} {kind}: plain loop {plain:.3f} s, fit {ours:.3f} s an epoch: {plain / ours:.2f} x", flush=True)


_MEMMAP = """
import resource, sys, time
import numpy as np, torch, disttrain as dt
torch.set_num_threads(1)
x = np.load(sys.argv[1], mmap_mode="r")
y = np.zeros(len(x), np.int64)
model = dt.Sequential([dt.Input(x.shape[1:]), dt.layers.Dense(3)])
model.compile("sgd", dt.losses.SparseCategoricalCrossentropy(from_logits=True))
began = time.perf_counter()
class First(dt.Callback):
    took = None
    def on_train_batch_end(self, batch, logs=None):
        self.took = self.took or time.perf_counter() - began
first = First()
model.fit(x, y, batch_size=64, steps_per_epoch=20, verbose=0, callbacks=[first])
print(first.took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def memmap() -> None:
    """The first step and the peak memory of a training on a file of 20 MB and on one of 20 GB, most of it holes."""
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in (("20 MB", 5_000), ("20 GB", 5_000_000)):
            path = Path(folder) / "x.npy"
            np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, 1000)).flush()
            runs = [
                subprocess.run([sys.executable, "-c", _MEMMAP, str(path)], capture_output=True, text=True, check=True) for _ in range(3)
            ]
            first_s, peak_mb = (statistics.median(column) for column in zip(*[map(float, run.stdout.split()) for run in runs], strict=True))
            print(f"mapped file of {name}: first step after {first_s:.2f} s, peak memory {peak_mb:.0f} MB", flush=True)
            path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", metavar="KIND", help=f"of {', '.join(_KINDS)}; all unless told")
    parser.add_argument("--workers", type=int, default=4, help="loader processes")
    chosen = parser.parse_args()
    which = chosen.which or list(_KINDS)
    if set(which) - set(_KINDS):
        parser.error(f"expected some of {', '.join(_KINDS)}")
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    if "loader" in which:
        compare("4 ms a sample", Slow(), 16, _small, chosen.workers)
    if "jpeg" in which:
        compare("JPEG of 224 x 224", Pictures(), 32, _pooled, chosen.workers)
    if "memmap" in which:
        memmap()


if __name__ == "__main__":
    main()
