"""A rank's share leaves the flat tensors in few copies; the files and digests are those of a copy tensor by tensor."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
import torch

from disttrain.checkpoint import Arena, CommitName, Store, save_folder, shard_path, snapshot, split, write_shard
from disttrain.elastic.shard_writer import state_digest
from disttrain.elastic.state_copy import StateCopier
from disttrain.training.step.flat import FlatSpace
from disttrain.training.step.named_arrays import named_array
from disttrain.training.step.replica import StateDict

CPU = torch.device("cpu")


def _flat(shapes: list[tuple[int, ...]], dtype: torch.dtype = torch.float32, name: str = "w") -> dict[str, torch.Tensor]:
    """Tensors as training lays them: views of one flat tensor, in reverse order."""
    tensors = [torch.randn(shape, generator=torch.Generator().manual_seed(number)).to(dtype) for number, shape in enumerate(shapes)]
    FlatSpace(tensors, CPU).gather(tensors, CPU)
    return {f"model/{name}{number}": tensor for number, tensor in enumerate(tensors)}


def _state(kind: str) -> StateDict:
    if kind == "small":
        tensors = _flat([(3, 5)] * 300) | _flat([(2,)] * 7, torch.float64, "d") | {"totals": torch.arange(5.0)}
    elif kind == "large":
        tensors = _flat([(700, 33), (5,), (900, 40), (1, 1), (64, 64)]) | _flat([(300, 90)], torch.bfloat16, "h")
    else:
        base = torch.arange(6 * 4096.0).reshape(6, 4096)
        tensors = {
            "across": base.T, "tied": base, "part": base[2:5], "nothing": torch.empty(0, 3), "scalar": torch.tensor(2.0),
            "conjugate": torch.randn(5000, dtype=torch.complex64).conj(), "every other": base[:, ::2],
            "flags": torch.tensor([True, False]), "halves": torch.randn(3, 5).to(torch.float8_e5m2),
        }  # fmt: skip
    return StateDict(tensors, {"tick": 3})


def _file(write: object) -> tuple[bytes, object]:
    store = Store(f"memory://{uuid.uuid4().hex}")
    path = shard_path(save_folder(CommitName(1, 1, 0), "0" * 16), 0, 1)
    report = write_shard(store, path, write)  # type: ignore[arg-type]
    return store.read(path), report


@pytest.mark.parametrize("kind", ["small", "large", "odd"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_files_and_digests_are_those_of_a_copy_tensor_by_tensor(kind, size):
    state, copier = _state(kind), StateCopier()
    arrays = {name: named_array(tensor) for name, tensor in state.tensors.items()}
    specs = [array.spec(name) for name, array in arrays.items()]
    for rank in range(size):
        for _ in range(2):  # by a new plan, and by the one that is kept
            copied = copier.copy(state, rank, size)
            with copied.snapshot as shot:
                assert copied.digest() == state_digest(state)
                assert _file(shot) == _file(snapshot(arrays, split(specs, size)[rank], Arena()))
            assert copied.specs == specs


@pytest.mark.parametrize("kind", ["small", "large", "odd"])
def test_a_copy_does_not_see_what_training_writes_afterwards(kind):
    state, copier = _state(kind), StateCopier()
    expected, _ = _file(StateCopier().copy(state, 0, 1).snapshot)
    digest = state_digest(state)
    copied = copier.copy(state, 0, 1)
    with torch.no_grad():
        for tensor in state.tensors.values():
            tensor.zero_()
    assert _file(copied.snapshot)[0] == expected
    assert copied.digest() == digest


def test_a_state_that_was_laid_out_anew_is_copied_as_it_lies_now():
    state, copier = _state("large"), StateCopier()
    copier.copy(state, 0, 2).snapshot.release()
    for tensors in ({**state.tensors, "model/w1": torch.ones(5)}, {name: tensor.clone() for name, tensor in state.tensors.items()}):
        moved = StateDict(tensors, {"tick": 4})
        copied = copier.copy(moved, 0, 2)
        assert copied.digest() == state_digest(moved)
        found = _file(copied.snapshot)
        copied.snapshot.release()
        assert found == _file(StateCopier().copy(moved, 0, 2).snapshot)


def test_many_tensors_side_by_side_leave_in_one_copy_and_large_ones_by_the_share_alone(monkeypatch):
    copies: list[int] = []
    monkeypatch.setattr("disttrain.elastic.state_copy.np", _Counting(copies))
    StateCopier().copy(StateDict(_flat([(8, 8)] * 2000), {}), 0, 2)
    assert len(copies) == 1, "one flat tensor, one copy"
    copies.clear()
    shapes = [(512, 300)] * 8
    StateCopier().copy(StateDict(_flat(shapes), {}), 1, 4)
    whole = 8 * 512 * 300 * 4
    assert whole // 4 <= sum(copies) <= whole // 4 + 512 * 4 + 8192 * len(copies)


class _Counting:
    """NumPy, but for a `copyto` that notes how much is copied."""

    def __init__(self, copies: list[int]) -> None:
        self._copies = copies

    def copyto(self, target: np.ndarray, source: np.ndarray) -> None:
        self._copies.append(target.size)
        np.copyto(target, source)


def test_a_copy_that_is_not_released_is_not_overwritten():
    state, copier = _state("small"), StateCopier()
    copier.copy(state, 0, 1)
    with pytest.raises(RuntimeError, match="not released"):
        copier.copy(state, 0, 1)
