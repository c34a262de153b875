"""A run directory on disk and in memory, and the shortest way to save into it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
import small_saves

from disttrain.checkpoint import Attempt, CommittedCheckpoint, NamedArray, ShardReport, Store


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "local":
        yield Store(str(tmp_path / "run"))
        return
    root = f"memory://{secrets.token_hex(8)}"
    yield Store(root)
    memory = fsspec.filesystem("memory")
    if memory.exists(root):
        memory.rm(root, recursive=True)


@pytest.fixture
def arrays() -> dict[str, NamedArray]:
    return small_saves.some_arrays()


@pytest.fixture
def started() -> Callable[[Store], Attempt]:
    """Starts an attempt that resumes from nothing."""
    return small_saves.started


@pytest.fixture
def write_shards() -> Callable[..., list[ShardReport]]:
    return small_saves.write_shards


@pytest.fixture
def save() -> Callable[..., CommittedCheckpoint]:
    return small_saves.save
