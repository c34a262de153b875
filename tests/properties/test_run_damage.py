"""Whatever happens to one file of a run directory: nothing wrong is ever loaded, nothing begins anew in silence, and every refusal names
the file and what to do. `DISTTRAIN_DAMAGES=2000` tries that many."""

from __future__ import annotations

import os
import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import thread_runs as t

import disttrain as dt
from disttrain.checkpoint import list_checkpoints, load
from disttrain.errors import CheckpointError, DisttrainError, RunInUse
from disttrain.launch.config import RunConfig
from disttrain.launch.door import enter
from disttrain.rundir.directory import RunDirectory

DAMAGES = int(os.environ.get("DISTTRAIN_DAMAGES", "120"))
TRAININGS = max(6, DAMAGES // 40)  # of those, how many are also trained to the end
SCRIPT = {"script": "", "arguments": (), "script_sha256": ""}


class BreaksOff(dt.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def calls(callbacks=None) -> str:
    """The script: a fit, an evaluate, and a second fit, in which the first driver ends."""
    model = t.make_model()
    fit = {"batch_size": 8, "validation_split": 0.2, "verbose": 0}
    model.fit(t.X, t.Y, epochs=2, **fit)
    model.evaluate(t.X, t.Y, verbose=0)
    model.fit(t.X, t.Y, epochs=3, callbacks=callbacks, **fit)
    return model.digest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that broke off twice, and the digest of one that nobody disturbed."""
    place = tmp_path_factory.mktemp("whole")
    with t.driven(2):
        digest = calls()
    for _ in range(2):
        with suppress(KeyboardInterrupt), t.driven(2, url=str(place / "run"), every="2steps"):
            calls(BreaksOff())
    return place / "run", digest


def files_beside(path: Path) -> list[Path]:
    return [other for other in sorted(path.parent.iterdir()) if other.is_file()]


def damage(path: Path, random: random.Random) -> str:
    """Do something to a file; what, in a word."""
    data = path.read_bytes()
    place = random.randrange(max(1, len(data)))
    ways = {
        "a bit flipped": lambda: path.write_bytes(data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]),
        "cut short": lambda: path.write_bytes(data[:place]),
        "empty": lambda: path.write_bytes(b""),
        "null": lambda: path.write_bytes(b"null"),
        "brackets": lambda: path.write_bytes(b"[" * 200_000),
        "gone": path.unlink,
        "another file": lambda: path.write_bytes(random.choice(files_beside(path)).read_bytes()),
        "a piece twice": lambda: path.write_bytes(data[:place] + data[max(0, place - 40) :]),
        "zeroed": lambda: path.write_bytes(data[:place] + b"\0" * (len(data) - place)),
    }
    name = random.choice(sorted(ways))
    ways[name]()
    return name


def opened(run: Path) -> tuple[RunDirectory, object]:
    """What a driver does before it trains: the door, an attempt, the point to go on from, the results of calls."""
    entry = enter(RunConfig(run_dir=str(run)), **SCRIPT)
    assert not entry.fresh, "it would begin anew in silence"
    entry.directory.begin(fresh=False, after=entry.after)
    point = entry.directory.resume_point()
    assert point is not None, "it would begin anew in silence"
    entry.directory.finished_calls()
    return entry.directory, point


def model_of(run: Path | str) -> tuple[str, object]:
    """The digest of a run's model, and what it is."""
    model = dt.load_model(run)
    return model.digest(), model.get_config()


@pytest.fixture(scope="module")
def models(whole):
    """The models of all checkpoints of the run."""
    run, _ = whole
    return [model_of(f"{run}/{info.name}") for info in list_checkpoints(RunDirectory(str(run)).store)]


@pytest.mark.filterwarnings("ignore:.*passed over:UserWarning")
@pytest.mark.parametrize("number", range(DAMAGES // 2))
def test_one_damaged_file_gives_a_model_of_the_run_or_a_word(whole, models, tmp_path, number):
    chosen = random.Random(10_000 + number)
    run = Path(shutil.copytree(whole[0], tmp_path / "run"))
    path = chosen.choice([path for path in sorted(run.rglob("*")) if path.is_file() and path.parent.name != "events"])
    what = f"{path.relative_to(run)} {damage(path, chosen)}"
    try:
        assert model_of(run) in models, what
    except DisttrainError as error:
        assert "try  " in str(error) and str(run) in str(error), (what, error)


def arrays_of(directory: RunDirectory, name: str) -> dict[str, bytes]:
    return {key: array.data.tobytes() for key, array in load(directory.store, name).arrays.items()}


@pytest.mark.parametrize("number", range(DAMAGES))
def test_one_damaged_file_costs_a_checkpoint_or_a_word_and_never_the_truth(whole, tmp_path, number):
    original, digest = whole
    chosen = random.Random(number)
    run = Path(shutil.copytree(original, tmp_path / "run"))
    path = chosen.choice([path for path in sorted(run.rglob("*")) if path.is_file()])
    what = f"{path.relative_to(run)} {damage(path, chosen)}"
    trains = number < TRAININGS
    try:
        if trains:
            with t.driven(2, url=str(run), every="2steps"):
                assert calls() == digest, what
            return
        directory, point = opened(run)
    except RunInUse:
        assert path.name.endswith("end.json"), what  # without it, the driver of the last attempt, this process, is alive
        return
    except DisttrainError as error:
        assert isinstance(error, CheckpointError) and error.exit_code in (2, 3), (what, error)
        assert "try  " in str(error) and str(run) in str(error), (what, error)
        assert path.name in str(error) or path.parent.name in str(error) or "none of its" in str(error), (what, error)
        return
    undamaged = RunDirectory(str(original))
    assert arrays_of(directory, point.name) == arrays_of(undamaged, point.name), what
    known = undamaged.finished_calls()
    assert all(known.get(call) == record for call, record in directory.finished_calls().items()), what
    assert directory.status()["state"] == "running" or directory.status()["state"] == "starting", what
