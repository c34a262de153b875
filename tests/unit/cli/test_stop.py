"""`disttrain stop`: a run hears it through its directory, finishes its step, and can be gone on with."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import disttrain as dt
from disttrain import cli, errors, layers
from disttrain.cli.stop import stop
from disttrain.launch.cluster_start import ClusterStart
from disttrain.launch.config import RunConfig
from disttrain.launch.door import enter
from disttrain.launch.session import Session
from disttrain.launch.timings import Timings
from disttrain.rundir.directory import RunDirectory
from disttrain.testing.fake_cluster import FakeCluster, Started

LIMIT_S = 600.0


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return int(ended.value.code or 0)


class Asks(dt.callbacks.Callback):
    """After the third batch somebody asks; the batch ends once the session has heard."""

    def __init__(self, ask: Any, heard: threading.Event) -> None:
        super().__init__()
        self.ask, self.heard = ask, heard

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 2:
            self.ask()
            assert self.heard.wait(LIMIT_S)


def stopped(place: Path, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of 100 epochs that is asked to stop in its first."""
    config, timings = RunConfig(run_dir=str(place)), Timings()
    start = ClusterStart(config, timings, lambda config, timings: Started(FakeCluster()))
    start.begin()
    heard = threading.Event()
    session = Session(config, enter(config, script="", arguments=(), script_sha256=""), start, timings)
    ask_session = session._stops.ask

    def ask_and_tell(times: int) -> None:
        ask_session(times)
        heard.set()

    monkeypatch.setattr(session._stops, "ask", ask_and_tell)
    with session:
        model = dt.Sequential([dt.Input((2,)), layers.Dense(1)])
        model.compile("sgd", "mse")
        x = np.ones((40, 2), "float32")
        model.fit(x, x[:, :1], batch_size=4, epochs=100, verbose=0, callbacks=[Asks(ask, heard)])


def test_a_run_that_is_asked_finishes_its_step_and_keeps_it(tmp_path, monkeypatch, capsys):
    place = tmp_path / "run"
    with pytest.raises(errors.Interrupted):
        stopped(place, lambda: stop(str(place), wait=False), monkeypatch)  # not the whole command, which would end this process
    told = capsys.readouterr().out
    assert "asked to finish its step and keep it, driver pid" in told and "disttrain stop has asked for an end" in told
    status = RunDirectory(str(place)).status()
    (checkpoint,) = status["checkpoints"]
    assert (status["state"], status["epoch"]) == ("interrupted", 1) and checkpoint["step"] in (3, 4)  # the batch's, or the one under way
    assert run("stop", str(place)) == 0
    assert "interrupted; there is nothing to stop" in capsys.readouterr().out


def test_a_later_start_does_not_hear_what_an_earlier_one_was_asked(tmp_path):
    directory = RunDirectory(str(tmp_path / "run"))
    directory.begin(fresh=True)
    directory.ask_to_stop(now=True)
    assert directory.asked_to_stop() == 2
    directory.end("interrupted")
    directory.begin(fresh=False)
    assert directory.asked_to_stop() == 0
    directory.ask_to_stop()
    assert directory.asked_to_stop() == 1


def test_who_waits_is_told_how_the_run_ended(tmp_path, capsys):
    directory = RunDirectory(str(tmp_path / "run"))
    directory.begin(fresh=True)
    directory.write_status({"attempt": 1, "state": "running", "epoch": 2, "epochs": 3, "step": 7, "beat": 1})

    def obey() -> None:
        while not directory.asked_to_stop():
            threading.Event().wait(0.01)
        directory.end("interrupted")

    driver = threading.Thread(target=obey)
    driver.start()
    assert run("stop", directory.run_dir, "--json") == 0
    driver.join()
    assert json.loads(capsys.readouterr().out) == {"state": "interrupted", "attempt": 1, "epoch": 2, "step": 7}


def test_a_driver_that_says_nothing_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("disttrain.cli.stop._SILENT_S", 0.5)
    directory = RunDirectory(str(tmp_path / "run"))
    directory.begin(fresh=True)
    assert run("stop", directory.run_dir) == 3
    assert "nothing has been heard of its driver pid" in capsys.readouterr().err


def test_a_place_without_a_run_is_told_with_the_runs_near_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    directory = RunDirectory("runs/train")
    directory.begin(fresh=True)
    directory.end("finished")
    Path("file").write_text("")
    for words, told in (
        (("stop", "runs"), "the run in it: runs/train"), (("status", "runs"), "disttrain runs runs"),
        (("logs", "runs/trian"), "such as runs/train"), (("status", "file"), "file is a file, and no run"),
        (("digest", "file"), "file is a file, and no run"), (("export", "file", "--format", "keras"), "file is a file, and no run"),
        (("view", "file"), "file is a file, and no saved model"), (("checkpoints", "ls", "file"), "file is a file, and no run"),
    ):  # fmt: skip
        assert run(*words) == 2
        shown = capsys.readouterr().err
        assert told in shown and "Traceback" not in shown, words
