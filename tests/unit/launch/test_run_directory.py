"""The run directory: who drives, what it is, what is finished."""

import os
import socket
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace

import pytest

from disttrain.errors import RunInUse, RunMismatch, RunUnwritable
from disttrain.launch.config import RunConfig
from disttrain.launch.door import enter
from disttrain.rundir.directory import RunDescription, RunDirectory
from disttrain.testing.fake_clock import FakeClock

SCRIPT = {"script": "train.py", "arguments": (), "script_sha256": "abc"}


def begun(url: str, *, virtual_workers: int = 4, outcome: str | None = None, script: str = "train.py") -> RunDirectory:
    """A run directory with one attempt by this process."""
    directory = RunDirectory(url)
    attempt = directory.begin(fresh=True)
    directory.resume_point()
    directory.describe(RunDescription(script, (), virtual_workers, 0, 1, attempt.number, "abc"))
    if outcome:
        directory.end(outcome)
    return directory


def die_as_driver(folder, then: str = "") -> None:
    """A process that begins an attempt and ends without a word."""
    code = f"from disttrain.rundir.directory import RunDirectory\nd = RunDirectory({str(folder)!r})\nd.begin(fresh=True)\n{then}\n"
    subprocess.run([sys.executable, "-c", code + "import os\nos._exit(9)"], check=False)


@pytest.fixture(params=["local", "memory"])
def url(request, tmp_path):
    return str(tmp_path / "run") if request.param == "local" else f"memory://{tmp_path.name}/run"


def test_an_empty_directory_is_a_fresh_run(url):
    entry = enter(RunConfig(run_dir=url), **SCRIPT)
    assert entry.fresh and not entry.finished


def test_a_finished_run_is_known_as_finished(url):
    begun(url, outcome="finished")
    assert enter(RunConfig(run_dir=url), **SCRIPT).finished
    assert enter(RunConfig(run_dir=url, restart=True), **SCRIPT).fresh


def test_an_interrupted_run_is_gone_on_with(url):
    begun(url, outcome="interrupted")
    entry = enter(RunConfig(run_dir=url), **SCRIPT)
    assert not entry.fresh and entry.description.virtual_workers == 4


def test_a_live_driver_is_named_by_host_and_pid(url):
    begun(url)
    with pytest.raises(RunInUse, match=rf"pid {os.getpid()} on {socket.gethostname()}"):
        enter(RunConfig(run_dir=url), **SCRIPT)
    assert not enter(RunConfig(run_dir=url, take_over=True), **SCRIPT).fresh


@pytest.mark.parametrize("beats", [True, False])
def test_a_driver_on_another_machine_is_alive_while_its_status_changes(url, beats):
    clock, renewed = FakeClock(), iter(range(100))
    directory = begun(url)
    attempts = [replace(attempt, info={**attempt.info, "host": "elsewhere"}) for attempt in directory.attempts()]

    def pause(seconds):
        clock.advance(seconds)
        if beats:
            directory.write_status({"beat": next(renewed)})

    looking = RunDirectory(url, clock=clock, pause=pause)
    with pytest.raises(RunInUse, match="on elsewhere") if beats else nullcontext():
        looking.refuse_if_live(attempts)


def test_a_driver_that_died_without_a_word_leaves_the_run_free(tmp_path):
    die_as_driver(tmp_path)
    assert not enter(RunConfig(run_dir=str(tmp_path)), **SCRIPT).finished


@pytest.mark.parametrize(
    ("config", "script", "says"),
    [
        ({"virtual_workers": 2}, "train.py", "holds a run with 4 virtual workers, --virtual-workers 2 was given"),
        ({"workers": 5}, "train.py", "5 workers are too many"),
        ({}, "other.py", "holds a run of train.py, not of other.py"),
        ({"seed": 3}, "train.py", "holds a run with seed 0, --seed 3"),
    ],
)
def test_another_run_in_the_directory_is_refused_with_a_way_out(url, config, script, says):
    begun(url, outcome="interrupted")
    with pytest.raises(RunMismatch, match=says) as refused:
        enter(RunConfig(run_dir=url, **config), **{**SCRIPT, "script": script})
    assert "--restart" in str(refused.value)


def test_fewer_workers_than_before_may_go_on(url):
    begun(url, outcome="interrupted")
    assert enter(RunConfig(run_dir=url, workers=2), **SCRIPT).description.virtual_workers == 4


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunUnwritable, match="cannot be written"):
        enter(RunConfig(run_dir=str(tmp_path / "file" / "run")), **SCRIPT)


def test_finished_calls_are_read_back_by_the_next_attempt(url):
    first = begun(url)
    first.finish_call(0, {"kind": "evaluate", "logs": {"loss": 0.5}})
    first.end("interrupted")
    second = RunDirectory(url)
    second.begin(fresh=False)
    assert second.finished_calls() == {0: {"kind": "evaluate", "logs": {"loss": 0.5}}}
    third = RunDirectory(url)
    third.begin(fresh=True)
    assert third.finished_calls() == {}


def test_status_tells_of_a_driver_that_is_gone(tmp_path):
    die_as_driver(tmp_path, "d.write_status({'attempt': 1, 'state': 'running', 'workers': [1]})")
    status = RunDirectory(str(tmp_path)).status()
    assert status["state"] == "lost" and status["workers"] == [] and status["checkpoints"] == []


def test_without_a_run_directory_runs_stand_beside_each_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = enter(RunConfig(), **SCRIPT)
    assert first.directory.run_dir == "runs/train"
    begun("runs/train", outcome="interrupted")
    assert enter(RunConfig(), **SCRIPT).directory.run_dir == "runs/train"
    assert enter(RunConfig(), **{**SCRIPT, "script_sha256": "changed"}).directory.run_dir == "runs/train-2"
    begun("runs/train-2", outcome="finished")
    assert enter(RunConfig(), **SCRIPT).directory.run_dir == "runs/train-3"
