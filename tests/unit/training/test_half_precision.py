"""Half precision in slices: the same bits on any number of workers, sums in float32, and one scale of the loss for all."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from engine_runs import alone, bits, job_of, on_workers, run_to_end

import disttrain as dt
from disttrain import layers
from disttrain.training.step import workspace as workspace_module

X = np.random.default_rng(0).normal(size=(20, 6)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 20)


def model_of(policy: str, optimizer: Any = "adam") -> Any:
    before = dt.mixed_precision.dtype_policy()
    dt.set_random_seed(3)
    dt.mixed_precision.set_dtype_policy(policy)
    try:
        model = dt.Sequential(
            [
                dt.Input((6,)),
                layers.Dense(16, activation="relu"),
                layers.BatchNormalization(),
                layers.Dropout(0.2),
                layers.Dense(3, activation="softmax"),
            ]
        )
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    finally:
        dt.mixed_precision.set_dtype_policy(before)
    return model


@pytest.mark.parametrize("collects", [False, True], ids=["gradients after the pass", "gradients as they come"])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float16"])
def test_a_run_has_the_same_bits_on_any_number_of_workers(policy, collects, monkeypatch):
    if collects:
        monkeypatch.setattr(workspace_module, "OVERLAP_BYTES", 0)
    job = job_of(model_of(policy, dt.optimizers.Adam(0.01, epsilon=1e-3)), 4, X, Y, batch_size=10, epochs=2)
    expected = bits(run_to_end(alone(job)))
    for workers in (2, 3, 4):
        for engine in on_workers(job, workers):
            assert bits(engine) == expected


def test_a_loss_that_is_scaled_too_far_skips_the_same_steps_on_any_number_of_workers():
    scaling = dt.optimizers.LossScaleOptimizer(dt.optimizers.SGD(0.1), initial_scale=2.0**24, dynamic_growth_steps=2)
    job = job_of(model_of("mixed_float16", scaling), 4, X, Y, batch_size=5, epochs=6)
    engines = [run_to_end(alone(job)), *on_workers(job, 2), *on_workers(job, 4)]
    counters = json.loads(bits(engines[0])["meta"])["optimizer"]
    assert counters["dynamic_scale"] != 2.0**24 and 0 < engines[0].replica.optimizer.calls < 24, "no step was skipped"
    for engine in engines[1:]:
        assert bits(engine) == bits(engines[0])


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_gradients_in_half_precision_are_added_up_in_float32_and_rounded_once(workers):
    model = dt.Sequential([dt.Input((1,)), layers.Dense(1, use_bias=False, kernel_initializer="zeros", dtype="bfloat16")])
    model.compile(dt.optimizers.SGD(1.0), lambda y, p: p)
    slices = np.array([1.0] + 7 * [2.0**-9], np.float32)  # in bfloat16 each but the first is less than half of the last digit of the sum
    job = job_of(model, 8, 8.0 * slices[:, None], np.zeros((8, 1)), batch_size=8, epochs=1, shuffle=False)
    for engine in [run_to_end(alone(job))] if workers == 1 else on_workers(job, workers):
        weight = engine.replica.model.trainable_variables[0]
        assert weight.dtype is torch.bfloat16
        assert float(weight.detach()) == -float(torch.tensor(slices.sum()).bfloat16()) == -(1 + 2.0**-6)


def test_callbacks_see_gradients_in_half_precision_as_arrays():
    seen: list[dict[str, Any]] = []

    class Looking(dt.callbacks.Callback):
        wants_gradients = True

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seen.append(self.telemetry.gradients())

    model_of("bfloat16").fit(X, Y, batch_size=10, epochs=1, verbose=0, callbacks=[Looking()])
    assert seen[0] and all(np.isfinite(gradient).all() and gradient.dtype == np.float32 for gradient in seen[0].values())


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # while the example is tried out, nothing has
def test_a_weight_whose_gradient_comes_in_two_parts_is_refused_where_gradients_leave_as_they_come(monkeypatch):
    from torch.utils.checkpoint import checkpoint

    class Twice(dt.Model):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.head = layers.Dense(6), layers.Dense(3, activation="softmax")

        def call(self, x: torch.Tensor) -> torch.Tensor:
            x = x.detach().requires_grad_()
            for _ in range(2):
                x = checkpoint(self.shared, x, use_reentrant=self.reentrant)
            return self.head(x)

    def trained(reentrant: bool) -> dict[str, bytes]:
        dt.set_random_seed(3)
        model = Twice()
        model.reentrant = reentrant
        model(torch.ones(1, 6))
        model.compile("sgd", "sparse_categorical_crossentropy")
        return bits(run_to_end(alone(job_of(model, 2, X, Y, batch_size=10, epochs=1))))

    assert trained(True) == trained(False)
    monkeypatch.setattr(workspace_module, "OVERLAP_BYTES", 0)
    trained(False)
    with pytest.raises(dt.errors.UsageError, match=r"comes in two parts(.|\n)*use_reentrant=False"):
        trained(True)
