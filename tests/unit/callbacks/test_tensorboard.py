import json

import pytest
from callback_model import FakeModel
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from disttrain.callbacks import CallbackList, TensorBoard
from disttrain.testing.fake_clock import FakeClock


class Writer:
    def __init__(self, folder, *, purge_step=None):
        self.folder, self.purge_step, self.points, self.closed = folder, purge_step, [], False

    def add_scalar(self, tag, value, step):
        self.points.append((tag, value, step))

    def add_histogram(self, tag, values, step):
        self.points.append((tag, values.tolist(), step))

    def flush(self):
        pass

    def close(self):
        self.closed = True


@pytest.fixture
def opened():
    return {}


def begun(model, opened=None, state=None, **arguments):
    def open_writer(folder, *, purge_step=None):
        opened[folder] = Writer(folder, purge_step=purge_step)
        return opened[folder]

    callback = TensorBoard(**arguments) if opened is None else TensorBoard(open_writer=open_writer, **arguments)
    listed = CallbackList(callback, model=model, add_history=False)
    listed.on_train_begin()
    if state is not None:
        listed.load_state_dict(state)
    return listed


def epoch(listed, model, number, batches=2, logs=None):
    listed.on_epoch_begin(number)
    for batch in range(batches):
        model.optimizer.iterations += 1
        listed.on_train_batch_end(batch, {"loss": float(batch)})
    listed.on_test_begin()
    listed.on_test_end({"loss": 0.25})
    listed.on_epoch_end(number, {"loss": 0.5, "val_loss": 0.25} if logs is None else logs)


def test_the_tags_and_folders_are_those_of_keras(model, opened):
    listed = begun(model, opened, log_dir="logs/")
    epoch(listed, model, 0)
    listed.on_train_end()
    assert opened["logs/train"].points == [("epoch_loss", 0.5, 0), ("epoch_learning_rate", 0.1, 0)]
    assert opened["logs/validation"].points == [("evaluation_loss_vs_iterations", 0.25, 2), ("epoch_loss", 0.25, 0)]
    assert all(writer.closed for writer in opened.values())


def test_nothing_is_opened_before_there_is_something_to_write(model, opened):
    begun(model, opened).on_train_end()
    assert opened == {}


def test_batches_are_written_every_so_often(model, opened):
    listed = begun(model, opened, update_freq=2)
    for number in range(2):
        epoch(listed, model, number, batches=3)
    points = [point for point in opened["logs/train"].points if point[0] == "batch_loss"]
    assert points == [("batch_loss", 1.0, 2), ("batch_loss", 0.0, 4), ("batch_loss", 2.0, 6)]


def test_weights_and_speed_are_written_when_asked(model, opened):
    clock = FakeClock()
    listed = begun(model, opened, histogram_freq=2, write_steps_per_second=True, clock=clock)
    for number in range(3):
        listed.on_epoch_begin(number)
        model.optimizer.iterations += 10
        clock.advance(4.0)
        listed.on_epoch_end(number, {"loss": 0.5})
    points = opened["logs/train"].points
    assert [point for point in points if point[0] == "epoch_steps_per_second"] == [("epoch_steps_per_second", 2.5, n) for n in range(3)]
    assert [point[2] for point in points if point[0] == "dense/kernel/histogram"] == [0, 2]


def test_a_value_for_each_class_has_no_curve(model, opened):
    listed = begun(model, opened)
    listed.on_epoch_end(0, {"f1": [0.5, 1.0]})
    assert [tag for tag, *_ in opened["logs/train"].points] == ["epoch_learning_rate"]


@pytest.mark.parametrize(("update_freq", "train"), [("epoch", 2), ("batch", 5)])
def test_after_a_restart_the_points_to_come_are_purged(model, opened, update_freq, train):
    listed = begun(model, opened, update_freq=update_freq)
    for number in range(2):
        epoch(listed, model, number)
    state = json.loads(json.dumps(listed.state_dict()))
    assert opened["logs/train"].purge_step is None
    epoch(begun(model, opened, state=state, update_freq=update_freq), model, 2)
    assert (opened["logs/train"].purge_step, opened["logs/validation"].purge_step) == (train, 5)


def scalars(folder, tag):
    accumulator = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def test_the_files_are_read_by_tensorboard_and_a_resumed_run_shows_each_epoch_once(model, tmp_path):
    listed = begun(model, log_dir=tmp_path, histogram_freq=1)
    epoch(listed, model, 0, logs={"loss": 0.5})
    state = listed.state_dict()
    epoch(listed, model, 1, logs={"loss": 99.0})  # done, but lost with the process
    listed.on_train_end()

    again = FakeModel()
    again.optimizer.iterations = 2
    resumed = begun(again, log_dir=tmp_path, histogram_freq=1, state=state)
    for number in (1, 2):
        epoch(resumed, again, number, logs={"loss": 0.25 / number})
    resumed.on_train_end()
    assert scalars(tmp_path / "train", "epoch_loss") == [(0, 0.5), (1, 0.25), (2, 0.125)]
    assert [step for step, _ in scalars(tmp_path / "validation", "evaluation_loss_vs_iterations")] == [2, 4, 6]
    assert EventAccumulator(str(tmp_path / "train")).Reload().Tags()["tensors"] == ["dense/kernel/histogram"]


def test_evaluate_alone_closes_its_files(model, opened):
    listed = CallbackList(TensorBoard(open_writer=lambda folder, **_: opened.setdefault(folder, Writer(folder))), model=model)
    listed.on_test_begin()
    listed.on_test_end({"loss": 0.5})
    assert opened["logs/validation"].closed


@pytest.mark.parametrize(
    "arguments",
    [
        {"update_freq": "step"},
        {"update_freq": 0},
        {"histogram_freq": -1},
        {"embeddings_freq": True},
        {"profile_batch": -1},
        {"profile_batch": (3, 2)},
        {"profile_batch": "a"},
        {"histograms": ["biases"], "histogram_freq": 1},
        {"histograms": ["gradients"]},
        {"histograms": ["activations"], "histogram_freq": 1},
        {"hparams": [1]},
    ],
)
def test_what_it_cannot_do_is_refused_by_name(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        TensorBoard(**arguments)
