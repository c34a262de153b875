"""Callbacks beside Keras's own: the same sequence of metrics through both gives the same decisions, files and hooks."""

from __future__ import annotations

import json
import math
import os
import warnings
from types import SimpleNamespace

os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import pytest
from callback_model import FakeModel
from hypothesis import given, settings
from hypothesis import strategies as st

import disttrain as dt
from disttrain.training.local import runner

keras = pytest.importorskip("keras")

# Keras's own: NumPy's new copy keyword, and words about what it was given.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore:.*:UserWarning")]
LIBRARIES = (dt, keras)

# Keras compares in float32: eighths are the same numbers there, so that a tie is a tie in both.
NUMBERS = st.integers(0, 8).map(lambda n: n / 8)
_FINITE_OR_NONE = st.one_of(NUMBERS, st.sampled_from([None, math.inf]))
METRICS = st.lists(st.one_of(NUMBERS, st.sampled_from([None, math.nan, math.inf])), min_size=1, max_size=12)


class KerasModel(FakeModel):
    """The stand-in, as Keras's callbacks look at it."""

    def __init__(self):
        super().__init__()
        self.metrics = []
        self.built = True
        self.optimizer = SimpleNamespace(learning_rate=np.float32(0.5), iterations=0, built=True)

    def save(self, path, overwrite=True):
        self.saved.append(path)

    def save_weights(self, filepath, overwrite=True):
        self.saved.append(str(filepath))


class OurModel(KerasModel):
    def save_weights(self, path, overwrite=True):
        self.saved.append(str(path))


def both(name, *arguments, **named):
    """(ours, its model), (Keras's, its model): begun."""
    pairs = []
    for library in LIBRARIES:
        model = OurModel() if library is dt else KerasModel()
        callback = getattr(library.callbacks, name)(*arguments, **named)
        callback.set_model(model)
        callback.set_params({"epochs": 12, "steps": 3, "verbose": 0})
        callback.on_train_begin()
        pairs.append((callback, model))
    return pairs


def run(callback, model, values, name="val_loss", batches=0):
    """Epochs in which the weight is the number of the epoch; gives the learning rates that they ended with."""
    rates = []
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch)
        model.weight = np.full(2, epoch, dtype=np.float32)
        for batch in range(batches):
            callback.on_train_batch_end(batch, {name: value})
        callback.on_epoch_end(epoch, {"loss": 1.0} if value is None else {"loss": 1.0, name: value})
        rates.append(float(model.optimizer.learning_rate))
        if model.stop_training:
            break
    callback.on_train_end()
    return rates


@settings(deadline=None)
@given(
    METRICS, st.integers(0, 4), NUMBERS, st.sampled_from(["min", "max"]), st.one_of(st.none(), NUMBERS), st.booleans(), st.integers(0, 3)
)
def test_early_stopping_stops_and_restores_alike(values, patience, min_delta, mode, baseline, restore, start):
    arguments = {"patience": patience, "min_delta": min_delta, "mode": mode, "baseline": baseline, "restore_best_weights": restore}
    seen = []
    for callback, model in both("EarlyStopping", start_from_epoch=start, **arguments):
        rates = run(callback, model, values)
        state = (callback.stopped_epoch, callback.best, callback.best_epoch, callback.wait)
        seen.append(repr((*state, len(rates), model.stop_training, model.weight.tolist())))
    assert seen[0] == seen[1]


@settings(deadline=None)
@given(METRICS, st.integers(0, 4), NUMBERS, st.sampled_from(["min", "max"]), st.integers(0, 3), st.sampled_from([0.0, 0.25, 0.5, 0.75]))
def test_a_plateau_reduces_the_rate_alike(values, patience, min_delta, mode, cooldown, factor):
    arguments = {"patience": patience, "min_delta": min_delta, "mode": mode, "cooldown": cooldown, "factor": factor, "min_lr": 1 / 16}
    (ours, our_model), (theirs, their_model) = both("ReduceLROnPlateau", **arguments)
    assert run(ours, our_model, values) == pytest.approx(run(theirs, their_model, values), rel=1e-6)
    assert repr((ours.wait, ours.cooldown_counter, ours.best)) == repr((theirs.wait, theirs.cooldown_counter, theirs.best))


