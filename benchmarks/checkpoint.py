"""What a save costs: the wait of the step beside a copy of the worker's share, and the durable file beside a raw write with fsync.

One process, one thread, a state of two workers; ours and the limit in turns. The state lies as training lays it, in flat tensors.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import parser, print_table, progress, run_program

OURS = "disttrain"
WORKERS = 2
STATES = {  # tensors, shape of each
    "100 of 1024 x 1024": (100, (1024, 1024)),
    "3,000 of 64 x 64": (3_000, (64, 64)),
    "30,000 of 64 x 16": (30_000, (64, 16)),
    "30,000 of 8 x 8": (30_000, (8, 8)),
}
BARS = {"wait": "0.25; many small 2", "durable": "1.1"}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    made = parser(__doc__ or "", [OURS])
    made.add_argument("--repeats", type=int, default=argparse.SUPPRESS, help="turns (default: 7, quick 2)")
    return run_program("checkpoint", made.parse_args(arguments), measure)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The table."""
    import torch  # late: so that --help is quick

    torch.set_num_threads(1)
    repeats = getattr(options, "repeats", 2 if options.quick else 7)
    states = list(STATES.items())[-2:] if options.quick else list(STATES.items())
    found = {}
    for name, (count, shape) in states:
        progress(f"a state of {name}")
        found[name] = _one(count, shape, repeats, folder)
    rows = [
        [
            name, f"{one['bytes'] / 2**20:.0f}", f"{one['first'] * 1e3:.1f}", f"{one['wait'] * 1e3:.2f}", f"{one['copy'] * 1e3:.2f}",
            f"{one['wait'] / one['copy']:.1f}", f"{one['durable']:.3f}", f"{one['raw']:.3f}", f"{one['durable'] / one['raw']:.2f}",
        ]
        for name, one in found.items()
    ]  # fmt: skip
    heads = ["state", "MiB", "first wait ms", "wait ms", "copy ms", "wait / copy", "durable s", "raw s", "durable / raw"]
    print_table(heads, rows)
    print(f"bars: wait / copy {BARS['wait']}; durable / raw {BARS['durable']}")
    return {"states": found, "bars": BARS}


def _one(count: int, shape: tuple[int, ...], repeats: int, folder: Path) -> dict[str, Any]:
    """Seconds: of the wait of the step and of a copy of the share; of a durable share and of its bytes written plainly."""
    import numpy as np
    import torch

    from disttrain.checkpoint import CommitName, Store, new_save_nonce, save_folder, shard_path, write_shard
    from disttrain.elastic.state_copy import StateCopier
    from disttrain.training.step.flat import FlatSpace
    from disttrain.training.step.replica import StateDict

    host = torch.device("cpu")
    tensors = [torch.zeros(shape) for _ in range(count)]
    flats = FlatSpace(tensors, host).gather(tensors, host)
    for flat in flats:
        flat.normal_()
    state = StateDict({f"model/layer{number}/w": tensor for number, tensor in enumerate(tensors)}, {})
    size = sum(tensor.nbytes for tensor in tensors)
    source, target = np.ones(size // WORKERS, np.uint8), np.zeros(size // WORKERS, np.uint8)
    copier, store = StateCopier(), Store(str(folder / f"run-{count}-{shape[0]}"))
    times: dict[str, list[float]] = {"wait": [], "copy": [], "durable": [], "raw": []}

    def timed(what: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        times[what].append(time.perf_counter() - began)
        return result

    for turn in range(repeats + 1):
        copied = timed("wait", lambda: copier.copy(state, 0, WORKERS))
        timed("copy", lambda: np.copyto(target, source))
        path = shard_path(save_folder(CommitName(1, turn + 1, turn), new_save_nonce()), 0, WORKERS)
        shot = copied.snapshot
        with shot:
            timed("durable", lambda shot=shot, path=path: write_shard(store, path, shot))
        timed("raw", lambda turn=turn: _write(folder / f"raw-{turn}", target.data))
        store.delete(path)
        (folder / f"raw-{turn}").unlink()
    medians = {what: statistics.median(seconds[1:]) for what, seconds in times.items()}
    return {"bytes": size, "first": times["wait"][0], **medians, "every": times}


def _write(path: Path, data: memoryview) -> None:
    with open(path, "wb", buffering=0) as file:
        done = 0
        while done < len(data):
            done += os.write(file.fileno(), data[done:])
        os.fsync(file.fileno())


if __name__ == "__main__":
    raise SystemExit(main())
