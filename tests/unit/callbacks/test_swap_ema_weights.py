import json

import numpy as np
import pytest

import disttrain as dt
from disttrain.callbacks import SwapEMAWeights

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(16, 3)).astype("float32"), RANDOM.normal(size=(16, 1)).astype("float32")


def compiled(use_ema=True, **arguments):
    dt.set_random_seed(0)
    model = dt.Sequential([dt.Input((3,)), dt.layers.Dense(4), dt.layers.BatchNormalization(), dt.layers.Dense(1)])
    model.compile(dt.optimizers.SGD(0.1, use_ema=use_ema, ema_momentum=0.9, **arguments), "mse")
    return model


def trained(**arguments):
    """A model after a few updates, whose averages differ from its weights."""
    model = compiled(**arguments)
    for _ in range(3):
        model.train_on_batch(X, Y)
    return model


def begun(model, **arguments):
    callback = SwapEMAWeights(**arguments)
    callback.set_model(model)
    callback.on_train_begin()
    return callback


def trainable(model):
    return [weight.detach().numpy().copy() for weight in model.parameters() if weight.requires_grad]


def averages(model):
    return [average.numpy().copy() for average in model.optimizer.slots["average"]]


def same(ones, others):
    return all(np.array_equal(one, other) for one, other in zip(ones, others, strict=True))


@pytest.mark.parametrize("hooks", [("on_test_begin", "on_test_end"), ("on_predict_begin", "on_predict_end")])
def test_the_averages_are_in_the_model_for_a_look_and_the_weights_come_back_bit_by_bit(hooks):
    model = trained()
    weights, mean = trainable(model), averages(model)
    assert not same(weights, mean)
    callback = begun(model)
    getattr(callback, hooks[0])()
    assert same(trainable(model), mean) and same(averages(model), mean)
    getattr(callback, hooks[1])()
    assert same(trainable(model), weights) and same(averages(model), mean)


def test_on_epoch_the_averages_stay_from_the_end_of_one_to_the_beginning_of_the_next():
    model = trained()
    weights, mean = trainable(model), averages(model)
    callback = begun(model, swap_on_epoch=True)
    callback.on_epoch_begin(0)
    callback.on_test_begin()
    callback.on_test_end()
    assert same(trainable(model), weights)
    callback.on_epoch_end(0)
    assert same(trainable(model), mean)
    callback.on_epoch_begin(1)
    assert same(trainable(model), weights)


def test_the_end_of_a_fit_leaves_the_averages_even_when_it_was_stopped_early():
    class StopAtOnce(dt.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    model = compiled()
    model.fit(X, Y, epochs=5, batch_size=4, verbose=0, callbacks=[SwapEMAWeights(swap_on_epoch=True), StopAtOnce()])
    assert same(trainable(model), averages(model))


def test_a_restart_within_a_validation_still_brings_the_weights_back():
    model = trained()
    weights, mean = trainable(model), averages(model)
    first = begun(model, swap_on_epoch=True)
    first.on_epoch_begin(2)
    first.on_test_begin()
    state, arrays = json.loads(json.dumps(first.state_dict())), first.state_arrays()
    second = begun(model, swap_on_epoch=True)  # the model as it was then: with the averages in it
    second.load_state_dict(state)
    second.load_state_arrays(arrays)
    second.on_epoch_begin(2)
    assert same(trainable(model), mean)
    second.on_test_end()
    assert same(trainable(model), weights)


def test_a_call_that_fails_leaves_the_weights_of_the_training():
    model = trained()
    weights = trainable(model)
    callback = begun(model)
    callback.on_test_begin()
    callback.abandon()
    assert same(trainable(model), weights)


def test_before_the_first_update_there_is_nothing_to_swap():
    model = compiled()
    weights = trainable(model)
    begun(model).on_test_begin()
    assert same(trainable(model), weights)


def test_the_optimizer_inside_a_loss_scale_is_found():
    model = trained()
    model.optimizer = dt.optimizers.LossScaleOptimizer(model.optimizer)
    mean = [average.numpy().copy() for average in model.optimizer.inner_optimizer.slots["average"]]
    begun(model).on_test_begin()
    assert same(trainable(model), mean)


def test_an_optimizer_without_averages_is_refused_before_the_first_step():
    with pytest.raises(ValueError, match=r"SwapEMAWeights: SGD keeps no averages.*\n  expected  an optimizer with use_ema=True"):
        compiled(use_ema=False).fit(X, Y, verbose=0, callbacks=SwapEMAWeights())


def test_weights_frozen_since_the_training_began_are_an_error():
    model = trained()
    callback = begun(model)
    model.layers[0].trainable = False
    with pytest.raises(ValueError, match="the model has 4 trainable weights, the optimizer averages of 6"):
        callback.on_test_begin()
