"""fit, evaluate and the methods for one batch beside Keras's: the same weights and data give the same logs and weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import disttrain as dt
from disttrain.training.local import runner

keras = pytest.importorskip("keras")

# Keras's own: NumPy's new copy keyword, and words about what it was given.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore:.*:UserWarning:keras")]
TOLERANCE = {"rtol": 2e-4, "atol": 2e-5}
rng = np.random.default_rng(0)
X = rng.normal(size=(30, 4)).astype("float32")
REAL = rng.normal(size=(30, 2)).astype("float32")
LABELS = rng.integers(0, 3, 30)
ONE_HOT = np.eye(3, dtype="float32")[LABELS]
BINARY = (X.sum(1) > 0).astype("float32")
WEIGHTS = rng.uniform(0.1, 2.0, 30).astype("float32")
TOKENS = rng.integers(0, 5, (30, 6))


@pytest.fixture(autouse=True)
def one_slice():
    with runner.installed(runner.LocalRunner(runner._InProcess())):
        yield


def both(build, **arguments):
    """(ours, Keras's), built and compiled alike, with Keras's weights; `arguments` may be functions of the library."""
    pair = []
    for library in (dt, keras):
        library.utils.set_random_seed(0) if library is keras else dt.set_random_seed(0)
        model = build(library)
        model.compile(**{name: value(library) if callable(value) else value for name, value in arguments.items()})
        pair.append(model)
    ours, theirs = pair
    ours.set_weights(theirs.get_weights())
    return ours, theirs


def assert_same_history(ours, theirs, *data, **arguments):
    mine = ours.fit(*data, verbose=0, shuffle=False, **arguments)
    keras_own = theirs.fit(*data, verbose=0, shuffle=False, **arguments)
    assert list(mine.history) == sorted(keras_own.history) and mine.epoch == keras_own.epoch
    for name, values in keras_own.history.items():
        np.testing.assert_allclose(mine.history[name], values, err_msg=name, **TOLERANCE)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def assert_same_logs(ours, theirs):
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, err_msg=name, **TOLERANCE)


def classifier(L):
    return L.Sequential(
        [
            L.Input((4,)),
            L.layers.Dense(8, activation="tanh", kernel_regularizer="l2", activity_regularizer="l1"),
            L.layers.BatchNormalization(momentum=0.5),
            L.layers.Dense(3, activation="softmax", kernel_constraint=L.constraints.MaxNorm(0.8)),
        ]
    )


OPTIMIZERS = {
    "sgd": lambda L: L.optimizers.SGD(0.1, momentum=0.9),
    "adam": lambda L: L.optimizers.Adam(0.02),
    "adam with a schedule": lambda L: L.optimizers.Adam(L.optimizers.schedules.ExponentialDecay(0.05, 3, 0.5)),
    "averaged": lambda L: L.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5),
    "accumulating": lambda L: L.optimizers.SGD(0.1, gradient_accumulation_steps=2),
}


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_several_epochs_of_a_classifier(optimizer):
    ours, theirs = both(
        classifier,
        optimizer=OPTIMIZERS[optimizer],
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy", "sparse_categorical_crossentropy"],
    )
    assert_same_history(ours, theirs, X, LABELS, epochs=3, batch_size=8, validation_split=0.3)
    assert_same_logs(
        ours.evaluate(X, LABELS, batch_size=7, return_dict=True, verbose=0),
        theirs.evaluate(X, LABELS, batch_size=7, return_dict=True, verbose=0),
    )
    np.testing.assert_allclose(ours.evaluate(X, LABELS, verbose=0), theirs.evaluate(X, LABELS, verbose=0), **TOLERANCE)
    np.testing.assert_allclose(ours.predict(X, batch_size=7, verbose=0), theirs.predict(X, batch_size=7, verbose=0), **TOLERANCE)


def regression(L):
    return L.Sequential([L.Input((4,)), L.layers.Dense(5, activation="relu"), L.layers.Dense(2)])


@pytest.mark.parametrize(
    "arguments",
    [
        {"sample_weight": WEIGHTS},
        {"validation_data": (X[:7], REAL[:7])},
        {"validation_data": (X[:7], REAL[:7], WEIGHTS[:7]), "validation_freq": 2},
        {"validation_data": (X[:7], REAL[:7]), "validation_freq": [1, 3], "validation_batch_size": 3},
        {"validation_data": (X, REAL), "validation_steps": 2},
        {"steps_per_epoch": 2},
        {"initial_epoch": 1},
        {"batch_size": None, "steps_per_epoch": 4},
    ],
    ids=lambda arguments: ", ".join(arguments),
)
def test_arguments_of_fit(arguments):
    ours, theirs = both(
        regression,
        optimizer=OPTIMIZERS["adam"],
        loss="mse",
        metrics=["mae", "mse"],
        weighted_metrics=["mae", first_column],
        loss_weights=None,
    )
    data = (X[:24], REAL[:24])
    arguments = {name: value[:24] if name == "sample_weight" else value for name, value in arguments.items()}
    assert_same_history(ours, theirs, *data, **{"epochs": 3, "batch_size": 6, **arguments})


def first_column(y_true, y_pred):
    return abs(y_true - y_pred)[:, 0]


@pytest.mark.parametrize(
    ("targets", "loss"),
    [(LABELS, "sparse_categorical_crossentropy"), (LABELS.reshape(-1, 1), "sparse_categorical_crossentropy"), (ONE_HOT, "crossentropy")],
    ids=["labels", "a column of labels", "one-hot rows"],
)
def test_class_weight(targets, loss):
    ours, theirs = both(classifier, optimizer="sgd", loss=loss, metrics=["acc"], weighted_metrics=["accuracy"])
    assert_same_history(ours, theirs, X, targets, epochs=2, batch_size=8, class_weight={0: 3.0, 2: 0.5})


@pytest.mark.parametrize("y", [BINARY, BINARY.reshape(-1, 1)], ids=["flat", "column"])
def test_binary_targets_choose_binary_metrics(y):
    def build(L):
        return L.Sequential([L.Input((4,)), L.layers.Dense(1, activation="sigmoid")])

    ours, theirs = both(build, optimizer="adam", loss="bce", metrics=["accuracy", "AUC", "Precision", "Recall"])
    assert_same_history(ours, theirs, X, y, epochs=2, batch_size=8)


def recurrent(L):
    return L.Sequential(
        [
            L.Input((6,), dtype="int32"),
            L.layers.Embedding(5, 4, mask_zero=True),
            L.layers.LSTM(3, return_sequences=True),
            L.layers.Dense(2, activation="softmax"),
        ]
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_masks_reach_losses_and_metrics(weighted):
    y = (TOKENS > 2).astype("int64")
    ours, theirs = both(
        recurrent, optimizer=OPTIMIZERS["adam"], loss="sparse_categorical_crossentropy", metrics=["accuracy"], weighted_metrics=["accuracy"]
    )
    weight = {"sample_weight": rng.uniform(0.5, 2.0, (30, 6)).astype("float32")} if weighted else {}
    # In one batch: Keras's loss multiplies the mask into the weights in place, and its metrics then weigh batches by their masks.
    assert_same_history(ours, theirs, TOKENS, y, epochs=2, batch_size=30 if weighted else 8, **weight)


def two_outputs(L, kind=list):
    x = L.Input((4,), name="x")
    h = L.layers.Dense(5, activation="tanh", name="hidden")(x)
    a, b = L.layers.Dense(2, name="a")(h), L.layers.Dense(3, activation="softmax", name="b")(h)
    return L.Model(x, [a, b] if kind is list else {"a": a, "b": b})


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize(
    "compiled",
    [
        {"loss": ["mse", "sparse_categorical_crossentropy"], "loss_weights": [0.3, 2.0], "metrics": [["mae"], ["accuracy"]]},
        {
            "loss": {"a": "mse", "b": "sparse_categorical_crossentropy"},
            "loss_weights": {"a": 0.3, "b": 2.0},
            "metrics": {"b": ["acc"]},
            "weighted_metrics": {"a": ["mae", "mse"]},
        },
    ],
    ids=["in lists", "in dicts"],
)
def test_two_outputs_with_loss_weights(kind, compiled):
    if kind is dict and isinstance(compiled["loss"], list):
        pytest.skip("Keras wants losses of outputs in a dict in a dict")
    ours, theirs = both(lambda L: two_outputs(L, kind), optimizer="sgd", **compiled)
    y = [REAL, LABELS] if kind is list else {"a": REAL, "b": LABELS}
    weight = [WEIGHTS, WEIGHTS[::-1].copy()] if kind is list else {"a": WEIGHTS, "b": WEIGHTS[::-1].copy()}
    assert_same_history(ours, theirs, X, y, epochs=2, batch_size=8)
    assert_same_history(ours, theirs, X, y, epochs=2, batch_size=8, sample_weight=weight)
    logs = [m.evaluate(X, y, batch_size=8, return_dict=True, verbose=0) for m in (ours, theirs)]
    assert_same_logs(*logs)
    np.testing.assert_allclose(*(m.evaluate(X, y, batch_size=8, verbose=0) for m in (ours, theirs)), **TOLERANCE)


def test_a_loss_for_one_of_two_outputs_with_its_targets_alone():
    ours, theirs = both(two_outputs, optimizer="sgd", loss=["mse", None])
    assert_same_history(ours, theirs, X, REAL, epochs=2, batch_size=8)


def test_one_loss_for_both_outputs():
    def build(L):
        x = L.Input((4,))
        return L.Model(x, [L.layers.Dense(2, name="a")(x), L.layers.Dense(2, name="b")(x)])

    ours, theirs = both(build, optimizer="sgd", loss="mse")
    assert_same_history(ours, theirs, X, [REAL, REAL * 2], epochs=2, batch_size=8)


@pytest.mark.parametrize("loss_weights", [0.2, [0.2]])
def test_a_loss_weight_for_one_output(loss_weights):
    ours, theirs = both(regression, optimizer="sgd", loss="mse", loss_weights=loss_weights)
    assert_same_history(ours, theirs, X, REAL, epochs=2, batch_size=8)


def test_one_batch_at_a_time():
    ours, theirs = both(classifier, optimizer=OPTIMIZERS["adam"], loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    for step in range(4):
        rows = slice(step * 6, step * 6 + (6 if step < 3 else 4))
        kind = [{}, {"sample_weight": WEIGHTS[rows]}, {"class_weight": {0: 2.0}}, {"return_dict": True}][step]
        results = [model.train_on_batch(X[rows], LABELS[rows], **kind) for model in (ours, theirs)]
        if step == 3:
            assert_same_logs(*results)
        else:
            np.testing.assert_allclose(*results, **TOLERANCE)
        np.testing.assert_allclose(*(model.test_on_batch(X[rows], LABELS[rows]) for model in (ours, theirs)), **TOLERANCE)
        np.testing.assert_allclose(*(model.predict_on_batch(X[rows]) for model in (ours, theirs)), **TOLERANCE)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    ours.compile("sgd", "mse", metrics=["mae"])  # Keras keeps the metrics of before where none are given
    theirs.compile("sgd", "mse", metrics=["mae"])
    np.testing.assert_allclose(*(m.train_on_batch(X[:6], ONE_HOT[:6]) for m in (ours, theirs)), **TOLERANCE)


def test_a_dataset_of_kerass_own_kind():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return X[index * 8 : index * 8 + 8], REAL[index * 8 : index * 8 + 8]

    ours, theirs = both(regression, optimizer="sgd", loss="mse", metrics=["mae"])
    assert_same_history(ours, theirs, Batches(), epochs=2, validation_data=Batches())
    np.testing.assert_allclose(ours.evaluate(Batches(), verbose=0), theirs.evaluate(Batches(), verbose=0), **TOLERANCE)


def own_step(L):
    """The train_step of Keras's guide to custom steps in torch, with a metric and a loss of its own."""

    class Own(L.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.out = L.layers.Dense(5, activation="tanh"), L.layers.Dense(2, kernel_regularizer="l2")
            self.size = L.metrics.Mean(name="size")

        def call(self, x):
            return self.out(self.hidden(x))

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return super().compute_loss(x, y, y_pred, sample_weight, training) + abs(y_pred).mean()

        def train_step(self, data):
            x, y = data
            self.zero_grad()
            y_pred = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=y_pred)
            loss.backward()
            trainable_weights = list(self.trainable_weights)
            gradients = [v.value.grad for v in trainable_weights]
            with torch.no_grad():
                self.optimizer.apply(gradients, trainable_weights)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                elif metric.name == "size":
                    metric.update_state(abs(y_pred.detach()).mean())
                else:
                    metric.update_state(y, y_pred)
            return {m.name: m.result() for m in self.metrics}

    model = Own()
    model(X[:1])
    return model


def test_a_step_of_ones_own_word_for_word():
    ours, theirs = both(own_step, optimizer=OPTIMIZERS["adam"], loss="mse", metrics=["mae"])
    assert_same_history(ours, theirs, X, REAL, epochs=3, batch_size=8)


def test_hooks_of_a_callback_see_the_same_logs():
    def noting(library):
        notes = []

        class Noting(library.callbacks.Callback):
            pass

        for hook in (name for name in dir(library.callbacks.Callback) if name.startswith("on_")):

            def note(self, *arguments, hook=hook):
                *number, logs = arguments if arguments else [{}]
                outputs = "outputs" in (logs or {})
                notes.append(
                    (hook, number, sorted(logs or {}) if outputs else {n: round(float(v), 3) for n, v in sorted((logs or {}).items())})
                )

            setattr(Noting, hook, lambda self, *a, note=note, logs=None, **k: note(self, *a, *([logs] if logs is not None else [])))
        return notes, Noting()

    heard = []
    ours, theirs = both(regression, optimizer="sgd", loss="mse", metrics=["mae"])
    for library, model in ((dt, ours), (keras, theirs)):
        notes, callback = noting(library)
        model.fit(X, REAL, epochs=2, batch_size=8, validation_split=0.2, shuffle=False, verbose=0, callbacks=[callback])
        model.evaluate(X, REAL, batch_size=8, verbose=0, callbacks=[callback])
        model.predict(X, batch_size=8, verbose=0, callbacks=[callback])
        heard.append([note for note in notes if note[0] not in ("on_batch_begin", "on_batch_end")])
    assert heard[0] == heard[1]


@settings(max_examples=15)
@given(
    samples=st.integers(3, 30),
    batch_size=st.integers(1, 12),
    loss=st.sampled_from(["mse", "mae", "huber", "log_cosh", "cosine_similarity", "msle"]),
    metric=st.sampled_from(["mae", "mse", "root_mean_squared_error", "cosine_similarity", "r2_score"]),
    weighted=st.booleans(),
)
def test_history_over_sizes_losses_and_metrics(samples, batch_size, loss, metric, weighted):
    with runner.installed(runner.LocalRunner(runner._InProcess())):
        ours, theirs = both(regression, optimizer="sgd", loss=loss, metrics=[metric], weighted_metrics=[metric])
        weight = {"sample_weight": WEIGHTS[:samples]} if weighted else {}
        assert_same_history(ours, theirs, X[:samples], np.abs(REAL[:samples]), epochs=2, batch_size=batch_size, **weight)
