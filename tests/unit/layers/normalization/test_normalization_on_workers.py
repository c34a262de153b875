"""Normalization in training: the same bits on any number of workers, and what stands after an update."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine_runs import alone, bits, job_of, on_workers, run_to_end, step

import disttrain as dt
from disttrain import layers as L
from disttrain.training.step.engine import Engine

random = np.random.default_rng(0)
X, Y = random.normal(size=(22, 4)).astype(np.float32), random.normal(size=(22, 2)).astype(np.float32)


def model_of(*layers: L.Layer) -> dt.Sequential:
    dt.set_random_seed(2)
    model = dt.Sequential([dt.Input((4,)), *layers])
    model.compile(dt.optimizers.SGD(0.3), "mse")
    return model


@pytest.mark.parametrize("virtual_workers", [1, 3])
def test_after_an_update_the_kernel_stretches_nothing(virtual_workers: int):
    layer = L.SpectralNormalization(L.Dense(2), 20)
    step(Engine(job_of(model_of(layer), virtual_workers, X, Y, batch_size=22)))
    assert torch.linalg.matrix_norm(layer.kernel.detach(), 2).item() == pytest.approx(1.0, abs=1e-3)
    assert layer.vector_u.norm().item() == pytest.approx(1.0)


def test_moving_statistics_and_normalized_kernels_have_the_same_bits_on_any_number_of_workers():
    model = model_of(L.SpectralNormalization(L.Dense(3, kernel_constraint="max_norm")), L.BatchNormalization(momentum=0.7), L.Dense(2))
    job = job_of(model, 4, X, Y, batch_size=9, epochs=2)  # the last batch has 4 samples, one for each slice
    expected = bits(run_to_end(alone(job)))
    for engine in on_workers(job, 3):
        assert bits(engine) == expected
