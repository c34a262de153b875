"""One batch at a time, the hooks and bars of evaluate and predict, data that brings its own batches, and what compile is told."""

from __future__ import annotations

import copy
import pickle

import cloudpickle
import numpy as np
import pytest
import torch

import disttrain as dt
from disttrain import layers
from disttrain.data import PyDataset
from disttrain.errors import DataError, UsageError
from disttrain.training.local import runner

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(20, 3)).astype(np.float32), rng.integers(0, 2, 20)
REAL = rng.normal(size=(20, 2)).astype(np.float32)


@pytest.fixture(autouse=True)
def fresh():
    dt.clear_session()
    dt.set_random_seed(0)
    with runner.installed(runner.LocalRunner(runner._InProcess())):
        yield


def classifier(**arguments) -> dt.Sequential:
    model = dt.Sequential([dt.Input((3,)), layers.Dense(4, activation="relu"), layers.Dense(2, activation="softmax")])
    model.compile(**{"optimizer": "sgd", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], **arguments})
    return model


def in_slices(virtual_workers: int):
    return runner.installed(runner.LocalRunner(runner._InProcess(virtual_workers)))


# -- one batch at a time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("virtual_workers", [1, 3])
def test_training_on_each_batch_gives_the_weights_of_a_fit(virtual_workers):
    with in_slices(virtual_workers):
        fitted, looped = classifier(optimizer="adam"), classifier(optimizer="adam")
        looped.set_weights(fitted.get_weights())
        fitted.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
        for start in (0, 8, 16):
            looped.train_on_batch(X[start : start + 8], Y[start : start + 8])
    for one, other in zip(fitted.get_weights(), looped.get_weights(), strict=True):
        assert np.array_equal(one, other)
    assert looped.optimizer.iterations == 3


def test_a_batch_gives_the_loss_alone_a_list_or_a_dict_of_this_batch():
    model = classifier(metrics=None)
    loss = model.test_on_batch(X, Y)
    assert type(loss) is float and model.test_on_batch(X[:5], Y[:5]) != loss and model.test_on_batch(X, Y) == loss
    assert model.train_on_batch(X, Y) == pytest.approx(loss)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    values = model.test_on_batch(X, Y)
    assert model.test_on_batch(X, Y, return_dict=True) == {"accuracy": values[1], "loss": values[0]}
    assert model.metrics[0].name == "loss"


def test_weights_of_samples_and_of_classes_reach_the_batch():
    model = classifier(optimizer=dt.optimizers.SGD(0.0), metrics=None, weighted_metrics=["accuracy"])
    weight = np.where(Y == 1, 3.0, 1.0)
    by_sample, by_class = model.train_on_batch(X, Y, sample_weight=weight), model.train_on_batch(X, Y, class_weight={1: 3.0})
    assert by_sample == pytest.approx(by_class) and by_sample != pytest.approx(model.train_on_batch(X, Y))
    with pytest.raises(DataError, match="class_weight and sample_weight"):
        model.train_on_batch(X, Y, weight, {1: 3.0})