# A NaN is left out: in Keras it is the best for ever where it comes first (tests/unit/callbacks/test_model_checkpoint.py).
@settings(deadline=None)
@given(
    st.lists(_FINITE_OR_NONE, min_size=1, max_size=12), st.booleans(), st.sampled_from(["min", "max"]),
    st.one_of(st.just("epoch"), st.integers(1, 8)), st.one_of(st.none(), NUMBERS),
)  # fmt: skip
def test_a_checkpoint_is_written_after_the_same_epochs_and_batches(tmp_path_factory, values, best_only, mode, freq, threshold):
    folder = tmp_path_factory.getbasetemp()
    name = f"{folder}/{{epoch:02d}}.keras" if freq == "epoch" else f"{folder}/{{epoch:02d}}-{{batch}}.keras"
    arguments = {"save_best_only": best_only, "mode": mode, "save_freq": freq, "initial_value_threshold": threshold}
    (ours, our_model), (theirs, their_model) = both("ModelCheckpoint", name, **arguments)
    theirs._set_monitor_op()  # Keras does so at the end of the first epoch only, and fails when batches are compared before it
    for callback, model in ((ours, our_model), (theirs, their_model)):
        run(callback, model, values, batches=0 if freq == "epoch" else 3)
    assert our_model.saved == their_model.saved and repr(ours.best) == repr(theirs.best)


@pytest.mark.parametrize(
    "schedule",
    [lambda epoch: 1.0 / (epoch + 1), lambda epoch, rate: rate * 0.5, lambda epoch, rate: np.float32(rate) if epoch else 0.25],
    ids=["one argument", "two arguments", "numpy"],
)
def test_a_schedule_sets_the_same_rates_and_logs_them(schedule):
    traces = []
    for callback, model in both("LearningRateScheduler", schedule):
        logged = []
        rates = []
        for epoch in range(4):
            callback.on_epoch_begin(epoch)
            rates.append(float(model.optimizer.learning_rate))
            logs = {"loss": 1.0}
            callback.on_epoch_end(epoch, logs)
            logged.append(logs["learning_rate"])
        traces.append([*rates, *logged])
    assert traces[0] == pytest.approx(traces[1], rel=1e-6)


@pytest.mark.parametrize("name", ["LearningRateScheduler", "EarlyStopping"])
def test_what_keras_refuses_is_refused_with_the_same_kind_of_error(name):
    arguments = [lambda epoch: "high"] if name == "LearningRateScheduler" else ["val_unheard_of"]
    for callback, _ in both(name, *arguments):
        with pytest.raises(ValueError):
            callback.on_epoch_begin(0)
            callback.on_epoch_end(0, {"val_loss": 1.0})


@given(st.lists(st.sampled_from([1.0, 0.0, math.nan, math.inf, -math.inf]), max_size=6))
def test_training_ends_at_the_same_loss(losses):
    ends = []
    for callback, model in both("TerminateOnNaN"):
        stops = []
        for batch, loss in enumerate(losses):
            callback.on_train_batch_end(batch, {"loss": loss})
            stops.append(model.stop_training)
        ends.append(stops)
    assert ends[0] == ends[1]


CELLS = st.one_of(NUMBERS, st.floats(), st.integers(-3, 3), st.lists(NUMBERS, max_size=3), st.sampled_from(["text", 'a "quote", comma']))
ROWS = st.lists(st.dictionaries(st.sampled_from(["loss", "accuracy", "val_loss", "f 1"]), CELLS), max_size=4)


@settings(deadline=None)
@given(ROWS, ROWS, st.sampled_from([",", ";", "\t"]), st.booleans())
def test_the_file_of_logs_is_the_same_byte_by_byte(tmp_path_factory, rows, more_rows, separator, append):
    folder, files = tmp_path_factory.mktemp("csv"), []
    for library in LIBRARIES:
        path = folder / f"{library.__name__}.csv"
        for logs in (rows, more_rows):
            callback = library.callbacks.CSVLogger(path, separator=separator, append=append)
            callback.on_train_begin()
            for epoch, entry in enumerate(logs):
                callback.on_epoch_end(epoch, dict(entry))
            callback.on_train_end()
        files.append(path.read_bytes())
    assert files[0] == files[1]


