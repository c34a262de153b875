"""compile, fit, evaluate and predict in one process."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import disttrain as dt
from disttrain import layers
from disttrain.errors import DataError, UsageError
from disttrain.training.local import runner

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 2, 20)


@pytest.fixture(autouse=True)
def fresh():
    """Each test begins with the same seed and names, and with one virtual worker."""
    dt.clear_session()
    dt.set_random_seed(0)
    with runner.installed(runner.LocalRunner(runner._InProcess())):
        yield


def classifier(metrics=("accuracy",), **arguments) -> dt.Sequential:
    model = dt.Sequential([dt.Input((3,)), layers.Dense(4, activation="relu"), layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=list(metrics), **arguments)
    return model


def constant(value: float = 0.0, units: int = 1) -> dt.Sequential:
    """A model that says `value` and does not learn."""
    bias = dt.initializers.Constant(value)
    model = dt.Sequential([dt.Input((1,)), layers.Dense(units, kernel_initializer="zeros", bias_initializer=bias)])
    model.compile(dt.optimizers.SGD(0.0), "mse", metrics=["mae"], weighted_metrics=["mae"])
    return model


def test_history_holds_a_number_for_each_epoch_under_sorted_names():
    history = classifier().fit(X, Y, epochs=3, batch_size=8, validation_split=0.25, verbose=0)
    assert list(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert all(len(values) == 3 and all(type(value) is float for value in values) for values in history.history.values())
    assert history.epoch == [0, 1, 2]
    assert history.model.history is history


def test_validation_split_takes_the_last_fraction_before_shuffling():
    y = np.array([0.0] * 15 + [2.0] * 5)  # said 0: the first 15 are right, the last 5 are wrong by 2
    history = constant().fit(np.zeros((20, 1)), y, validation_split=0.25, verbose=0)
    assert history.history["loss"] == [0.0] and history.history["val_loss"] == [4.0]
    assert history.history["val_mae"] == [2.0]


def test_validation_data_wins_over_the_split_and_may_bring_weights():
    data = (np.zeros((2, 1)), np.array([1.0, 3.0]), np.array([1.0, 0.0]))
    history = constant().fit(np.zeros((4, 1)), np.zeros(4), validation_data=data, validation_split=0.5, verbose=0)
    assert history.history["val_loss"] == [0.5]  # (1 * 1 + 9 * 0) / 2 samples, as in Keras
    assert history.history["val_mae"] == [2.0]
    assert history.history["val_weighted_mae"] == [1.0]


def test_sample_weight_reaches_the_loss_and_weighted_metrics_alone():
    weight = np.array([3.0, 1.0, 0.0, 0.0])
    history = constant().fit(np.zeros((4, 1)), np.array([1.0, 2.0, 5.0, 6.0]), sample_weight=weight, verbose=0)
    assert history.history["loss"] == [(3 * 1 + 1 * 4) / 4]
    assert history.history["mae"] == [(1 + 2 + 5 + 6) / 4]
    assert history.history["weighted_mae"] == [(3 * 1 + 1 * 2) / 4]


def test_the_first_epoch_may_be_a_later_one():
    class Epochs(dt.Callback):
        def __init__(self):
            super().__init__()
            self.seen = []

        def on_epoch_begin(self, epoch, logs=None):
            self.seen.append(epoch)

    epochs = Epochs()
    history = classifier().fit(X, Y, initial_epoch=2, epochs=4, verbose=0, callbacks=[epochs])
    assert epochs.seen == history.epoch == [2, 3]


def test_steps_per_epoch_goes_on_where_the_epoch_before_stopped():
    class Batches(dt.Callback):
        def __init__(self):
            super().__init__()
            self.losses = []

        def on_train_batch_begin(self, batch, logs=None):
            self.count = batch + 1

        def on_epoch_end(self, epoch, logs=None):
            self.losses.append((self.count, logs["loss"]))

    y = np.arange(6.0)  # batches of two have the losses 0.5, 6.5 and 20.5
    batches = Batches()
    constant().fit(np.zeros((6, 1)), y, batch_size=2, epochs=3, steps_per_epoch=2, shuffle=False, verbose=0, callbacks=batches)
    assert batches.losses == [(2, 3.5), (2, 10.5), (2, 13.5)]


@pytest.mark.parametrize("kind", [dict, tuple])
def test_inputs_may_be_a_dict_or_a_tuple(kind):
    first, second = layers.Input((2,), name="first"), layers.Input((1,), name="second")
    inputs = {"first": first, "second": second} if kind is dict else (first, second)
    model = dt.Model(inputs, layers.Dense(1)(layers.Concatenate()([first, second])))
    model.compile("sgd", "mse")
    a, b = X[:, :2], X[:, 2:]
    data = {"first": a, "second": b} if kind is dict else (a, b)
    history = model.fit(data, Y.astype(np.float32), verbose=0, validation_split=0.5)
    assert len(history.history["val_loss"]) == 1
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(model.predict(data), X @ kernel + bias, rtol=1e-5, atol=1e-6)


def two_outputs() -> dt.Model:
    x = layers.Input((1,))
    ones = {"kernel_initializer": "zeros", "bias_initializer": "ones"}
    model = dt.Model(x, {"a": layers.Dense(1, name="a", **ones)(x), "b": layers.Dense(1, name="b", **ones)(x)})
    return model


def test_two_outputs_have_losses_of_their_own_and_a_weighted_sum():
    model = two_outputs()
    model.compile(dt.optimizers.SGD(0.0), loss={"a": "mse", "b": "mae"}, loss_weights={"a": 1.0, "b": 10.0}, metrics={"b": ["mse"]})
    y = {"a": np.array([[3.0], [3.0]]), "b": np.array([[4.0], [2.0]])}
    history = model.fit(np.zeros((2, 1)), y, verbose=0)
    assert history.history == {"a_loss": [4.0], "b_loss": [2.0], "b_mse": [5.0], "loss": [4.0 + 10.0 * 2.0]}
    assert model.evaluate(np.zeros((2, 1)), y, verbose=0, return_dict=True) == {"a_loss": 4.0, "b_loss": 2.0, "b_mse": 5.0, "loss": 24.0}


def test_losses_for_outputs_that_do_not_exist_are_refused():
    model = two_outputs()
    model.compile("sgd", loss={"a": "mse", "c": "mse"})
    with pytest.raises(ValueError, match=r"\['c'\].*\['a', 'b'\]"):
        model.fit(np.zeros((2, 1)), {"a": np.zeros((2, 1)), "b": np.zeros((2, 1))}, verbose=0)


def test_early_stopping_ends_the_fit_and_brings_the_best_weights_back():
    class Worse(dt.Callback):
        """Says which epoch was good."""

        def __init__(self):
            super().__init__()
            self.weights = []

        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = [3.0, 1.0, 2.0, 4.0, 5.0][epoch]
            self.weights.append(self.model.get_weights())

    worse = Worse()
    model = classifier()
    stopping = dt.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    history = model.fit(X, Y, epochs=9, verbose=0, callbacks=[worse, stopping])
    assert history.epoch == [0, 1, 2, 3]
    for kept, best in zip(model.get_weights(), worse.weights[1], strict=True):
        assert np.array_equal(kept, best)


class Doubles(torch.utils.data.Dataset):
    """x is drawn anew at each visit, y is twice the number of the sample."""

    def __len__(self):
        return 10

    def __getitem__(self, number):
        return torch.rand(1) + np.random.rand() + random.random(), torch.tensor([2.0 * number])


def test_a_torch_dataset_is_trained_on_and_its_randomness_repeats():
    def trained():
        dt.clear_session()
        dt.set_random_seed(0)
        model = dt.Sequential([dt.Input((1,)), layers.Dense(1)])
        model.compile(dt.optimizers.SGD(0.01), "mse")
        with runner.installed(runner.LocalRunner(runner._InProcess())):
            return model.fit(Doubles(), batch_size=4, epochs=2, verbose=0, validation_data=Doubles()).history, model.digest()

    first = trained()
    torch.rand(3)  # whatever the script draws in between
    assert trained() == first


@pytest.mark.parametrize("call", ["fit", "evaluate", "predict", "fit with a dataset"])
def test_the_generators_of_the_script_are_left_as_they_were(call):
    model = dt.Sequential([dt.Input((1,)), torch.nn.Dropout(0.5), layers.Dropout(0.5), layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((10, 1))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(1)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    if call == "fit with a dataset":
        model.fit(Doubles(), batch_size=4, verbose=0)
    elif call == "predict":
        model.predict(x)
    else:
        getattr(model, call)(x, np.ones(10), verbose=0)
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected


def test_two_fits_of_one_script_shuffle_differently_and_repeat_with_the_seed():
    def losses():
        dt.clear_session()
        dt.set_random_seed(0)
        with runner.installed(runner.LocalRunner(runner._InProcess())):
            model = classifier()
            return [model.fit(X, Y, batch_size=8, verbose=0).history["loss"][0] for _ in range(2)], model.digest()

    assert losses() == losses()


def test_evaluate_gives_the_loss_alone_a_list_or_a_dict():
    model = constant()
    x, y = np.zeros((2, 1)), np.array([1.0, 3.0])
    assert model.evaluate(x, y, verbose=0) == [5.0, 2.0, 2.0]
    assert model.evaluate(x, y, verbose=0, return_dict=True) == {"loss": 5.0, "mae": 2.0, "weighted_mae": 2.0}
    model.compile("sgd", "mse")
    assert model.evaluate(x, y, verbose=0) == 5.0
    assert model.evaluate(x, y, batch_size=1, steps=1, verbose=0) == 1.0


def test_predict_gives_the_outputs_in_the_order_of_the_samples_without_dropout():
    model = dt.Sequential([dt.Input((3,)), layers.Dropout(0.9), layers.Dense(2)])
    with runner.installed(runner.LocalRunner(runner._InProcess(3))):
        predicted = model.predict(X, batch_size=7)
    kernel, bias = model.get_weights()
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted, X @ kernel + bias, rtol=1e-5, atol=1e-6)


def test_predict_of_two_outputs_has_their_structure():
    predicted = two_outputs().predict(np.zeros((5, 1)), batch_size=2)
    assert {name: array.tolist() for name, array in predicted.items()} == {"a": [[1.0]] * 5, "b": [[1.0]] * 5}


def test_verbose_prints_a_line_of_the_evaluation(capsys):
    constant().evaluate(np.zeros((2, 1)), np.array([1.0, 3.0]))
    assert "loss: 5.0000" in capsys.readouterr().out


# -- at the door ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fit", "evaluate"])
def test_a_model_that_is_not_compiled_is_refused(call):
    model = dt.Sequential([dt.Input((3,)), layers.Dense(1)])
    with pytest.raises(UsageError, match=rf"{call}\(\) needs a compiled model(.|\n)*model\.compile"):
        getattr(model, call)(X, Y)


def test_a_batch_smaller_than_the_virtual_workers_is_refused():
    with (
        runner.installed(runner.LocalRunner(runner._InProcess(8))),
        pytest.raises(DataError, match="batch_size=4 cannot be cut into 8 slices"),
    ):
        classifier().fit(X, Y, batch_size=4, verbose=0)


@pytest.mark.parametrize("label", [2, -1])
def test_labels_outside_the_classes_are_refused_before_any_step(label):
    y = Y.copy()
    y[7] = label
    model = classifier()
    before = model.digest()
    with pytest.raises(DataError, match=str(label)):
        model.fit(X, y, verbose=0)
    with pytest.raises(DataError, match=str(label)):
        model.fit(X, Y, validation_data=(X, y), verbose=0)
    with pytest.raises(DataError, match=str(label)):
        model.evaluate(X, y, verbose=0)
    assert model.digest() == before


def test_arrays_of_unequal_length_are_refused_by_name():
    with pytest.raises(DataError, match="x 20, y 19"):
        classifier().fit(X, Y[:-1], verbose=0)


def test_class_weight_and_sample_weight_together_are_refused():
    with pytest.raises(DataError, match="class_weight and sample_weight"):
        classifier().fit(X, Y, class_weight={0: 2.0}, sample_weight=np.ones(20), verbose=0)


@pytest.mark.parametrize("fraction", [1.0, -0.5, 0.999])
def test_a_split_that_leaves_nothing_is_refused(fraction):
    with pytest.raises(DataError, match=f"validation_split={fraction}"):
        classifier().fit(X, Y, validation_split=fraction, verbose=0)


def test_missing_targets_are_refused():
    with pytest.raises(DataError, match="y is missing"):
        classifier().fit(X, verbose=0)


@pytest.mark.parametrize("data", [lambda: iter([X]), lambda: lambda: iter([X]), lambda: (rows for rows in [X])])
def test_batches_without_targets_are_refused_wherever_they_come_from(data):
    with pytest.raises(DataError, match="y is missing"):
        classifier().fit(data(), verbose=0)


def test_a_dataset_beside_targets_is_refused():
    with pytest.raises(DataError, match="brings its own targets"):
        classifier().fit(Doubles(), Y, verbose=0)


def test_compiling_again_starts_the_optimizer_afresh_and_keeps_the_weights():
    model = classifier()
    model.fit(X, Y, verbose=0)
    weights = model.digest()
    assert model.optimizer.iterations == 1
    model.compile("adam", "sparse_categorical_crossentropy")
    assert model.optimizer.iterations == 0 and model.digest() == weights


def test_a_list_of_one_loss_is_that_loss():
    x, y = torch.ones(4, 3), torch.zeros(4, 1)
    histories = []
    for loss in ({"first": ["mse"], "second": ["mae"]}, {"first": "mse", "second": "mae"}):
        inputs = dt.Input((3,))
        ones = {"kernel_initializer": "ones"}
        model = dt.Model(inputs, [dt.layers.Dense(1, name="first", **ones)(inputs), dt.layers.Dense(1, name="second", **ones)(inputs)])
        model.compile("sgd", loss)
        histories.append(model.fit(x, [y, y], verbose=0).history)
    assert histories[0] == histories[1]


@pytest.mark.parametrize("of", ["Model", "Sequential"])
def test_the_layers_of_a_model_cannot_be_set(of):
    inputs = dt.Input((3,))
    model = dt.Sequential([dt.layers.Dense(1)]) if of == "Sequential" else dt.Model(inputs, dt.layers.Dense(1)(inputs))
    with pytest.raises(AttributeError, match=f"`{of}.layers` attribute is reserved"):
        model.layers = []
