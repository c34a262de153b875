"""Samples in files, each kind of file made once in memory, and the model that trains on them."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import fsspec
import numpy as np
import torch
from thread_runs import make_model
from torch.utils.data import DataLoader

import disttrain as dt

SAMPLES, BATCH = 34, 8
_R = np.random.default_rng(5)
X = _R.integers(0, 255, (SAMPLES, 6)).astype(np.float32) / 255
Y = _R.integers(0, 3, SAMPLES)
NAMES = [f"f{column}" for column in range(6)]
_SHARDS = (slice(0, 11), slice(11, 12), slice(12, 34))
has_parquet = find_spec("pyarrow") is not None


def written(name: str, data: bytes) -> str:
    """The URL of a file in memory that holds these bytes."""
    url = f"memory://shards/{name}"
    with fsspec.open(url, "wb") as stream:
        stream.write(data)
    return url


def tar_of(samples: list[dict[str, bytes]], first: int = 0) -> bytes:
    """A tar file of fields by sample, named by number."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for number, fields in enumerate(samples, first):
            for field, value in fields.items():
                member = tarfile.TarInfo(f"data/{number:05d}.{field}")
                member.size = len(value)
                archive.addfile(member, io.BytesIO(value))
    return stream.getvalue()


def npy(array: Any) -> bytes:
    """As `np.save` writes it."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def csv_of(rows: list[list[Any]], names: list[str]) -> bytes:
    """A CSV file."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerows([names, *rows])
    return stream.getvalue().encode()


def png(pixels: np.ndarray) -> bytes:
    """A picture's file."""
    from PIL import Image  # late: 50 ms

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def parquet_of(columns: dict[str, Any], rows: int) -> bytes:
    """A Parquet file with row groups of so many rows."""
    import pyarrow as arrow  # late: an extra
    import pyarrow.parquet as parquet  # late: an extra

    stream = io.BytesIO()
    table = arrow.table(
        {name: list(value) if isinstance(value, np.ndarray) and value.ndim > 1 else value for name, value in columns.items()}
    )
    parquet.write_table(table, stream, row_group_size=rows)
    return stream.getvalue()


@cache
def urls(kind: str) -> list[str]:
    """Three files of one kind, which hold X and Y."""
    found = []
    for number, part in enumerate(_SHARDS):
        x, y = X[part], Y[part]
        match kind:
            case "csv":
                data = csv_of([[*row.tolist(), int(label)] for row, label in zip(x, y, strict=True)], [*NAMES, "label"])
            case "jsonl":
                data = b"".join(json.dumps({"x": row.tolist(), "y": int(label)}).encode() + b"\n" for row, label in zip(x, y, strict=True))
            case "tar":
                data = tar_of([{"npy": npy(row), "cls": str(label).encode()} for row, label in zip(x, y, strict=True)], part.start)
            case "columns":
                data = parquet_of({**dict(zip(NAMES, x.T, strict=True)), "label": y}, 5)
            case _:
                data = parquet_of({"x": x, "y": y}, 4)
        found.append(written(f"{kind}/{number}.{kind}", data))
    return found


@cache
def pictures() -> str:
    """A folder of pictures of 2 x 3 pixels, by class."""
    for number, (row, label) in enumerate(zip(X, Y, strict=True)):
        written(f"pictures/class{label}/{number:03d}.png", png((row * 255).round().astype(np.uint8).reshape(2, 3)))
    return "memory://shards/pictures"


def noisy(sample: dict[str, Any]) -> Any:
    """A transform that draws from two generators of the process."""
    x = np.asarray(sample["x"], dtype=np.float32) + np.random.rand(6).astype(np.float32) / 10
    return torch.from_numpy(x) + torch.rand(6) / 10, sample["y"]


def halved(sample: dict[str, Any]) -> Any:
    """A transform that draws nothing."""
    return np.asarray(sample["x"], dtype=np.float32) / 2, sample["y"]


def flat(sample: dict[str, Any]) -> Any:
    """Pixels as features."""
    return sample["image"].reshape(6).astype(np.float32) / 255, sample["label"]


def _jsonl(**more: Any) -> Any:
    return dt.data.json_lines(urls("jsonl"), "x", "y", **more)


KINDS: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
    "csv": lambda: (dt.data.csv(urls("csv"), NAMES, "label", stack=True, window=12), {"batch_size": BATCH}),
    "json lines": lambda: (_jsonl(), {"batch_size": BATCH}),
    "json lines of a transform": lambda: (dt.data.json_lines(urls("jsonl"), transform=halved, window=9), {"batch_size": BATCH}),
    "json lines, in steps": lambda: (_jsonl(window=10), {"batch_size": BATCH, "steps_per_epoch": 3}),
    "json lines, a loader": lambda: (DataLoader(_jsonl(), BATCH, shuffle=True, drop_last=True), {}),
    "json lines, a drawn loader": lambda: (DataLoader(_jsonl(), BATCH, shuffle=True, generator=torch.Generator().manual_seed(4)), {}),
    "tar": lambda: (dt.data.tar(urls("tar"), "npy", "cls", window=16), {"batch_size": BATCH}),
    "pictures": lambda: (dt.data.images(pictures(), mode="grayscale", transform=flat), {"batch_size": BATCH}),
}
if has_parquet:
    KINDS["parquet"] = lambda: (dt.data.parquet(urls("parquet"), "x", "y", window=13), {"batch_size": BATCH})
    KINDS["parquet of columns"] = lambda: (dt.data.parquet(urls("columns"), NAMES, "label", stack=True), {"batch_size": 7})


def train_on(kind: str, callbacks: Any = None, epochs: int = 2) -> tuple[Any, ...]:
    """(digest, History, evaluation) of a fit on data of that kind, with validation on some of another."""
    x, arguments = KINDS[kind]()
    model = make_model()
    history = model.fit(x, epochs=epochs, verbose=0, callbacks=callbacks, validation_data=_jsonl(), **arguments)
    return model.digest(), history.history, model.evaluate(_jsonl(), batch_size=10, verbose=0)