@given(st.lists(st.dictionaries(st.sampled_from(["loss", "accuracy", "val_loss"]), NUMBERS), max_size=5), st.integers(0, 3))
def test_history_holds_the_same(rows, initial_epoch):
    (ours, _), (theirs, _) = both("History")
    for callback in (ours, theirs):
        for epoch, logs in enumerate(rows, start=initial_epoch):
            callback.on_epoch_end(epoch, dict(logs))
    assert ours.history == theirs.history and ours.epoch == theirs.epoch


# -- models that are there --------------------------------------------------------------------------------------------------------------

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(12, 3)).astype("float32")
Y = RANDOM.normal(size=(12, 1)).astype("float32")


@pytest.fixture
def one_slice():
    with runner.installed(runner.LocalRunner(runner._InProcess())):
        yield


def models(optimizer, metrics=("mae",)):
    """(ours, Keras's), with the same weights."""
    pair = []
    for library in LIBRARIES:
        model = library.Sequential([library.layers.Input((3,)), library.layers.Dense(4), library.layers.Dense(1)])
        model.compile(optimizer(library), "mse", metrics=list(metrics))
        pair.append(model)
    pair[0].set_weights(pair[1].get_weights())
    return pair


def recorder(library, notes):
    """A callback that notes every hook, in order, with its index and the names in its logs."""

    def noting(hook, indexed):
        if indexed:
            return lambda self, index, logs=None: notes.append((hook, index, sorted(logs or {})))
        return lambda self, logs=None: notes.append((hook, None, sorted(logs or {})))

    hooks = {}
    for call in ("train", "test", "predict"):
        for edge in ("begin", "end"):
            hooks[f"on_{call}_{edge}"] = noting(f"on_{call}_{edge}", False)
            hooks[f"on_{call}_batch_{edge}"] = noting(f"on_{call}_batch_{edge}", True)
    for edge in ("begin", "end"):
        hooks[f"on_epoch_{edge}"] = noting(f"on_epoch_{edge}", True)
    return type("Recorder", (library.callbacks.Callback,), hooks)()


@pytest.mark.usefixtures("one_slice")
@pytest.mark.parametrize("validated", [False, True])
def test_a_fit_calls_the_same_hooks_in_the_same_order_with_the_same_names_in_the_logs(validated):
    seen = []
    for library, model in zip(LIBRARIES, models(lambda L: L.optimizers.SGD(0.01)), strict=True):
        notes: list[tuple] = []
        data = {"validation_data": (X, Y), "validation_batch_size": 6} if validated else {}
        model.fit(X, Y, batch_size=4, epochs=2, verbose=0, shuffle=False, callbacks=[recorder(library, notes)], **data)
        model.evaluate(X, Y, batch_size=6, verbose=0, callbacks=[recorder(library, notes)])
        model.predict(X, batch_size=6, verbose=0, callbacks=[recorder(library, notes)])
        seen.append(notes)
    assert seen[0] == seen[1]


@pytest.mark.usefixtures("one_slice")
def test_hooks_see_the_same_numbers():
    seen = []
    for library, model in zip(LIBRARIES, models(lambda L: L.optimizers.SGD(0.01)), strict=True):
        values: list[float] = []
        callback = library.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs, values=values: values.extend([logs["loss"], logs["mae"]]),
            on_epoch_end=lambda epoch, logs, values=values: values.extend(logs[name] for name in ("loss", "mae", "val_loss", "val_mae")),
        )
        model.fit(X, Y, batch_size=4, epochs=2, verbose=0, shuffle=False, validation_data=(X, Y), callbacks=[callback])
        seen.append(values)
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-4)


