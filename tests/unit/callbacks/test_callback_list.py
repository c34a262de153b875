import json

import numpy as np
import pytest
import torch
from callback_model import FakeModel

from disttrain.callbacks import (
    Callback,
    CallbackList,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ProgbarLogger,
    SwapEMAWeights,
    TensorBoard,
    TerminateOnNaN,
)
from disttrain.callbacks.base import HOOKS
from disttrain.callbacks.progress_bar import active_bar


class Recorder(Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(("epoch", epoch, dict(logs)))


def test_callbacks_run_in_order_with_history_last_so_it_sees_what_they_put_into_the_logs(model):
    listed = CallbackList(LearningRateScheduler(lambda epoch: 0.5), add_history=True, model=model)
    listed.on_train_begin()
    listed.on_epoch_begin(0)
    listed.on_epoch_end(0, {"loss": 1.0})
    assert listed.history.history == {"learning_rate": [0.5], "loss": [1.0]}
    assert model.history is listed.history


def test_the_caller_sees_what_callbacks_put_into_the_logs(model):
    logs = {"loss": 1.0}
    CallbackList(LearningRateScheduler(lambda epoch: 0.5), model=model).on_epoch_end(0, logs)
    assert logs == {"loss": 1.0, "learning_rate": 0.1}


def test_one_callback_nested_lists_and_another_list_are_taken():
    one, two = Recorder(), Recorder()
    assert CallbackList(one, add_history=False).callbacks == [one]
    assert CallbackList([one, (two,)], add_history=False).callbacks == [one, two]
    assert CallbackList(CallbackList([one, two], add_history=False), add_history=False).callbacks == [one, two]


def test_history_and_progress_bar_are_added_once():
    history, bar = History(), ProgbarLogger()
    listed = CallbackList([history, bar], add_history=True, add_progbar=True)
    assert listed.callbacks == [history, bar] and listed.history is history
    assert [type(callback) for callback in CallbackList(add_history=True, add_progbar=True).callbacks] == [History, ProgbarLogger]
    assert CallbackList().history is None


@pytest.mark.parametrize(("wrong", "words"), [(EarlyStopping, "EarlyStopping is a class"), ("EarlyStopping", "is not a callback")])
def test_what_is_no_callback_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        CallbackList([wrong])


def test_logs_are_python_numbers():
    recorder = Recorder()
    CallbackList(recorder).on_epoch_end(0, {"loss": torch.tensor(0.5), "f1": np.array([0.25, 1.0]), "accuracy": np.float32(0.5)})
    assert recorder.seen == [("epoch", 0, {"loss": 0.5, "f1": [0.25, 1.0], "accuracy": 0.5})]
    assert type(recorder.seen[0][2]["accuracy"]) is float


class OnBatchEnd(Callback):
    def on_batch_end(self, batch, logs=None):
        pass


class OnTestBatch(Callback):
    def on_test_batch_begin(self, batch, logs=None):
        pass


@pytest.mark.parametrize(
    ("callback", "each", "each_test"),
    [
        (Recorder(), False, False),
        (OnBatchEnd(), True, False),
        (OnTestBatch(), False, True),
        (ProgbarLogger(), False, False),
        (TerminateOnNaN(), False, False),
        (LambdaCallback(on_epoch_end=print), False, False),
        (LambdaCallback(on_train_batch_begin=print), True, False),
        (ModelCheckpoint("m.keras"), False, False),
        (ModelCheckpoint("m.keras", save_freq=10), True, False),
        (TensorBoard(), False, False),
        (TensorBoard(update_freq="batch"), True, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_training_stops_at_each_batch_only_for_a_callback_that_wants_each(callback, each, each_test):
    listed = CallbackList(callback)
    assert (listed.needs_every_batch, listed.needs_every_test_batch) == (each, each_test)


def test_a_sampled_batch_reaches_only_those_content_with_samples():
    seen = []

    class Sampled(Callback):
        batch_hooks = "sampled"

        def on_train_batch_end(self, batch, logs=None):
            seen.append((batch, logs))

    class Each(Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise AssertionError("a sample is not each batch")

    CallbackList([Sampled(), Each()]).sample_batch(7, {"loss": torch.tensor(0.5)})
    assert seen == [(7, {"loss": 0.5})]


def test_every_hook_reaches_every_callback():
    called = []
    arguments = {hook: lambda *args, hook=hook, **kwargs: called.append(hook) for hook in HOOKS}
    listed = CallbackList([LambdaCallback(**arguments)], add_history=False)
    for hook in HOOKS:
        getattr(listed, hook)(*([0] if "batch" in hook or "epoch" in hook else []))
    assert called == list(HOOKS)


def test_the_train_hooks_call_the_names_keras_2_had():
    called = []

    class Old(Callback):
        def on_batch_begin(self, batch, logs=None):
            called.append(("begin", batch))

        def on_batch_end(self, batch, logs=None):
            called.append(("end", batch, logs["loss"]))

    listed = CallbackList(Old())
    listed.on_train_batch_begin(3)
    listed.on_train_batch_end(3, {"loss": 1.0})
    assert called == [("begin", 3), ("end", 3, 1.0)]


def test_states_are_kept_by_class_and_number(model):
    one, two = EarlyStopping(patience=3), EarlyStopping(monitor="loss", patience=3, restore_best_weights=True)
    listed = CallbackList([one, two], add_history=True, model=model)
    listed.on_train_begin()
    listed.on_epoch_end(0, {"loss": 0.5, "val_loss": float("nan")})
    state, arrays = json.loads(json.dumps(listed.state_dict(), allow_nan=False)), listed.state_arrays()
    assert set(state) == {"EarlyStopping", "EarlyStopping_1", "History"} and list(arrays) == ["EarlyStopping_1/best_weights/0"]

    again = CallbackList([EarlyStopping(), Recorder(), EarlyStopping(restore_best_weights=True)], add_history=True, model=FakeModel())
    again.on_train_begin()
    again.load_state_dict(state)
    again.load_state_arrays(arrays)
    assert again.callbacks[2].best == 0.5 and again.callbacks[2].best_weights[0].tolist() == [0.0, 0.0]
    assert repr(again.history.history) == "{'loss': [0.5], 'val_loss': [nan]}" and again.history.epoch == [0]


def test_a_subclass_that_forgets_to_call_super_still_works(model):
    class Forgetful(Callback):
        def __init__(self):
            self.count = 0

        def on_epoch_end(self, epoch, logs=None):
            self.count += 1
            self.model.stop_training = True

    forgetful = Forgetful()
    CallbackList(forgetful, model=model, params={"epochs": 3}).on_epoch_end(0, {})
    assert model.stop_training and forgetful.params["epochs"] == 3


def test_an_exception_in_a_callback_is_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        CallbackList(LambdaCallback(on_epoch_end=lambda epoch, logs: 1 / 0)).on_epoch_end(0, {})


def test_an_unknown_hook_lists_the_nearest_first():
    with pytest.raises(ValueError, match=r"on_epoch_ends=...\): no such hook.\n  expected  one of on_epoch_end, "):
        LambdaCallback(on_epoch_ends=print)


class OnTestBegin(Callback):
    def on_test_begin(self, logs=None):
        pass


class OnPredictBatch(Callback):
    def on_predict_batch_end(self, batch, logs=None):
        pass


@pytest.mark.parametrize(
    ("callback", "test_boundary", "each_predicted"),
    [
        (Recorder(), False, False),
        (OnTestBegin(), True, False),
        (OnPredictBatch(), False, True),
        (SwapEMAWeights(), True, False),
        (LambdaCallback(on_test_end=print), True, False),
        (LambdaCallback(on_predict_batch_begin=print), False, True),
        (ProgbarLogger(), False, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_stop_before_validation_and_at_predicted_batches_is_for_those_that_ask(callback, test_boundary, each_predicted):
    listed = CallbackList(callback)
    assert (listed.needs_test_boundary, listed.needs_every_predict_batch) == (test_boundary, each_predicted)


def test_a_callback_added_later_knows_what_the_others_know(model):
    listed, late, telemetry = CallbackList(model=model, epochs=3), Recorder(), object()
    listed.set_telemetry(telemetry)
    listed.append(late)
    listed.append(History())
    assert late.model is model and late.params == {"epochs": 3} and late.telemetry is telemetry
    assert listed.callbacks[0] is late and listed.history is listed.callbacks[1]
    with pytest.raises(ValueError, match="is not a callback"):
        listed.append("late")


def test_abandoning_a_call_leaves_no_bar_and_hides_no_error(model, capsys):
    class Fails(Callback):
        def abandon(self):
            raise RuntimeError("while cleaning up")

    class FromElsewhere:
        def __getattr__(self, hook):
            if hook.startswith(("on_", "set_")):
                return lambda *arguments, **named: None
            raise AttributeError(hook)

    listed = CallbackList([Fails(), FromElsewhere()], add_progbar=True, model=model, params={"verbose": 1, "epochs": 2, "steps": 3})
    listed.on_train_begin()
    listed.on_epoch_begin(0)
    assert active_bar() is not None
    listed.abandon()
    assert active_bar() is None


def test_params_may_be_keywords_as_in_keras():
    recorder = Recorder()
    CallbackList([recorder], epochs=4, params={"steps": 2})
    assert recorder.params == {"steps": 2, "epochs": 4}


def test_a_loss_that_is_no_number_is_offered_to_those_that_end_the_training_at_one(model, capsys):
    assert CallbackList([Recorder()], model=model).stops_at(3, float("nan")) is False and not model.stop_training
    assert CallbackList([TerminateOnNaN()], model=model).stops_at(3, float("nan")) is True and model.stop_training
    with pytest.raises(RuntimeError, match="encountered at batch 3: the loss became inf"):
        CallbackList([TerminateOnNaN(raise_error=True)], model=model).stops_at(3, float("inf"))