def test_calls_in_between_leave_the_loop_over_batches_as_it_is():
    model, plain = classifier(optimizer="adam"), classifier(optimizer="adam")
    plain.set_weights(model.get_weights())
    for busy in (model, plain):
        for _ in range(2):
            busy.train_on_batch(X, Y)
            if busy is model:
                model.evaluate(X, Y, verbose=0)
                model.predict(X, verbose=0)
                model.test_on_batch(X, Y)
                copy.deepcopy(model), pickle.loads(cloudpickle.dumps(model))
        busy.fit(X, Y, shuffle=False, verbose=0)
        busy.train_on_batch(X, Y)
    for one, other in zip(model.get_weights(), plain.get_weights(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_model_can_be_copied_after_it_was_trained(outputs: int):
    inputs = dt.Input((4,))
    model = dt.Model(inputs, [layers.Dense(3)(inputs) for _ in range(outputs)])
    model.compile("adam", "mse")
    x = np.random.default_rng(0).random((8, 4)).astype("float32")
    y = [x[:, :3]] * outputs
    model.fit(x, y, shuffle=False, verbose=0)
    twin = copy.deepcopy(model)
    assert twin.fit(x, y, shuffle=False, verbose=0).history == model.fit(x, y, shuffle=False, verbose=0).history
    assert twin.digest() == model.digest()


def test_freezing_a_layer_between_batches_holds_from_the_next_one_on():
    model = classifier()
    model.train_on_batch(X, Y)
    model.layers[0].trainable = False
    before = model.get_weights()
    model.train_on_batch(X, Y)
    assert [np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)] == [True, True, False, False]


def test_predicting_a_batch_keeps_the_structure_and_takes_any_size():
    x = layers.Input((3,))
    model = dt.Model(x, {"a": layers.Dense(2, name="a")(x), "b": layers.Dense(1, name="b")(x)})
    many = np.tile(X, (5, 1))
    outputs = model.predict_on_batch(many)
    assert {name: array.shape for name, array in outputs.items()} == {"a": (100, 2), "b": (100, 1)}
    np.testing.assert_array_equal(outputs["a"], model.predict(many, batch_size=100, verbose=0)["a"])


def test_the_short_way_of_predict_gives_the_bits_of_the_long_one():
    model = classifier()
    short = model.predict(X, verbose=0)
    long = model.predict(X, verbose=0, steps=1, batch_size=20)
    assert np.array_equal(short, long)
    assert np.array_equal(model.predict(torch.tensor(X).double(), verbose=0), short)
    with in_slices(4):
        np.testing.assert_allclose(model.predict(X, verbose=0), short, rtol=1e-5)


# -- hooks and bars ---------------------------------------------------------------------------------------------------------------------


class Batches(dt.Callback):
    """Notes the batches of an evaluate or predict; stops after `last`."""

    def __init__(self, last: int = 99) -> None:
        super().__init__()
        self.notes: list = []
        self.last = last

    def on_test_batch_end(self, batch, logs=None):
        self.notes.append((batch, round(logs["loss"], 4)))
        self.model.stop_evaluating = batch == self.last

    def on_predict_batch_begin(self, batch, logs=None):
        self.notes.append(batch)

    def on_predict_batch_end(self, batch, logs=None):
        self.notes.append(logs["outputs"].shape)
        self.model.stop_predicting = batch == self.last


@pytest.mark.parametrize("virtual_workers", [1, 2])
def test_hooks_of_batches_are_called_in_evaluate_and_predict_and_may_stop_them(virtual_workers):
    with in_slices(virtual_workers):
        model, whole, stopped = classifier(), Batches(), Batches(last=1)
        losses = [model.evaluate(X[:stop], Y[:stop], verbose=0)[0] for stop in (8, 16, 20)]
        assert model.evaluate(X, Y, batch_size=8, verbose=0, callbacks=[whole])[0] == pytest.approx(losses[2])
        assert whole.notes == [(0, round(losses[0], 4)), (1, round(losses[1], 4)), (2, round(losses[2], 4))]
        assert model.evaluate(X, Y, batch_size=8, verbose=0, callbacks=[stopped])[0] == pytest.approx(losses[1])
        assert len(stopped.notes) == 2
        predicting = Batches(last=1)
        assert model.predict(X, batch_size=8, verbose=0, callbacks=[predicting]).shape == (16, 2)
        assert predicting.notes == [0, (8, 2), 1, (8, 2)]


def test_batch_hooks_come_every_so_many_steps_of_an_execution():
    class Steps(dt.Callback):
        def __init__(self):
            super().__init__()
            self.notes = []

        def on_train_batch_begin(self, batch, logs=None):
            self.notes.append(f"+{batch}")

        def on_train_batch_end(self, batch, logs=None):
            self.notes.append(f"-{batch}")

        def on_test_begin(self, logs=None):
            self.notes.append("test")

        def on_test_batch_begin(self, batch, logs=None):
            self.notes.append(f"t+{batch}")

        def on_test_batch_end(self, batch, logs=None):
            self.notes.append(f"t-{batch}")

    steps = Steps()
    classifier(steps_per_execution=2).fit(X, Y, batch_size=4, validation_data=(X, Y), validation_batch_size=7, verbose=0, callbacks=[steps])
    assert steps.notes == ["+0", "-1", "+2", "-3", "+4", "-4", "test", "t+0", "t-1", "t+2", "t-2"]


@pytest.mark.parametrize(("verbose", "lines"), [(0, 0), (1, 1), ("auto", 1), (2, 1)])
def test_evaluate_and_predict_show_a_bar_as_verbose_says(verbose, lines, capsys):
    model = classifier()
    model.evaluate(X, Y, batch_size=8, verbose=verbose)
    said = capsys.readouterr().out
    assert said.count("\n") == lines and ("3/3" in said and "accuracy: " in said) == bool(lines)
    model.predict(X, batch_size=8, verbose=verbose)
    assert capsys.readouterr().out.count("3/3") == lines


# -- data -------------------------------------------------------------------------------------------------------------------------------


def test_a_data_loader_trains_as_its_arrays_do():
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    loaded, arrays = classifier(), classifier()
    arrays.set_weights(loaded.get_weights())
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    one = loaded.fit(loader, validation_data=loader, epochs=2, verbose=0).history
    other = arrays.fit(X, Y, batch_size=8, shuffle=False, validation_data=(X, Y), epochs=2, verbose=0).history
    assert one == other
    assert loaded.evaluate(loader, verbose=0) == arrays.evaluate(X, Y, batch_size=8, verbose=0)
    assert np.array_equal(loaded.predict(loader, verbose=0), arrays.predict(X, batch_size=8, verbose=0))


class Whole(PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = slice(index * 8, index * 8 + 8)
        return X[rows], Y[rows]


@pytest.mark.parametrize("virtual_workers", [1, 3])
def test_a_py_dataset_trains_as_its_arrays_do(virtual_workers):
    with in_slices(virtual_workers):
        given, arrays = classifier(), classifier()
        arrays.set_weights(given.get_weights())
        one = given.fit(Whole(), shuffle=False, validation_data=Whole(), epochs=2, verbose=0).history
        other = arrays.fit(X, Y, batch_size=8, shuffle=False, validation_data=(X, Y), epochs=2, verbose=0).history
        assert one == other
        given.fit(Whole(), verbose=0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"x": Whole(), "y": Y}, "Whole, which brings its own targets"),
        ({"x": Whole(), "batch_size": 4}, "batch_size=4 beside a Whole whose batches hold 8"),
        ({"x": Whole(), "validation_split": 0.5}, "validation_split cannot cut a Whole"),
        ({"x": X, "y": Y, "validation_freq": "each"}, "validation_freq='each'"),
        ({"x": X, "y": Y, "class_weight": [1.0, 2.0]}, "expected a dict from integer labels"),
        ({"x": X, "y": {"a": Y, "b": Y}, "class_weight": {0: 1.0}}, "class_weight is for models with one output"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(arguments, says):
    with pytest.raises(DataError, match=says):
        classifier().fit(**arguments, verbose=0)


def test_more_steps_than_the_data_makes_are_cut_with_a_warning():
    model = classifier()
    with pytest.warns(UserWarning, match="5 steps were asked for, the data makes 3"):
        assert model.predict(X, batch_size=8, steps=5, verbose=0).shape == (20, 2)
    assert model.predict(X, batch_size=8, steps=2, verbose=0).shape == (16, 2)


# -- compile ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"steps_per_execution": 0}, "steps_per_execution=0"),
        ({"jit_compile": "yes"}, "jit_compile='yes'"),
        ({"loss_weights": "a"}, "loss_weights='a'"),
        ({"metrics": "accuracy"}, "metrics='accuracy'"),
        ({"loss": "mmse"}, "mse"),
    ],
)
def test_compile_refuses_what_it_cannot_mean(arguments, says):
    with pytest.raises(ValueError, match=says):
        classifier(**arguments).fit(X, Y, verbose=0)


