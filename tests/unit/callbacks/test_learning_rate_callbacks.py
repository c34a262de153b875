import json

import numpy as np
import pytest
from callback_model import FakeModel, run_epochs

from disttrain.callbacks import LearningRateScheduler, ReduceLROnPlateau, TerminateOnNaN


def begun(callback, model):
    callback.set_model(model)
    callback.on_train_begin()
    return callback


def test_a_plateau_reduces_the_rate_and_logs_the_one_of_the_epoch(model):
    logs = run_epochs(begun(ReduceLROnPlateau(factor=0.5, patience=2), model), model, [0.5, 0.5, 0.5, 0.5])
    assert [entry["learning_rate"] for entry in logs] == [0.1, 0.1, 0.1, 0.05]


def test_nothing_is_counted_while_it_cools_down(model):
    logs = run_epochs(begun(ReduceLROnPlateau(factor=0.5, patience=1, cooldown=2), model), model, [0.5] * 5)
    assert [entry["learning_rate"] for entry in logs] == [0.1, 0.1, 0.05, 0.05, 0.025]


def test_the_rate_stays_above_its_minimum(model):
    run_epochs(begun(ReduceLROnPlateau(factor=0.1, patience=1, min_lr=0.03), model), model, [0.5] * 6)
    assert model.optimizer.learning_rate == 0.03


def test_a_factor_that_does_not_reduce_is_refused():
    with pytest.raises(ValueError, match=r"factor=1.0"):
        ReduceLROnPlateau(factor=1.0)


def test_a_restart_keeps_the_wait(model):
    first = begun(ReduceLROnPlateau(patience=2), model)
    run_epochs(first, model, [0.5, 0.5])
    second = begun(ReduceLROnPlateau(patience=2), model)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    run_epochs(second, model, [0.5], first=2)
    assert model.optimizer.learning_rate == pytest.approx(0.01)


@pytest.mark.parametrize("schedule", [lambda epoch: 0.1 / (epoch + 1), lambda epoch, rate: 0.1 / (epoch + 1)])
def test_a_schedule_of_one_or_two_arguments_sets_the_rate_before_each_epoch(model, schedule):
    logs = run_epochs(begun(LearningRateScheduler(schedule), model), model, [0.5, 0.5])
    assert [entry["learning_rate"] for entry in logs] == [0.1, 0.05]


def test_a_type_error_inside_a_schedule_is_not_taken_for_its_signature(model):
    with pytest.raises(TypeError, match="unsupported operand"):
        begun(LearningRateScheduler(lambda epoch, rate: rate + "x"), model).on_epoch_begin(0)


def test_a_schedule_must_give_a_float(model):
    with pytest.raises(ValueError, match="gave 1; expected a float"):
        begun(LearningRateScheduler(lambda epoch: 1), model).on_epoch_begin(0)
    begun(LearningRateScheduler(lambda epoch: np.float32(0.5)), model).on_epoch_begin(0)
    assert model.optimizer.learning_rate == 0.5 and type(model.optimizer.learning_rate) is float


def test_a_restart_within_an_epoch_does_not_reduce_twice(model):
    first = begun(LearningRateScheduler(lambda epoch, rate: rate / 2), model)
    first.on_epoch_begin(0)
    again = FakeModel()
    again.optimizer.learning_rate = model.optimizer.learning_rate
    second = begun(LearningRateScheduler(lambda epoch, rate: rate / 2), again)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    second.on_epoch_begin(0)
    assert again.optimizer.learning_rate == 0.05
    second.on_epoch_begin(1)
    assert again.optimizer.learning_rate == 0.025


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_training_ends_at_a_loss_that_is_no_number(model, loss, capsys):
    begun(TerminateOnNaN(), model).on_train_batch_end(3, {"loss": loss})
    assert model.stop_training and capsys.readouterr().out == "Batch 3: Invalid loss, terminating training\n"
    with pytest.raises(RuntimeError, match=f"NaN or Inf loss encountered at batch 3: the loss became {loss}"):
        begun(TerminateOnNaN(raise_error=True), model).on_train_batch_end(3, {"loss": loss})


def test_training_goes_on_while_the_loss_is_a_number(model):
    begun(TerminateOnNaN(), model).on_train_batch_end(0, {"loss": 1e30})
    assert not model.stop_training
