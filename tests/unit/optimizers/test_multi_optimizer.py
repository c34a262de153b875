"""Several optimizers in one: each weight has the one that its path, or a function, says."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

import disttrain as dt
from disttrain import layers, optimizers
from disttrain.errors import UsageError
from disttrain.optimizers import SGD, Adam, LossScaleOptimizer, MultiOptimizer, OptimizerMap

X = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
Y = X[:, :1]


def model_of(optimizer):
    dt.set_random_seed(3)
    model = dt.Sequential([dt.Input((3,)), layers.Dense(2, "tanh", name="encoder"), layers.Dense(1, name="head")])
    model.compile(optimizer, "mse")
    return model


def both():
    return MultiOptimizer(OptimizerMap(SGD(0.5), {".*encoder/.*": Adam(0.1)}))


def test_each_weight_moves_by_its_own_optimizer():
    weights = [dt.Variable([2.0], name="first"), dt.Variable([3.0], name="second"), dt.Variable([4.0], name="rest")]
    optimizer = MultiOptimizer(OptimizerMap(SGD(0.0), {"first": SGD(0.1), "sec.*": SGD(1.0)}))
    optimizer.apply([torch.ones(1)] * 3, weights)
    assert [round(weight.numpy().item(), 6) for weight in weights] == [1.9, 2.0, 4.0]
    assert int(optimizer.iterations) == 1 and [int(one.iterations) for one in optimizer.optimizers] == [1, 1, 1]


def test_a_fit_is_that_of_each_optimizer_with_the_other_weights_frozen_for_it():
    model = model_of(both())
    model.fit(X, Y, batch_size=12, epochs=1, verbose=0)
    for optimizer, mine in ((Adam(0.1), slice(0, 2)), (SGD(0.5), slice(2, 4))):
        alone = model_of(optimizer)
        alone.fit(X, Y, batch_size=12, epochs=1, verbose=0)
        for one, other in zip(model.get_weights()[mine], alone.get_weights()[mine], strict=True):
            assert np.allclose(one, other, atol=1e-6)  # alone, its weights lie in one vector


def test_a_function_may_choose_and_a_weight_keeps_its_optimizer():
    adam, sgd = Adam(0.1), SGD(0.5)
    model, mapped = model_of(MultiOptimizer(lambda weight: adam if "encoder" in weight.path else sgd)), model_of(both())
    for each in (model, mapped):
        each.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        each.fit(X, Y, batch_size=4, epochs=1, shuffle=False, verbose=0)
    assert [one.name for one in model.optimizer.optimizers] == ["adam", "sgd"]
    assert all(np.array_equal(one, other) for one, other in zip(model.get_weights(), mapped.get_weights(), strict=True))
    with pytest.raises(UsageError, match="OptimizerMap"):
        model.optimizer.get_config()


def test_a_pattern_that_no_weight_has_is_told():
    model = model_of(MultiOptimizer(OptimizerMap(SGD(0.5), {"encoder/.*": Adam(0.1)})))
    with pytest.warns(UserWarning, match=r"'encoder/\.\*' is the path of no weight that is trained; paths are .*/encoder/kernel"):
        model.fit(X, Y, batch_size=12, epochs=1, verbose=0)


def test_files_and_copies_go_on_where_it_stopped(tmp_path):
    straight, halted = model_of(both()), model_of(both())
    straight.fit(X, Y, batch_size=4, epochs=4, shuffle=False, verbose=0)
    halted.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    halted.optimizer.optimizers[0].learning_rate = 0.1
    halted.save(tmp_path / "half.keras")
    loaded = dt.load_model(tmp_path / "half.keras")
    assert [one.name for one in loaded.optimizer.optimizers] == ["adam", "sgd"]
    loaded.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    assert all(np.allclose(one, other, atol=1e-6) for one, other in zip(loaded.get_weights(), straight.get_weights(), strict=True))
    again = pickle.loads(pickle.dumps(copy.deepcopy(loaded.optimizer)))
    assert again.state_dict() == loaded.optimizer.state_dict() and [str(v) for v in again.variables] == [
        str(v) for v in loaded.optimizer.variables
    ]


def test_a_rate_that_a_callback_sets_is_that_of_the_next_step():
    class Halve(dt.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.optimizers[1].learning_rate = 0.0

    model = model_of(both())
    model.fit(X, Y, batch_size=12, epochs=1, verbose=0, callbacks=[Halve()])
    before = model.get_weights()
    model.fit(X, Y, batch_size=12, epochs=1, verbose=0)
    after = model.get_weights()
    assert np.array_equal(before[2], after[2]) and not np.array_equal(before[0], after[0])


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: both().learning_rate, AttributeError, "individual sub-optimizers"),
        (lambda: setattr(both(), "learning_rate", 0.1), AttributeError, "individual sub-optimizers"),
        (lambda: MultiOptimizer(3), ValueError, "expected an OptimizerMap"),
        (
            lambda: MultiOptimizer(OptimizerMap(SGD(), {"a": LossScaleOptimizer(SGD())})),
            ValueError,
            "optimizer cannot be LossScaleOptimizer",
        ),
        (lambda: OptimizerMap(SGD(), {".*a": SGD(), "a.*": Adam()})["a"], ValueError, "Multiple optimizers assigned to variable a"),
        (lambda: OptimizerMap("sgd"), TypeError, "default_optimizer"),
        (lambda: optimizers.get("MultiOptimizer"), ValueError, "it needs optimizer_map"),
        (lambda: MultiOptimizer(OptimizerMap(SGD())).apply([None], [dt.Variable([1.0])]), ValueError, "No gradients provided"),
    ],
)
def test_what_cannot_be_is_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()
