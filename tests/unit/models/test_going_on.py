"""A fit in one process that goes on from a full checkpoint ends with the bits of one that was never interrupted."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from thread_runs import AtEpoch, V, X, Y, driven, make_model, train

import disttrain as dt
from disttrain.callbacks import EarlyStopping, ModelCheckpoint
from disttrain.checkpoint import Store, list_checkpoints
from disttrain.errors import CheckpointCorrupt, CheckpointMismatch, RunMismatch, UsageError
from disttrain.training.local import runner


class Interrupted(Exception):
    """Ends a fit."""


class Dies(dt.Callback):
    """At the end of an epoch, or after so many batches."""

    def __init__(self, epoch: int | None = None, batches: int | None = None) -> None:
        super().__init__()
        self.epoch, self.batches = epoch, batches
        self.batch_hooks = "every" if batches is not None else "sampled"

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise Interrupted

    def on_train_batch_end(self, batch, logs=None):
        if self.batches is not None:
            self.batches -= 1
            if self.batches < 0:
                raise Interrupted


class Never(Dies):
    """In the place of one that dies: a call with hooks at other batches is another call."""

    def on_train_batch_end(self, batch, logs=None):
        pass


def fit(*callbacks: Any, model: Any = None, epochs: int = 4, x: Any = X, y: Any = Y, **arguments: Any) -> tuple[str, dict[str, Any]]:
    """(digest, history) of a fit in a process of its own."""
    model = model or make_model()
    arguments = {"batch_size": 8, "validation_split": 0.2, "verbose": 0, **arguments}
    with runner.installed(runner.LocalRunner(runner._InProcess())):
        history = model.fit(x, y, epochs=epochs, callbacks=list(callbacks), **arguments).history
    return model.digest(), history


@pytest.mark.parametrize(
    ("freq", "dies"),
    [("epoch", {"epoch": 2}), (4, {"batches": 9}), ("epoch", {"batches": 7}), (1, {"epoch": 3})],
)
def test_an_interrupted_fit_goes_on_with_weights_optimizer_callbacks_and_history(tmp_path, freq, dies):
    def callbacks() -> list[Any]:
        return [ModelCheckpoint(tmp_path / "kept", save_freq=freq, keep=2), EarlyStopping("loss", patience=9, restore_best_weights=True)]

    never = Never(batches=0 if "batches" in dies else None)
    expected = fit(*callbacks(), never)
    shutil.rmtree(tmp_path / "kept")
    with pytest.raises(Interrupted):
        fit(*callbacks(), Dies(**dies))
    assert 1 <= len(list_checkpoints(Store(str(tmp_path / "kept")))) <= 2
    stopping = callbacks()
    assert fit(*stopping, never, resume_from=tmp_path / "kept") == expected
    assert stopping[1].best == min(expected[1]["loss"])


def test_more_epochs_go_on_from_where_a_fit_ended_and_as_many_change_nothing(tmp_path):
    kept = ModelCheckpoint(tmp_path / "kept")

    def averaged() -> Any:
        model = make_model()
        model.compile(dt.optimizers.Adam(0.02, use_ema=True, ema_momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    expected = fit(model=averaged(), epochs=4)
    three = fit(kept, model=averaged(), epochs=3)
    assert fit(model=averaged(), epochs=3, resume_from=tmp_path / "kept") == three
    assert fit(model=averaged(), epochs=4, resume_from=tmp_path / "kept") == expected


def test_data_that_are_read_in_their_own_order_go_on_where_they_stood(tmp_path):
    def batches() -> Any:
        for _ in range(4):
            chosen = np.random.default_rng(np.random.randint(1 << 30)).integers(0, 30, 8)  # of the seeded generator
            yield X[chosen], Y[chosen]

    plain = {"x": batches, "y": None, "batch_size": None, "validation_split": 0.0}
    for freq, dies in (("epoch", {"epoch": 2}), (3, {"batches": 5})):
        folder = tmp_path / str(freq)
        never = Never(batches=0 if "batches" in dies else None)
        expected = fit(ModelCheckpoint(folder, save_freq=freq, monitor="loss"), never, **plain)
        shutil.rmtree(folder)
        with pytest.raises(Interrupted):
            fit(ModelCheckpoint(folder, save_freq=freq, monitor="loss"), Dies(**dies), **plain)
        assert fit(ModelCheckpoint(folder, save_freq=freq, monitor="loss"), never, resume_from=folder, **plain) == expected


def test_a_fit_goes_on_in_one_process_from_what_a_launch_has_kept(tmp_path):
    dt.set_virtual_workers(V)
    try:
        with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
            expected = train(epochs=4)
        with pytest.raises(KeyboardInterrupt), driven(2, url=str(tmp_path / "run"), every="epoch") as run:

            def die() -> None:
                raise KeyboardInterrupt

            train(AtEpoch(2, die), epochs=4)
        assert run.events("committed")
        with runner.installed(runner.LocalRunner(runner._InProcess(V, 1))):
            model = make_model()
            history = model.fit(X, Y, batch_size=8, epochs=4, validation_split=0.2, verbose=0, resume_from=tmp_path / "run").history
        assert (model.digest(), history) == expected
    finally:
        runner._local.virtual_workers, runner._local.threads = 1, None


def test_checkpoints_are_kept_so_often_and_at_the_end(tmp_path):
    fit(ModelCheckpoint(tmp_path / "never", every_seconds=3600.0))
    assert [info.step for info in list_checkpoints(Store(str(tmp_path / "never")))] == [12]
    fit(ModelCheckpoint(tmp_path / "always", every_seconds=1e-9, keep=9))
    assert {3, 6, 9, 12} <= {info.step for info in list_checkpoints(Store(str(tmp_path / "always")))}


def test_only_the_best_is_kept_where_that_is_asked_for(tmp_path):
    _, history = fit(ModelCheckpoint(tmp_path / "best", monitor="loss", mode="max", save_best_only=True, keep=1))
    best = int(np.argmax(history["loss"]))
    assert [info.step for info in list_checkpoints(Store(str(tmp_path / "best")))] == [3 * (best + 1)]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("going-on") / "kept"
    fit(ModelCheckpoint(folder), epochs=2)
    return folder


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"batch_size": 4}, RunMismatch, "batch_size of the train steps: 8 then, 4 now"),
        ({"x": X + 1}, RunMismatch, "samples with other values then and now"),
        ({"epochs": 1}, RunMismatch, "further than this fit goes with epochs=1"),
        ({"model": "wider"}, RunMismatch, "weight"),
        ({"resume_from": "nothing"}, UsageError, "there is no checkpoint"),
    ],
)
def test_what_is_of_another_fit_is_refused_by_name(kept, tmp_path, change, error, words):
    wider = make_model(dt.layers.Dense(5, name="wider")) if change.get("model") else None
    folder = tmp_path / "nothing" if "resume_from" in change else kept
    others = {name: value for name, value in change.items() if name not in ("model", "resume_from")}
    with pytest.raises(error, match=words):
        fit(model=wider, resume_from=folder, **{"epochs": 3, **others})


def test_a_fit_after_other_calls_is_another_one(kept):
    model = make_model()
    with runner.installed(runner.LocalRunner(runner._InProcess())):
        model.predict(X, verbose=0)
        with pytest.raises(RunMismatch, match="call 0 of its script, this fit is call 1"):
            model.fit(X, Y, batch_size=8, epochs=3, validation_split=0.2, verbose=0, resume_from=kept)


def test_a_damaged_one_is_passed_over_and_a_damaged_one_by_name_is_refused(kept, tmp_path):
    harmed = Path(shutil.copytree(kept, tmp_path / "harmed"))
    newest = list_checkpoints(Store(str(harmed)))[0].name
    (path,) = harmed.glob(f"checkpoints/data/{newest}*/*")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointCorrupt):
        fit(epochs=3, resume_from=f"{harmed}/{newest}")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert fit(epochs=3, resume_from=harmed) == fit(epochs=3)
    assert any("passed over" in str(warning.message) for warning in told)


def test_a_launch_keeps_its_own_and_goes_on_by_its_run_directory(kept, tmp_path):
    with driven(1, url=str(tmp_path / "run")):
        with pytest.raises(UsageError, match="disttrain checkpoints copy"):
            make_model().fit(X, Y, batch_size=8, verbose=0, resume_from=kept)
        with pytest.warns(UserWarning, match="keeps nothing in a launch"):
            train(ModelCheckpoint(tmp_path / "kept"), epochs=1)
    assert not (tmp_path / "kept").exists()


def test_the_run_directory_of_a_launch_is_not_written_into(tmp_path):
    with driven(1, url=str(tmp_path / "run")):
        train(epochs=1)
    with pytest.raises(UsageError, match="is the run directory of a launch"):
        fit(ModelCheckpoint(tmp_path / "run"), epochs=1)


def test_a_training_that_begins_anew_says_so_and_takes_the_place_of_the_one_before(kept, tmp_path, capsys):
    folder = Path(shutil.copytree(kept, tmp_path / "kept"))
    fit(ModelCheckpoint(folder, keep=2), epochs=3)
    assert "the newest of step 6: this one begins anew" in capsys.readouterr().out
    assert [info.attempt for info in list_checkpoints(Store(str(folder)))] == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"filepath": "m.ckpt"}, "or a folder, which has no ending"),
        ({"filepath": "kept/{epoch:02d}"}, "expected one folder"),
        ({"filepath": "m.keras", "keep": 2}, "expected a path without an ending"),
        ({"filepath": "kept", "every_seconds": 0}, "expected seconds, above 0"),
        ({"filepath": "kept", "every_seconds": 5, "save_freq": 3}, "without save_freq"),
        ({"filepath": "kept", "keep": 0}, "keep=0"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(arguments, words):
    with pytest.raises(ValueError, match=words):
        ModelCheckpoint(**arguments)


def test_another_model_with_the_same_call_is_refused(kept, monkeypatch):
    """Where a tool wrote the checkpoint, and nothing is known of the call."""
    from disttrain.models import going_on

    monkeypatch.setattr(going_on, "differences", lambda then, now: ([], []))
    with pytest.raises(CheckpointMismatch, match="the state of another model"):
        fit(model=make_model(dt.layers.Dense(5, name="wider")), epochs=3, resume_from=kept)
