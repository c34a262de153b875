import json

import fsspec
import numpy as np
import pytest

import disttrain as dt
from disttrain.callbacks import BackupAndRestore
from disttrain.errors import CheckpointError
from disttrain.telemetry import Health
from disttrain.training.local import runner

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(8, 3)).astype("float32"), RANDOM.normal(size=(8, 1)).astype("float32")


def trained(steps, units=1):
    dt.set_random_seed(0)
    model = dt.Sequential([dt.Input((3,)), dt.layers.Dense(units)])
    model.compile(dt.optimizers.Adam(0.1), "mse")
    for _ in range(steps):
        model.train_on_batch(X, Y)
    return model


def begun(folder, model, steps=4, **arguments):
    callback = BackupAndRestore(folder, **arguments)
    callback.set_model(model)
    callback.set_params({"steps": steps})
    callback.on_train_begin()
    return callback


def place(model):
    return getattr(model, "_initial_epoch", None), getattr(model, "_initial_batch", None)


def digest(model):
    return [weight.tobytes() for weight in model.get_weights()] + [slot.numpy().tobytes() for slot in model.optimizer.slots["momentum"]]


@pytest.mark.parametrize("url", ["{}/a/backup", "memory://backup-test/{}"])
def test_the_next_fit_begins_with_weights_optimizer_and_epoch_of_the_interrupted_one(tmp_path, url):
    folder, model, again = url.format(tmp_path), trained(5), trained(0)
    begun(folder, model).on_epoch_end(2)
    assert place(model) == (None, None)
    begun(folder, again)
    assert place(again) == (3, 0) and digest(again) == digest(model) and again.optimizer.iterations == 5


def test_the_files_are_those_of_keras(tmp_path):
    begun(tmp_path, trained(1)).on_epoch_end(0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest.weights.h5", "training_metadata.json"]
    metadata = json.loads((tmp_path / "training_metadata.json").read_text())
    assert (metadata["epoch"], metadata["batch"], metadata["batches_done"]) == (1, 0, 0)


def test_within_an_epoch_the_batch_is_remembered(tmp_path):
    callback = begun(tmp_path, trained(1), save_freq=3)
    callback.on_epoch_begin(0)
    for batch in range(4):
        callback.on_train_batch_end(batch)
    callback.on_epoch_end(0)
    callback.on_epoch_begin(1)
    again = trained(0)
    begun(tmp_path, again)
    assert place(again) == (0, 3)
    callback.on_train_batch_end(0)
    callback.on_train_batch_end(1)  # the third since the save, the second of this epoch
    begun(tmp_path, again)
    assert place(again) == (1, 2)


def test_after_the_last_batch_of_an_epoch_the_next_epoch_comes(tmp_path):
    callback = begun(tmp_path, trained(1), save_freq=4)
    callback.on_epoch_begin(5)
    for batch in range(4):
        callback.on_train_batch_end(batch)
    again = trained(0)
    begun(tmp_path, again)
    assert place(again) == (6, 0)


def test_a_finished_training_removes_its_files_and_nobody_elses(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    callback = begun(tmp_path / "b", trained(1), double_checkpoint=True)
    callback.on_epoch_end(0)
    callback.on_epoch_end(1)
    callback.on_train_end()
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["notes.txt"]
    other = begun(tmp_path / "c", trained(1))
    other.on_epoch_end(0)
    other.on_train_end()
    assert not (tmp_path / "c").exists()


def test_the_files_stay_when_asked(tmp_path):
    callback = begun(tmp_path, trained(1), delete_checkpoint=False)
    callback.on_epoch_end(0)
    callback.on_train_end()
    assert (tmp_path / "latest.weights.h5").exists()


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("moment", range(4))
def test_an_interruption_at_any_moment_of_a_save_leaves_a_pair_that_fits(tmp_path, monkeypatch, moment):
    from fsspec.implementations.local import LocalFileSystem

    old, new = trained(2), trained(3)
    begun(tmp_path, old).on_epoch_end(1)
    callback = begun(tmp_path, trained(0))
    callback.model = new
    left = [moment]

    def counted(method):
        def run(self, *arguments, **named):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return method(self, *arguments, **named)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "mv", counted(LocalFileSystem.mv))
        patch.setattr(LocalFileSystem, "pipe_file", counted(LocalFileSystem.pipe_file))
        if moment < 3:
            with pytest.raises(Killed):
                callback.on_epoch_end(2)
        else:
            callback.on_epoch_end(2)
    again = trained(0)
    begun(tmp_path, again)
    assert (place(again), digest(again)) in [((2, 0), digest(old)), ((3, 0), digest(new))]
    assert place(again) == ((2, 0) if moment < 2 else (3, 0))


def test_a_damaged_backup_is_named_and_the_one_before_it_serves_where_it_is_kept(tmp_path):
    for double in (False, True):
        folder, before, after = tmp_path / str(double), trained(1), trained(2)
        callback = begun(folder, before, double_checkpoint=double)
        callback.on_epoch_end(0)
        callback.model = after
        callback.on_epoch_end(1)
        (folder / "latest.weights.h5").write_bytes(b"damaged")
        again = trained(0)
        if double:
            begun(folder, again, double_checkpoint=True)
            assert place(again) == (1, 0) and digest(again) == digest(before)
        else:
            with pytest.raises(CheckpointError, match=r"cannot be restored: .*latest.weights.h5 does not hold the weights"):
                begun(folder, again)


def test_a_backup_of_another_model_is_refused(tmp_path):
    begun(tmp_path, trained(1)).on_epoch_end(0)
    with pytest.raises(CheckpointError, match="cannot be restored"):
        begun(tmp_path, trained(0, units=2))


class Launched:
    run_dir = "memory://run"
    facts = {}  # noqa: RUF012

    def health(self):
        return Health()


def test_in_a_launch_it_leaves_the_work_to_the_checkpoints_of_the_run(tmp_path):
    callback = BackupAndRestore(tmp_path / "b")
    callback.set_model(trained(1))
    callback.telemetry = Launched()
    with pytest.warns(UserWarning, match="does nothing in a launch"):
        callback.on_train_begin()
    callback.on_epoch_end(0)
    callback.on_train_end()
    assert not fsspec.filesystem("file").exists(str(tmp_path / "b"))


class Interrupt(dt.callbacks.Callback):
    """Raises after so many batches."""

    def __init__(self, batches):
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("interrupted")


@pytest.mark.parametrize("freq", ["epoch", 1, 3])
@pytest.mark.parametrize("batches", [1, 2, 4, 5, 7, 8])
def test_an_interrupted_fit_ends_with_the_bits_of_one_that_was_not(tmp_path, freq, batches):
    def fit(*callbacks):
        with runner.installed(runner.LocalRunner(runner._InProcess())):  # as in a process of its own
            model = trained(0)
            model.fit(X, Y, batch_size=2, epochs=3, verbose=0, callbacks=list(callbacks))
        return model

    straight = fit()
    with pytest.raises(RuntimeError, match="interrupted"):
        fit(BackupAndRestore(tmp_path / "b", save_freq=freq), Interrupt(batches))
    again = fit(BackupAndRestore(tmp_path / "b", save_freq=freq))
    assert digest(again) == digest(straight) and again.optimizer.iterations == 12
    assert not (tmp_path / "b").exists()
