"""The driver is restarted at any boundary: the callbacks go on as if nothing had happened."""

import json

import numpy as np
from callback_model import FakeModel
from hypothesis import given, settings
from hypothesis import strategies as st

from disttrain.callbacks import (
    BackupAndRestore,
    CallbackList,
    CSVLogger,
    EarlyStopping,
    Goodput,
    GradientNorms,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
)

BATCHES = 3


class Training:
    """A training as callbacks see it: its model outlives the driver, as weights and learning rate do in a checkpoint."""

    run_dir = None

    def __init__(self, folder, epochs):
        self.model, self.folder, self.epochs, self.step = FakeModel(), folder, epochs, 0
        self.rates: list[float] = []
        self.driver()

    def driver(self, state=None, arrays=None, epoch=0):
        """Start the process of the script."""
        self.callbacks = CallbackList(
            [
                EarlyStopping(patience=2, restore_best_weights=True, min_delta=0.125),
                ReduceLROnPlateau(monitor="loss", factor=0.5, patience=1, cooldown=1),
                EarlyStopping(monitor="loss", patience=3, mode="max"),
                LearningRateScheduler(lambda epoch, rate: rate * 0.75 if epoch % 2 else rate),
                ModelCheckpoint(f"{self.folder}/{{epoch}}.keras", save_best_only=True),
                ModelCheckpoint(f"{self.folder}/{{epoch}}-{{batch}}.weights.h5", save_weights_only=True, save_freq=4),
                GradientNorms(freq=2),
                Goodput(),
                CSVLogger(f"{self.folder}/log.csv"),
            ],
            add_history=True,
            model=self.model,
        )
        self.callbacks.set_telemetry(self)
        self.callbacks.on_train_begin()
        if state is not None:
            self.callbacks.load_state_dict(state)
            self.callbacks.load_state_arrays(arrays)
        self.callbacks.on_epoch_begin(epoch)

    def restart(self, epoch):
        state = json.loads(json.dumps(self.callbacks.state_dict(), allow_nan=False))
        self.driver(state, {name: array.copy() for name, array in self.callbacks.state_arrays().items()}, epoch)

    def gradients(self):
        return {"dense.kernel": np.array([float(self.step)])}

    def health(self):
        from disttrain.telemetry import Health

        return Health()

    def run(self, values, restarts):
        """Epochs with these values of (loss, val_loss); a restart after each boundary in `restarts`."""
        boundary = 0
        for epoch, (loss, val_loss) in enumerate(values):
            for batch in range(BATCHES):
                self.step += 1
                self.model.weight = np.full(2, self.step, dtype=np.float32)
                self.callbacks.on_train_batch_end(batch, {"loss": loss})
                if boundary in restarts:
                    self.restart(epoch)
                boundary += 1
            self.callbacks.on_epoch_end(epoch, {"loss": loss, "val_loss": val_loss})
            self.rates.append(self.model.optimizer.learning_rate)
            if self.model.stop_training or epoch == len(values) - 1:
                break
            self.callbacks.on_epoch_begin(epoch + 1)
            if boundary in restarts:
                self.restart(epoch + 1)
            boundary += 1
        self.callbacks.on_train_end()
        return self


VALUES = st.one_of(st.integers(0, 8).map(lambda n: n / 8), st.sampled_from([float("nan"), float("inf")]))


@settings(deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6), st.sets(st.integers(0, 4 * 6), max_size=4))
def test_restarts_at_any_batches_and_epochs_change_no_decision_and_no_file(tmp_path_factory, values, restarts):
    folders = [tmp_path_factory.mktemp("restart") for _ in range(2)]
    straight = Training(folders[0], len(values)).run(values, set())
    cut = Training(folders[1], len(values)).run(values, restarts)
    assert repr(cut.callbacks.state_dict()) == repr(straight.callbacks.state_dict())
    assert cut.rates == straight.rates and cut.model.stop_training == straight.model.stop_training
    assert cut.model.weight.tolist() == straight.model.weight.tolist()
    saved = [[path.replace(str(folder), "") for path in run.model.saved] for run, folder in ((straight, folders[0]), (cut, folders[1]))]
    assert saved[0] == saved[1]
    assert (folders[0] / "log.csv").read_bytes() == (folders[1] / "log.csv").read_bytes()
    assert repr(cut.callbacks.history.history) == repr(straight.callbacks.history.history)


@given(st.integers(1, 5), st.integers(0, 20))
def test_a_backup_counts_its_batches_across_a_restart(freq, cut):
    saves = []

    def made(state=None):
        callback = BackupAndRestore("nowhere", save_freq=freq)
        callback._save = lambda: saves.append(step)
        if state is not None:
            callback.load_state_dict(json.loads(json.dumps(state)))
        return callback

    callback, step = made(), 0
    for epoch in range(7):
        callback.on_epoch_begin(epoch)
        for batch in range(BATCHES):
            callback.on_train_batch_end(batch)
            if step == cut:
                callback = made(callback.state_dict())
                callback.on_epoch_begin(epoch)
            step += 1
        callback.on_epoch_end(epoch)
    assert saves == [number for number in range(21) if (number + 1) % freq == 0]
