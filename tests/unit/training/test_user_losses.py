"""Losses as people write them for Keras."""

from __future__ import annotations

import numpy as np
import pytest

import disttrain as dt
from disttrain import layers
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
