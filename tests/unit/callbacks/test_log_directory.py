"""The TensorBoard callback when a fit begins again, fails, or loses workers at awkward moments."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import disttrain as dt
from disttrain.callbacks.boards.health import HealthCurves
from disttrain.errors import NotEnoughWorkers
from disttrain.telemetry import Health, Recovery, Save


class Told:
    """Telemetry of a call of a launched run."""

    def __init__(self, run_dir, call):
        self.run_dir, self.facts = run_dir, {"call": call}

    def health(self):
        return Health()

    def gradients(self):
        raise NotEnoughWorkers("none is left")

    def tell(self, event, **details):
        pass


def begun(model, telemetry, **arguments):
    callback = dt.callbacks.TensorBoard(update_freq="batch", **arguments)
    callback.telemetry = telemetry
    callback.set_model(model)
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    return callback


def batch_losses(folder):
    return [(event.step, event.value) for event in EventAccumulator(str(folder / "train")).Reload().Scalars("batch_loss")]


def another_process(monkeypatch):
    pid = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: pid)


@pytest.mark.parametrize(("call", "points"), [("1.0", [(1, 2.0)]), ("1.1", [(1, 1.0), (1, 2.0)])])
def test_an_attempt_without_a_checkpoint_leaves_no_points_to_the_next_attempt_of_the_same_fit(model, tmp_path, monkeypatch, call, points):
    first = begun(model, Told(str(tmp_path / "run"), "1.0"), log_dir=tmp_path)
    first.on_train_batch_end(0, {"loss": 1.0})
    first.state_dict()  # the driver dies here
    another_process(monkeypatch)
    second = begun(model, Told(str(tmp_path / "run"), call), log_dir=tmp_path)
    second.on_train_batch_end(0, {"loss": 2.0})
    second.on_train_end()
    assert batch_losses(tmp_path) == points


def test_two_callbacks_of_one_fit_leave_each_other_alone(model, tmp_path):
    both = [begun(model, Told(str(tmp_path / "run"), "1.0"), log_dir=tmp_path) for _ in range(2)]
    for callback in both:
        callback.on_train_batch_end(0, {"loss": 1.0})
        callback.on_train_end()
    assert batch_losses(tmp_path) == [(1, 1.0), (1, 1.0)]


def test_a_fit_that_fails_leaves_its_points_and_no_profiler(tmp_path):
    class Fails(dt.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                board._trace = trace
                raise KeyError("mine")

    model = dt.Sequential([dt.Input((2,)), dt.layers.Dense(1)])
    model.compile("sgd", "mse")
    board = dt.callbacks.TensorBoard(tmp_path, update_freq="batch")
    trace = SimpleNamespace(stopped=0)
    trace.stop = lambda: setattr(trace, "stopped", 1)
    with pytest.raises(KeyError, match="mine"):
        model.fit(np.ones((8, 2), np.float32), np.ones((8, 1), np.float32), batch_size=2, verbose=0, callbacks=[board, Fails()])
    assert [step for step, _ in batch_losses(tmp_path)] == [1, 2, 3]
    assert trace.stopped and board._trace is None


def test_what_ends_the_run_is_not_taken_for_a_picture_that_fails(model, tmp_path):
    callback = begun(model, Told(None, "1.0"), log_dir=tmp_path, histogram_freq=1, histograms=("gradients",))
    with pytest.raises(NotEnoughWorkers):
        callback.on_epoch_end(0, {"loss": 1.0})
    callback.abandon()


def test_an_evaluation_after_a_fit_that_an_earlier_process_finished_goes_to_its_folder(model, tmp_path):
    first = begun(model, Told(str(tmp_path), "1.0"))
    first.on_train_end()
    state = first.state_dict()
    recalled = dt.callbacks.TensorBoard()
    recalled.set_model(model)
    recalled.load_state_dict(state)
    recalled.on_test_end({"loss": 0.5})
    assert list((tmp_path / "tensorboard" / "validation").glob("*tfevents*"))


def test_recoveries_at_one_step_are_one_point_and_never_stand_on_the_point_of_an_epoch():
    curves = HealthCurves()
    curves.points(Health(), 4)
    health = Health(recoveries=(Recovery(4, 1.0, 1), Recovery(4, 2.0, 1)), saves=(Save(6, 0.5, 0.1, 9),))
    points = curves.points(health, 8)
    assert [point for point in points if point[0] == "run/recoveries"] == [("run/recoveries", 2.0, 5), ("run/recoveries", 2.0, 8)]
    assert [point for point in points if point[0] == "run/recovery_seconds"] == [("run/recovery_seconds", 3.0, 5)]
    assert ("run/checkpoint_seconds", 0.5, 6) in points


def test_the_callbacks_load_no_layers_no_pictures_and_no_tensorboard():
    code = "import disttrain.callbacks, sys; print([m for m in sys.modules if m.startswith(('disttrain.layers', 'tensorboard', 'PIL'))])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_of_more_saves_than_are_listed_each_is_shown_once():
    curves, shown = HealthCurves(), []
    for listed in (range(10), range(8, 18), range(30, 40), range(30, 40)):  # the newest ten, at each look
        saves = tuple(Save(step, 0.5, 0.1, 9) for step in listed)
        points = curves.points(Health(saves=saves, earlier_saves=listed[0]), step=100)
        shown += [step for tag, _, step in points if tag == "run/checkpoint_seconds"]
    assert shown == [*range(18), *range(30, 40)]
    curves.go_back(35, recoveries=0)
    points = curves.points(Health(saves=saves, earlier_saves=30), step=100)
    assert [step for tag, _, step in points if tag == "run/checkpoint_seconds"] == [36, 37, 38, 39]
