"""What a run may be gone on with, and what is refused in words; what is whole is gone on from; what is kept nowhere is not finished."""

import errno
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import thread_runs as t

import disttrain as dt
from disttrain import layers
from disttrain.checkpoint.local_files import LocalFiles
from disttrain.errors import CheckpointCorrupt, InfrastructureError, RunMismatch
from disttrain.launch.cluster_start import ClusterStart
from disttrain.rundir.directory import RunDirectory
from disttrain.rundir.identity import differences
from disttrain.testing.fake_cluster import FakeCluster, Started

EPOCHS = 4


class BreaksOff(dt.Callback):
    """The driver ends after the third epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def interrupted(url, every="2steps"):
    """A run that broke off, with some checkpoints; their names, oldest first."""
    with pytest.raises(KeyboardInterrupt), t.driven(2, url=str(url), every=every):
        t.train(BreaksOff(), epochs=EPOCHS)
    return [checkpoint["name"] for checkpoint in reversed(RunDirectory(str(url)).status()["checkpoints"])]


def model_of(*, units=8, rate=0.02, classes=3, extra=(), dropout=0.3, optimizer=dt.optimizers.Adam, loss="sparse_categorical_crossentropy"):
    dt.clear_session()
    dt.set_random_seed(7)
    body = [layers.Dense(units, activation="relu"), layers.BatchNormalization(), layers.Dropout(dropout), *extra]
    model = dt.Sequential([dt.Input((6,)), *body, layers.Dense(classes, activation="softmax")])
    model.compile(optimizer=optimizer(rate), loss=loss, metrics=["accuracy"])
    return model


def fit(model, x=t.X, y=t.Y, epochs=EPOCHS, batch_size=8, **arguments):
    model.fit(x, y, batch_size=batch_size, epochs=epochs, validation_split=0.2, verbose=0, **arguments)
    return model.digest()


@pytest.fixture(scope="module")
def undisturbed():
    with t.driven(2):
        return t.train(epochs=EPOCHS)[0]


@pytest.fixture(scope="module")
def half_done(tmp_path_factory):
    place = tmp_path_factory.mktemp("half")
    interrupted(place / "run")
    return place / "run"


@pytest.fixture
def half(half_done, tmp_path):
    """A copy of a run that broke off."""
    import shutil

    return Path(shutil.copytree(half_done, tmp_path / "run"))


# -- identity -------------------------------------------------------------------------------------------------------------------------


def test_the_same_run_goes_on_and_ends_with_the_bits_of_an_undisturbed_one(half, undisturbed):
    with t.driven(3, url=str(half)) as run:
        assert fit(model_of()) == undisturbed
    assert run.resume is not None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda: fit(model_of(rate=0.001)), "optimizer.learning_rate: 0.02 then, 0.001 now"),
        (lambda: fit(model_of(optimizer=dt.optimizers.SGD)), "optimizer.class: Adam then, SGD now"),
        (lambda: fit(model_of(dropout=0.5)), "layer dropout.rate: 0.3 then, 0.5 now"),
        (lambda: fit(model_of(units=16)), r"weight dense.kernel: float32 \(6, 8\) then, float32 \(6, 16\) now"),
        (lambda: fit(model_of(classes=4)), r"weight dense_1.bias: float32 \(3,\) then, float32 \(4,\) now"),
        (lambda: fit(model_of(extra=[layers.Dense(8), layers.Dense(8)])), "layer dense_2: none then, Dense now"),
        (lambda: fit(model_of(loss="poisson"), y=np.eye(3, dtype="float32")[t.Y]), "loss: sparse_categorical_crossentropy then, poisson"),
        (lambda: fit(model_of(), y=2 - t.Y), "data of the train steps: samples with other values"),
        (lambda: fit(model_of(), x=t.X[:20], y=t.Y[:20]), "train.samples: 24 then, 16 now"),
        (lambda: fit(model_of(), batch_size=4), "batch_size of the train steps: 8 then, 4 now"),
        (lambda: fit(model_of(), class_weight={0: 2.0, 1: 1.0, 2: 1.0}), "class_weight: None then"),
    ],
    ids=["rate", "optimizer", "setting", "width", "outputs", "layers", "loss", "labels", "samples", "batch", "class weights"],
)
def test_another_call_in_the_same_place_is_refused_with_the_difference(half, change, says):
    before = sorted(path.name for path in half.rglob("commits/*"))
    with pytest.raises(RunMismatch, match=rf"holds checkpoint step-(.|\n)*{says}(.|\n)*--restart"), t.driven(2, url=str(half)):
        change()
    assert sorted(path.name for path in half.rglob("commits/*")) == before


def test_a_model_made_once_more_in_the_same_process_is_refused_with_what_gives_it_its_names_again(half):
    def again():
        dt.set_random_seed(7)
        body = [layers.Dense(8, activation="relu"), layers.BatchNormalization(), layers.Dropout(0.3)]
        model = dt.Sequential([dt.Input((6,)), *body, layers.Dense(3, activation="softmax")])
        model.compile(optimizer=dt.optimizers.Adam(0.02), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        fit(model)

    with pytest.raises(RunMismatch, match=r"try +dt\.clear_session\(\) before the model is made"), t.driven(2, url=str(half)):
        layers.Dense(1), layers.Dense(1)  # names that are taken
        again()
    with pytest.raises(RunMismatch) as refused, t.driven(2, url=str(half)):
        fit(model_of(units=16))
    assert "clear_session" not in str(refused.value)


def test_more_epochs_and_other_callbacks_are_said_and_go_on(half):
    with t.driven(2, url=str(half)) as run:
        fit(model_of(), epochs=6, callbacks=[dt.callbacks.EarlyStopping("loss", patience=50)])
    assert run.resume is not None and any("epochs: 4 then, 6 now" in note and "goes on" in note for note in run.notes)


def test_fewer_epochs_than_are_done_are_refused(half):
    with pytest.raises(RunMismatch, match=r"further than this fit\(\) goes with epochs=1"), t.driven(2, url=str(half)):
        fit(model_of(), epochs=1)


def test_an_identity_survives_json_and_finds_nothing_where_nothing_changed(half):
    point = RunDirectory(str(half))
    point.begin(fresh=False)
    identity = point.resume_point().extra["identity"]
    assert differences(identity, json.loads(json.dumps(identity))) == ([], [])
    assert identity["data"]["train"]["digest"]


class Wild:
    """A dataset that draws from a generator of its own."""

    def __init__(self):
        self.generator = np.random.default_rng()

    def __len__(self):
        return 16

    def __getitem__(self, number):
        return self.generator.normal(size=6).astype("float32"), np.int64(number % 3)


def test_of_a_dataset_that_never_gives_the_same_nothing_is_held_against_it(tmp_path):
    for _ in range(2):
        with t.driven(1, url=str(tmp_path)) as run:
            model = model_of()
            model.fit(Wild(), batch_size=8, epochs=1, verbose=0)
    assert run.events("recalled")


def test_from_python_a_second_training_in_the_same_folder_has_nothing_of_the_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    start = partial(ClusterStart, make=lambda config, timings: Started(FakeCluster()))
    monkeypatch.setattr("disttrain.launch.cluster_start.ClusterStart", start)
    with pytest.raises(KeyboardInterrupt), dt.distribute(workers=2, samples=0):
        fit(model_of(), callbacks=[BreaksOff()])
    digests, clean = [], tmp_path / "clean"
    clean.mkdir()
    for place in (tmp_path, clean):
        monkeypatch.chdir(place)
        with dt.distribute(workers=2, samples=0):
            digests.append(fit(model_of(rate=0.001)))
    assert digests[0] == digests[1]
    told = capsys.readouterr().out
    places = (tmp_path / "runs" / "session", tmp_path / "runs" / "session-2", clean / "runs" / "session")
    assert all(f"this run is kept in {place}\n" in told for place in places)


# -- finished -------------------------------------------------------------------------------------------------------------------------


def test_a_finished_run_gives_its_results_back_from_python_and_is_not_changed(tmp_path, undisturbed, capsys):
    with t.driven(2, url=str(tmp_path)):
        model = model_of()
        fit(model)
        logs = model.evaluate(t.X, t.Y, verbose=0, return_dict=True)
        outputs = model.predict(t.X, verbose=0)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with dt.distribute(workers=2, run_dir=str(tmp_path)):
        again = model_of()
        assert fit(again) == undisturbed and again.history is not None
        assert again.evaluate(t.X, t.Y, verbose=0, return_dict=True) == logs
        assert again.predict(t.X, verbose=0).tobytes() == outputs.tobytes()
    assert "this run is finished; its results are taken from there" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_finished_run_says_what_is_asked_for_otherwise_and_trains_nothing(tmp_path, undisturbed, capsys):
    with t.driven(2, url=str(tmp_path)):
        fit(model_of())
    with dt.distribute(workers=2, run_dir=str(tmp_path)):
        model = model_of()
        assert fit(model, epochs=9) == undisturbed
        with pytest.raises(RunMismatch, match=r"finished run, which has no call 1, a evaluate\(\)"):
            model.evaluate(t.X, t.Y, verbose=0)
    assert "epochs: 4 then, 9 now; call 0 of the script, a fit(), is finished" in capsys.readouterr().out
    with pytest.raises(RunMismatch, match="learning_rate"), dt.distribute(workers=2, run_dir=str(tmp_path)):
        fit(model_of(rate=0.5))


# -- damage ---------------------------------------------------------------------------------------------------------------------------


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def shards_of(run, name):
    return sorted(next(run.glob(f"checkpoints/data/{name}-*")).iterdir())


@pytest.mark.parametrize("part", [0, -1], ids=["a worker's part", "the driver's part"])
def test_a_damaged_newest_checkpoint_is_passed_over_and_said_and_marked(half, undisturbed, part):
    older, newest = [path.stem for path in sorted(half.glob("checkpoints/commits/*"))][-2:]
    flip(shards_of(half, newest)[part])
    with t.driven(2, url=str(half)) as run:
        assert fit(model_of()) == undisturbed
    assert run.resume.name == older
    assert any(newest in note and "is passed over" in note and "damaged" in note for note in run.notes)
    assert (half / "checkpoints" / "bad" / f"{newest}.json").exists()


def test_when_no_checkpoint_is_whole_nothing_begins_anew(half):
    for path in half.glob("checkpoints/commits/*"):
        flip(shards_of(half, path.stem)[0])
    for _ in range(2):
        with pytest.raises(CheckpointCorrupt, match=r"none of its \d checkpoints is whole(.|\n)*--restart"), t.driven(2, url=str(half)):
            fit(model_of())


def test_a_lost_result_of_an_earlier_call_is_no_reason_to_begin_it_anew(tmp_path):
    class BreaksTheSecond(dt.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), t.driven(2, url=str(tmp_path), every="1steps"):
        model = model_of()
        fit(model, epochs=1)
        fit(model, epochs=2, callbacks=[BreaksTheSecond()])
    (tmp_path / "calls" / "000000-a0001.json").unlink()
    with pytest.raises(Exception, match=r"calls has no result of call 0 of the script, a fit\(\)"), t.driven(2, url=str(tmp_path)):
        fit(model_of(), epochs=1)


def test_a_fit_whose_last_state_lies_nowhere_is_not_finished(tmp_path, monkeypatch, undisturbed):
    full = True
    write = LocalFiles.write

    def no_room(self, path, chunks):
        if full and "/checkpoints/data/" in path:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, path, chunks)

    monkeypatch.setattr(LocalFiles, "write", no_room)
    model = model_of()
    refused = pytest.raises(InfrastructureError, match=r"could not be kept in (.|\n)*the disk is full(.|\n)*the same command")
    with t.driven(2, url=str(tmp_path)), refused as ended:  # the script itself may catch it, to save elsewhere
        fit(model)
    assert ended.value.exit_code == 3 and model.digest() == undisturbed
    assert RunDirectory(str(tmp_path)).status()["state"] == "lost" and not list(tmp_path.glob("calls/*"))
    full = False
    with t.driven(2, url=str(tmp_path)):
        assert fit(model_of()) == undisturbed
    assert RunDirectory(str(tmp_path)).status()["state"] == "finished"


def test_an_end_that_cannot_be_recorded_takes_the_place_of_no_error(tmp_path, monkeypatch):
    def no_room(self, outcome):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunDirectory, "end", no_room)
    with pytest.raises(ZeroDivisionError), t.driven(2, url=str(tmp_path / "a")):
        raise ZeroDivisionError
    with (
        pytest.raises(InfrastructureError, match=r"the end of this run \(finished\) cannot be recorded"),
        t.driven(2, url=str(tmp_path / "b")),
    ):
        pass