def test_nested_outputs_find_their_losses_targets_and_names():
    x = layers.Input((3,))
    a, b, c = (layers.Dense(2, name=name)(x) for name in "abc")
    model = dt.Model(x, {"one": a, "more": [b, c]})
    model.compile("sgd", {"one": "mse", "more": ["mae", None]}, {"one": 2.0, "more": [0.5, None]}, metrics={"more": [["mse"], None]})
    y = {"one": REAL, "more": [REAL, REAL]}
    logs = model.evaluate(X, y, verbose=0, return_dict=True)
    outputs = model.predict(X, verbose=0)
    mse, mae = np.mean((outputs["one"] - REAL) ** 2), np.mean(np.abs(outputs["more"][0] - REAL))
    expected = {"loss": 2 * mse + 0.5 * mae, "more/b_loss": mae, "more/b_mse": np.mean((outputs["more"][0] - REAL) ** 2), "one_loss": mse}
    assert logs == {name: pytest.approx(value, rel=1e-5) for name, value in expected.items()}


def test_losses_by_output_name_fit_outputs_in_a_list_and_targets_in_a_dict():
    x = layers.Input((3,))
    model = dt.Model(x, [layers.Dense(2, name="a")(x), layers.Dense(2, name="b")(x)])
    model.compile("sgd", {"a": "mse", "b": "mae"})
    first = model.evaluate(X, [REAL, 2 * REAL], verbose=0)
    assert model.evaluate(X, {"b": 2 * REAL, "a": REAL}, verbose=0) == first and len(first) == 3