@pytest.mark.usefixtures("one_slice")
def test_a_callback_of_keras_works_here_as_it_is(tmp_path):
    class Own(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((epoch, sorted(logs), len(self.model.get_weights()), self.params["epochs"]))
            self.model.stop_training = epoch == 1

    seen: list[tuple] = []
    listed = dt.callbacks.CallbackList([Own(), keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))])
    assert not listed.needs_every_batch and not listed.needs_every_test_batch and not listed.needs_test_boundary
    assert dt.callbacks.CallbackList(keras.callbacks.TerminateOnNaN()).needs_every_batch
    ours, _ = models(lambda L: L.optimizers.SGD(0.01))
    callbacks = [Own(), keras.callbacks.CSVLogger(str(tmp_path / "log.csv")), keras.callbacks.TerminateOnNaN()]
    ours.fit(X, Y, epochs=4, verbose=0, callbacks=callbacks)
    assert seen == [(0, ["loss", "mae"], 4, 4), (1, ["loss", "mae"], 4, 4)]
    assert (tmp_path / "log.csv").read_text().startswith("epoch,loss,mae,val_loss,val_mae\n0,")


class Look:
    """Notes the weights at each hook behind the swap."""

    @staticmethod
    def made(library, notes):
        def look(self, *arguments, **named):
            notes.append([np.array(weight) for weight in self.model.get_weights()])

        names = ("on_epoch_begin", "on_epoch_end", "on_test_begin", "on_test_end", "on_train_end")
        return type("Look", (library.callbacks.Callback,), dict.fromkeys(names, look))()


@pytest.mark.usefixtures("one_slice")
@pytest.mark.parametrize("swap_on_epoch", [False, True])
@pytest.mark.parametrize("epochs", [1, 3])
def test_averages_are_in_the_model_at_the_same_hooks_and_validate_to_the_same_numbers(swap_on_epoch, epochs):
    pair = models(lambda L: L.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.8))
    seen, histories = [], []
    for library, model in zip(LIBRARIES, pair, strict=True):
        notes: list = []
        callbacks = [library.callbacks.SwapEMAWeights(swap_on_epoch=swap_on_epoch), Look.made(library, notes)]
        history = model.fit(
            X, Y, batch_size=4, epochs=epochs, verbose=0, shuffle=False, validation_data=(X, Y), callbacks=callbacks
        ).history
        seen.append([*notes, [np.array(weight) for weight in model.get_weights()]])
        histories.append(history)
    assert len(seen[0]) == len(seen[1])
    for ours, theirs in zip(*seen, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    for name, values in histories[1].items():
        np.testing.assert_allclose(histories[0][name], values, rtol=1e-4, err_msg=name)


@pytest.mark.usefixtures("one_slice")
@pytest.mark.parametrize("freq", ["epoch", 2, 3])
@pytest.mark.parametrize("stop_at", [0, 1, 2])
def test_a_backup_tells_of_the_same_epoch_and_batch_and_either_reads_the_others(tmp_path, freq, stop_at):
    told = []
    pair = models(lambda L: L.optimizers.Adam(0.01))
    for library, model in zip(LIBRARIES, pair, strict=True):
        folder = tmp_path / library.__name__

        class Interrupt(library.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                if epoch == stop_at:
                    raise RuntimeError("interrupted")

        callbacks = [library.callbacks.BackupAndRestore(str(folder), save_freq=freq), Interrupt()]
        with pytest.raises(RuntimeError, match="interrupted"):
            model.fit(X, Y, batch_size=4, epochs=4, verbose=0, shuffle=False, callbacks=callbacks)
        assert sorted(path.name for path in folder.iterdir()) == ["latest.weights.h5", "training_metadata.json"]
        told.append({key: json.loads((folder / "training_metadata.json").read_text())[key] for key in ("epoch", "batch")})
    assert told[0] == told[1]

    for library, source in ((dt, keras), (keras, dt)):
        fresh = models(lambda L: L.optimizers.Adam(0.01))[LIBRARIES.index(library)]
        callback = library.callbacks.BackupAndRestore(str(tmp_path / source.__name__), save_freq=freq)
        callback.set_params({"epochs": 4, "steps": 3})
        callback.set_model(fresh)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            callback.on_train_begin()
        assert fresh._initial_epoch >= told[0]["epoch"] and int(fresh.optimizer.iterations) > 0
