import json

import fsspec
import pytest
from callback_model import FakeModel, run_epochs

from disttrain.callbacks import ModelCheckpoint
from disttrain.models.saving.files import write_bytes


def begun(model, *arguments, **named):
    callback = ModelCheckpoint(*arguments, **named)
    callback.set_model(model)
    callback.on_train_begin()
    return callback


def test_the_name_is_filled_in_with_the_epoch_from_one_and_the_logs(model, tmp_path):
    run_epochs(begun(model, tmp_path / "runs" / "{epoch:02d}-{val_loss:.2f}.keras"), model, [0.5, 0.25])
    assert model.saved == [f"{tmp_path}/runs/01-0.50.keras", f"{tmp_path}/runs/02-0.25.keras"]
    assert (tmp_path / "runs").is_dir()


def test_only_the_best_is_saved_when_asked(model):
    run_epochs(begun(model, "m{epoch}.keras", save_best_only=True), model, [0.5, 0.6, 0.4])
    assert model.saved == ["m1.keras", "m3.keras"]


def test_the_first_model_must_beat_the_threshold(model):
    run_epochs(begun(model, "m{epoch}.keras", save_best_only=True, initial_value_threshold=0.5), model, [0.6, 0.4])
    assert model.saved == ["m2.keras"]


def test_a_missing_value_warns_and_saves(model):
    with pytest.warns(UserWarning, match="'val_loss', which is not in the logs"):
        run_epochs(begun(model, "m.keras", save_best_only=True), model, [None])
    assert model.saved == ["m.keras"]


def test_batches_are_counted_across_epochs(model):
    callback = begun(model, "m{epoch}-{batch}.weights.h5", save_freq=4, save_weights_only=True)
    for epoch in range(3):
        callback.on_epoch_begin(epoch)
        for batch in range(3):
            callback.on_train_batch_end(batch, {"loss": 0.0})
        callback.on_epoch_end(epoch, {})
    assert model.saved == ["m2-1.weights.h5", "m3-2.weights.h5"]


def test_a_restart_goes_on_counting_and_comparing(model):
    first = begun(model, "m{epoch}.keras", save_best_only=True)
    run_epochs(first, model, [0.3])
    first.on_train_batch_end(1)
    second_model = FakeModel()
    second = begun(second_model, "m{epoch}.keras", save_best_only=True)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    run_epochs(second, second_model, [0.4, 0.2], first=1)
    assert second_model.saved == ["m3.keras"]


def test_folders_of_urls_are_made(model):
    run_epochs(begun(model, "memory://checkpoint-test/a/m.keras"), model, [0.5])
    assert fsspec.filesystem("memory").isdir("/checkpoint-test/a")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"filepath": "m"}, "ending in .keras or .h5"),
        ({"filepath": "m.keras", "save_weights_only": True}, "ending in .weights.h5"),
        ({"filepath": "m.keras", "save_freq": "batch"}, "save_freq='batch'"),
    ],
)
def test_what_cannot_work_is_refused_at_once(arguments, words):
    with pytest.raises(ValueError, match=words):
        ModelCheckpoint(**arguments)


def test_an_unknown_name_in_the_template_is_an_error_that_lists_the_names(model):
    with pytest.raises(KeyError, match=r"no 'val_los' to fill in; expected one of val_loss"):
        run_epochs(begun(model, "{val_los}.keras"), model, [0.5])


def test_it_says_what_it_does(model, capsys):
    run_epochs(begun(model, "m.keras", save_best_only=True, verbose=1), model, [0.5, 0.6])
    assert capsys.readouterr().out == (
        "Epoch 1: val_loss improved from None to 0.50000, saving model to m.keras\nEpoch 2: val_loss did not improve from 0.50000\n"
    )


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path):
    import disttrain as dt

    (tmp_path / "m.keras").mkdir()
    real = dt.Sequential([dt.Input((2,)), dt.layers.Dense(1)])
    with pytest.raises(
        IsADirectoryError, match=r"ModelCheckpoint\(filepath='.*m.keras'\): .*m.keras is a folder; expected the name of a file"
    ):
        begun(real, tmp_path / "m.keras").on_epoch_end(0, {})


def test_nan_is_never_the_best_and_any_number_is_better(model):
    nan = float("nan")
    run_epochs(begun(model, "m{epoch}.keras", save_best_only=True), model, [nan, 0.5, nan, 0.6, 0.4])
    assert model.saved == ["m1.keras", "m2.keras", "m5.keras"]


def test_a_file_is_written_through_a_symbolic_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "real.keras", tmp_path / "best.keras"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_bytes(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["best.keras", "elsewhere", "real.keras"]
