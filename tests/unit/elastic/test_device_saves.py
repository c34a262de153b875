"""Saves of a state that lies on a device: the same checkpoints, of which each worker copies its share alone. Here the device is a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from late_copies import LateCopies
from thread_runs import V, driven, train

from disttrain.checkpoint import Arena, load, read_history, snapshot, split
from disttrain.checkpoint.store import Store
from disttrain.elastic import shard_writer
from disttrain.elastic.device_snapshot import arena_for, device_snapshot
from disttrain.elastic.state_copy import Copied, StateCopier
from disttrain.testing.fake_cluster import FaultPlan
from disttrain.training.local import runner
from disttrain.training.step.device_digest import device_digests
from disttrain.training.step.named_arrays import named_array, spec_of
from disttrain.training.step.state_digest import StateDigest


def _tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "a/turned": torch.randn(5, 7, generator=generator).t(),
        "a/half": torch.randn(9, 3, generator=generator).to(torch.bfloat16),
        "b/flags": torch.rand(11, generator=generator) > 0.5,
        "b/scalar": torch.tensor(3.5, dtype=torch.float64),
        "b/nothing": torch.empty(0, 4),
        "c/large": torch.randn(40, 10, generator=generator),
    }


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_share_that_is_sliced_where_it_lies_has_the_bytes_of_one_that_came_down_whole(size: int):
    tensors = _tensors()
    arrays = {name: named_array(tensor) for name, tensor in tensors.items()}
    specs = {name: spec_of(name, tensor) for name, tensor in tensors.items()}
    assert specs == {name: array.spec(name) for name, array in arrays.items()}
    for pieces in split(specs.values(), size):
        whole, (sliced, _) = snapshot(arrays, pieces, Arena()), device_snapshot(tensors, specs, pieces, arena_for(torch.device("cpu")))
        assert sliced.entries == whole.entries
        assert np.array_equal(sliced.data, whole.data)


@pytest.mark.parametrize("free", [0, 1 << 20])
def test_a_state_that_goes_on_changing_is_saved_as_it_was(free: int):
    tensors = _tensors()
    specs = {name: spec_of(name, tensor) for name, tensor in tensors.items()}
    pieces = split(specs.values(), 1)[0]
    before = snapshot({name: named_array(tensor) for name, tensor in tensors.items()}, pieces, Arena()).data.copy()
    late = LateCopies()
    shot, arrived = device_snapshot(tensors, specs, pieces, Arena(), late, free)
    assert all(copy.done() for copy in late.downs) == (not free)  # without room to set it aside it is waited for
    for tensor in tensors.values():
        tensor.zero_()
    arrived()
    assert np.array_equal(shot.data, before)


@pytest.fixture
def brought_down(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Lets saves go the way of devices; (bytes of the share, bytes of the state) of each."""
    shares: list[tuple[int, int]] = []

    copied = shard_writer.ShardWriter._copied

    def sliced(self: Any, state: Any, rank: int, size: int, device: Any) -> Copied:
        found = copied(self, state, rank, size, torch.device("meta"))
        shares.append((found.snapshot.data.size, sum(spec.nbytes for spec in found.specs)))
        return found

    def nothing_comes_down(*arguments: Any) -> Any:
        raise AssertionError("a whole tensor was copied to the host")

    def late(tensors: Any, specs: Any, pieces: Any, arena: Any, free: int) -> Any:
        return device_snapshot(tensors, specs, pieces, arena, LateCopies(), free=1 << 30)

    monkeypatch.setattr(shard_writer, "device_snapshot", late)
    monkeypatch.setattr(shard_writer.ShardWriter, "_copied", sliced)
    monkeypatch.setattr(StateCopier, "copy", nothing_comes_down)
    monkeypatch.setattr(
        shard_writer, "digest_of", lambda tensors, meta: StateDigest(b"".join(device_digests(list(tensors.values()))), (*tensors, "meta"))
    )
    return shares


def test_a_run_that_saves_from_a_device_has_the_bits_of_any_other_and_its_checkpoints_are_whole(brought_down: Any, tmp_path: Any):
    with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
        alone = train()
    with driven(2, FaultPlan().kill("w1", 7), url=str(tmp_path), digest_every=2):
        assert train() == alone
    assert brought_down and any(share < 0.7 * state for share, state in brought_down)
    store = Store(str(tmp_path))
    commits = read_history(store)
    assert commits and all(load(store, name).arrays for name in commits)
