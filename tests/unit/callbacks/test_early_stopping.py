import json
import warnings

import numpy as np
import pytest
from callback_model import FakeModel, run_epochs
from hypothesis import given
from hypothesis import strategies as st

import disttrain as dt
from disttrain.callbacks import EarlyStopping
from disttrain.errors import CheckpointMismatch


def begun(model, **arguments):
    callback = EarlyStopping(**arguments)
    callback.set_model(model)
    callback.on_train_begin()
    return callback


def test_it_stops_after_patience_epochs_without_improvement(model):
    callback = begun(model, patience=2)
    run_epochs(callback, model, [0.5, 0.4, 0.4, 0.45, 0.1])
    assert model.stop_training and callback.stopped_epoch == 3 and callback.best_epoch == 1 and callback.best == 0.4


def test_a_change_below_min_delta_is_no_improvement(model):
    callback = begun(model, patience=1, min_delta=0.1)
    run_epochs(callback, model, [0.5, 0.45])
    assert callback.stopped_epoch == 1


def test_more_can_be_better_because_the_metric_says_so(model):
    callback = begun(model, monitor="val_accuracy", patience=1)
    run_epochs(callback, model, [0.5, 0.6, 0.6, 0.9], name="val_accuracy")
    assert callback.stopped_epoch == 2 and callback.best == 0.6


def test_the_name_of_a_metric_says_nothing_about_its_direction(model):
    callback = begun(model, monitor="val_acc")
    with pytest.raises(ValueError, match=r"monitor='val_acc', mode='auto'.*\n  expected  one of the logged names, nearest first: val_loss"):
        run_epochs(callback, model, [0.5])
    run_epochs(begun(model, monitor="val_acc", mode="max"), model, [0.5], name="val_acc")


def test_an_epoch_before_the_start_counts_for_nothing(model):
    callback = begun(model, patience=1, start_from_epoch=2)
    run_epochs(callback, model, [0.1, 0.1, 0.9, 0.8, 0.8])
    assert callback.best == 0.8 and callback.stopped_epoch == 4


def test_an_improvement_that_misses_the_baseline_does_not_end_the_wait(model):
    callback = begun(model, patience=2, baseline=0.2)
    run_epochs(callback, model, [0.5, 0.4, 0.4])
    assert callback.stopped_epoch == 2


def test_the_first_epoch_never_stops(model):
    run_epochs(begun(model, patience=0, mode="max"), model, [float("-inf")])
    assert not model.stop_training


def test_a_missing_value_warns_and_changes_nothing(model):
    callback = begun(model)
    with pytest.warns(UserWarning, match="EarlyStopping needs 'val_loss', which is not in the logs"):
        run_epochs(callback, model, [None])
    assert callback.wait == 0


def test_the_best_weights_come_back_at_the_end_even_without_stopping(model):
    callback = begun(model, patience=9, restore_best_weights=True)
    run_epochs(callback, model, [0.5, 0.1, 0.3])
    callback.on_train_end()
    assert model.weight.tolist() == [1.0, 1.0]


def test_it_begins_afresh_in_the_next_fit(model):
    callback = begun(model, patience=1)
    run_epochs(callback, model, [0.1, 0.2])
    model.stop_training = False
    callback.on_train_begin()
    run_epochs(callback, model, [0.9, 0.8])
    assert not model.stop_training and callback.stopped_epoch == 0


def test_it_says_when_it_stops(model, capsys):
    callback = begun(model, patience=1, verbose=1, restore_best_weights=True)
    run_epochs(callback, model, [0.1, 0.2])
    callback.on_train_end()
    assert capsys.readouterr().out == "Epoch 2: early stopping\nRestoring model weights from the end of the best epoch: 1.\n"


def test_weights_lost_in_a_restart_are_admitted(model):
    first = begun(model, patience=9, restore_best_weights=True)
    run_epochs(first, model, [0.1, 0.2])
    second = begun(model, patience=9, restore_best_weights=True)
    second.load_state_dict(first.state_dict())
    run_epochs(second, model, [0.3], first=2)
    with pytest.warns(UserWarning, match="the weights of the best epoch, 1, were lost in a restart"):
        second.on_train_end()
    assert model.weight.tolist() == [2.0, 2.0]


VALUES = st.lists(st.one_of(st.integers(0, 8).map(lambda n: n / 8), st.just(float("nan")), st.just(float("inf"))), min_size=1, max_size=10)


@given(VALUES, st.integers(0, 9), st.integers(0, 3), st.booleans(), st.sampled_from([None, 0.5]), st.integers(0, 2))
def test_a_restart_after_any_epoch_changes_nothing(values, cut, patience, restore, baseline, start):
    arguments = {"patience": patience, "restore_best_weights": restore, "baseline": baseline, "start_from_epoch": start}
    straight_model, model = FakeModel(), FakeModel()
    straight = begun(straight_model, **arguments)
    run_epochs(straight, straight_model, values)
    first = begun(model, **arguments)
    run_epochs(first, model, values[:cut])
    state, arrays = json.loads(json.dumps(first.state_dict(), allow_nan=False)), first.state_arrays()
    second = begun(model, **arguments)
    second.load_state_dict(state)
    if arrays:
        second.load_state_arrays(arrays)
    if not model.stop_training:
        run_epochs(second, model, values[cut:], first=len(values[:cut]))
    for callback in (straight, second):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            callback.on_train_end()
    assert repr(second.state_dict()) == repr(straight.state_dict())
    assert model.stop_training == straight_model.stop_training
    assert model.weight.tolist() == straight_model.weight.tolist()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"0": np.ones((2, 1))}, r"weight 0 with the shape \(2, 1\), expected \(2, 4\)"),
        ({"0": np.ones((2, 4)), "1": np.ones(3)}, r"weight 1 with the shape \(3,\), expected \(4,\)"),
        ({"0": np.ones((2, 4))}, "1 weights, expected 2"),
    ],
)
def test_best_weights_of_another_model_are_refused(arrays, words):
    callback = EarlyStopping("loss", restore_best_weights=True)
    callback.set_model(dt.Sequential([dt.Input((2,)), dt.layers.Dense(4)]))
    with pytest.raises(CheckpointMismatch, match=f"of another model: {words}"):
        callback.load_state_arrays({f"best_weights/{number}": array for number, array in arrays.items()})
    assert callback.best_weights is None