@pytest.mark.parametrize(
    ("compiled", "y", "says"),
    [
        ({"loss": ["mse"]}, [REAL, REAL], r"1 entries for the 2 outputs \['a', 'b'\]"),
        ({"loss": "mse", "loss_weights": 0.5}, [REAL, REAL], "one number for the 2 outputs"),
        ({"loss": "mse"}, [REAL], "y holds 1 arrays, the model has 2 outputs"),
        ({"loss": "mse"}, {"a": REAL, "c": REAL, "d": REAL}, r"y has the keys \['a', 'c', 'd'\]"),
        ({"loss": "mse", "metrics": ["mae", "mae", "mae"]}, [REAL, REAL], "expected a dict by name or a list of one entry each"),
    ],
)
def test_what_does_not_fit_the_outputs_is_refused(compiled, y, says):
    x = layers.Input((3,))
    model = dt.Model(x, [layers.Dense(2, name="a")(x), layers.Dense(2, name="b")(x)])
    model.compile("sgd", **compiled)
    with pytest.raises(ValueError, match=says):
        model.fit(X, y, verbose=0)


def test_a_model_that_is_not_compiled_trains_on_no_batch():
    model = dt.Sequential([layers.Dense(1)])
    with pytest.raises(UsageError, match=r"train_on_batch\(\) needs a compiled model"):
        model.train_on_batch(X, Y)


@pytest.mark.parametrize("virtual_workers", [1, 3])
def test_a_model_without_trainable_weights_is_fitted_and_stays_as_it_is(virtual_workers):
    model = classifier()
    model.trainable = False
    before = model.digest()
    with in_slices(virtual_workers):
        history = model.fit(X, Y, epochs=2, shuffle=False, verbose=0).history
    assert model.digest() == before and history["loss"][0] == pytest.approx(history["loss"][1])
