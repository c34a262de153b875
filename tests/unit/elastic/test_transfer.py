"""A state that is handed over comes in pieces, and is the same to the bit."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from engine_runs import bits, job_of, step

import disttrain as dt
from disttrain import layers
from disttrain.collectives import GroupBroken
from disttrain.collectives.threads import ThreadGroup, thread_groups
from disttrain.elastic import transfer
from disttrain.elastic.shipping import pack, unpack
from disttrain.training.step.engine import Engine

X = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, 12)
PIECE = 256


class Counted:
    """A member of a group that notes the bytes of each broadcast, and how many are under way at a time."""

    def __init__(self, group: ThreadGroup, breaks_at: int | None = None) -> None:
        self.rank, self.size = group.rank, group.size
        self.sizes: list[int] = []
        self.under_way = self.most_under_way = 0
        self._group, self._breaks_at = group, breaks_at

    def broadcast(self, tensor: Any, source: int) -> Any:
        self.sizes.append(tensor.nbytes)
        if self._breaks_at is not None and len(self.sizes) > self._breaks_at:
            self._group.abort()
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        pending = self._group.broadcast(tensor, source)

        class Waiting:
            def wait(own) -> None:
                pending.wait()
                self.under_way -= 1

        return Waiting()


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """Three workers of one job: one that is ahead by two steps, one that is one behind it, and one that is new."""
    monkeypatch.setattr(transfer, "PIECE_BYTES", PIECE)
    dt.set_random_seed(7)
    model = dt.Sequential([dt.Input((6,)), layers.Dense(40), layers.BatchNormalization(), layers.Dense(3, activation="softmax")])
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    shipment = pack(job_of(model, 2, X, Y, batch_size=4, epochs=2))
    made = [Engine(unpack(shipment)) for _ in range(3)]
    for engine, steps in zip(made, (2, 1, 0), strict=True):
        for _ in range(steps):
            step(engine)
    return made


def _shared(engines: list[Engine], behind: list[bool], breaks_at: int | None = None) -> tuple[list[Counted], list[int], list[Any]]:
    groups = [Counted(group, breaks_at if rank == 0 else None) for rank, group in enumerate(thread_groups(len(engines)))]
    beats, errors = [0] * len(engines), [None] * len(engines)

    def member(rank: int) -> None:
        def progressed() -> None:
            beats[rank] += 1

        try:
            transfer.share_state(engines[rank].replica, groups[rank], 0, behind, progressed)
        except GroupBroken as error:
            errors[rank] = error

    threads = [threading.Thread(target=member, args=(rank,)) for rank in range(len(engines))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    return groups, beats, errors


def test_whoever_is_behind_has_every_bit_of_whoever_is_ahead(engines: list[Engine]):
    ahead = bits(engines[0])
    _, _, errors = _shared(engines, [False, True, True])
    assert errors == [None] * 3
    assert [bits(engine) for engine in engines] == [ahead] * 3


def test_no_more_than_two_pieces_are_under_way_and_none_is_larger_than_a_piece(engines: list[Engine]):
    nbytes = [tensor.nbytes for tensor in engines[0].replica.flat_state()]
    groups, beats, _ = _shared(engines, [False, False, True])
    pieces = sum(-(-size // PIECE) for size in nbytes)
    assert pieces > len(nbytes) and beats == [pieces] * 3
    for group in groups:
        assert max(group.sizes[2:]) == PIECE and sum(group.sizes[2:]) == sum(nbytes)
    assert [group.most_under_way for group in groups] == [2, 1, 2]  # who lets them pass by has room for one


def test_a_group_that_breaks_between_pieces_changes_nobody(engines: list[Engine]):
    before = [bits(engine) for engine in engines]
    _, _, errors = _shared(engines, [False, True, True], breaks_at=6)
    assert all(isinstance(error, GroupBroken) for error in errors)
    assert [bits(engine) for engine in engines] == before
