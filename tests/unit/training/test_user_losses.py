"""Losses and steps as people write them for Keras."""

from __future__ import annotations

import numpy as np
import pytest

import disttrain as dt
from disttrain import layers
from disttrain.errors import UsageError
from disttrain.training.local import runner


class Summed(dt.Loss):
    """Without the base's weights and masks, as tests of Keras's do."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        return dt.ops.mean(dt.ops.square(y_pred - y_true))


class Extended(dt.losses.MeanSquaredError):
    def __call__(self, y_true, y_pred, sample_weight=None):
        return 2.0 * super().__call__(y_true, y_pred, sample_weight)


@pytest.mark.parametrize("loss", [Summed, Extended, lambda: Extended(reduction="sum")])
def test_a_loss_with_a_call_of_its_own_is_called_as_in_keras_in_any_slices(loss):
    def trained(virtual_workers: int) -> tuple[float, np.ndarray]:
        dt.set_random_seed(0)
        model = dt.Sequential([dt.Input((2,)), layers.Dense(1)])
        model.compile(dt.optimizers.SGD(0.01), loss())
        data = np.arange(16, dtype="float32").reshape(8, 2) / 8
        with runner.installed(runner.LocalRunner(runner._InProcess(virtual_workers, 1))):
            history = model.fit(data, data[:, :1], batch_size=8, epochs=2, verbose=0)
        return history.history["loss"][-1], model.get_weights()[0]

    one, four = trained(1), trained(4)
    assert four[0] == pytest.approx(one[0], rel=1e-5)
    np.testing.assert_allclose(four[1], one[1], rtol=1e-5)


class Counted(dt.Model):
    def __init__(self, change):
        super().__init__()
        self.dense, self.change = layers.Dense(1), change

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        x, y = data
        loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        self.zero_grad()
        loss.backward()
        weights = self.trainable_weights
        self.optimizer.apply([weight.value.grad for weight in weights], weights)
        self.change(self.optimizer)
        return {"loss": loss}


def fitted(change) -> dt.Model:
    model = Counted(change)
    model.compile(dt.optimizers.SGD(0.5), "mse")
    data = np.ones((8, 2), "float32")
    with runner.installed(runner.LocalRunner(runner._InProcess(4, 1))):
        model.fit(data, data[:, :1], batch_size=8, epochs=2, verbose=0)
    return model


def test_a_step_that_sets_the_count_of_steps_is_refused_and_one_that_sets_the_rate_is_not():
    with pytest.raises(UsageError, match=r"optimizer.iterations counts the steps"):
        fitted(lambda optimizer: optimizer.iterations.assign_add(1))
    model = fitted(lambda optimizer: optimizer.learning_rate.assign(0.5 / (1 + int(optimizer.iterations))))
    assert model.optimizer.iterations == 2 and model.optimizer.learning_rate == pytest.approx(0.5 / 3)
