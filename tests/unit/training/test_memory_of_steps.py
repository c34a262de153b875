"""The memory of a step beside that of a plain loop of torch, counted in bytes of tensors on a CPU."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from engine_runs import job_of, on_workers, step
from tensor_bytes import TensorBytes
from torch import nn

import disttrain as dt
from disttrain import layers
from disttrain.collectives.reduction import TreeReduction
from disttrain.training.step import workspace as workspace_module

WIDTH, DEPTH, BATCH = 384, 9, 8  # weights of 5 MB: gradients leave one by one
X = np.ones((4 * BATCH, WIDTH), np.float32)
Y = np.zeros((4 * BATCH, WIDTH), np.float32)
WEIGHTS = 4 * DEPTH * WIDTH * (WIDTH + 1)
SMALL = 600_000  # activations, samples, one layer's gradient on its way


def plain_loop() -> int:
    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)))
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    x, y = torch.ones(BATCH, WIDTH), torch.zeros(BATCH, WIDTH)
    with TensorBytes(model.parameters()) as counted:
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
    return counted.most


def ours(virtual_workers: int, workers: int) -> list[int]:
    model = dt.Sequential([dt.Input((WIDTH,)), *(layers.Dense(WIDTH) for _ in range(DEPTH))])
    model.compile("adam", "mse")

    def work(engine):
        step(engine)
        with TensorBytes(engine.replica.state.flat()) as counted:
            step(engine)
        pool = engine.workspace.pools[workspace_module.Kind.TRAIN]
        held = [*(contribution.buffer for contribution in pool._free), *pool.plan._staging.values()]
        assert held or virtual_workers == 1
        return counted.most

    return on_workers(job_of(model, virtual_workers, X, Y, batch_size=BATCH, epochs=1), workers, work)


@pytest.fixture(scope="module")
def plain() -> int:
    return plain_loop()


def test_the_plain_loop_holds_weights_gradients_and_two_slots(plain):
    assert 4 * WEIGHTS <= plain <= 4 * WEIGHTS + SMALL


@pytest.mark.parametrize(
    ("virtual_workers", "workers", "more"), [(1, 1, 0), (2, 1, 0), (4, 1, 1), (8, 1, 2), (2, 2, 0), (4, 2, 0), (4, 4, 0), (8, 2, 1)]
)
def test_a_step_takes_at_most_weights_and_gradients_more_than_a_plain_loop(plain, virtual_workers, workers, more, monkeypatch):
    monkeypatch.setattr(
        workspace_module, "TreeReduction", functools.partial(TreeReduction, bucket_bytes=32 << 10)
    )  # so few that what is under way, copies of the group's too, is small
    for most in ours(virtual_workers, workers):
        assert most <= plain + more * WEIGHTS + 4 * SMALL
