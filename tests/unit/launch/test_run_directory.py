"""The run directory: who drives, what it is, what is finished."""

import os
import socket
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from disttrain.checkpoint import Arena, CommitName, NamedArray, commit, save_folder, seal, shard_path, snapshot, split, write_shard
from disttrain.errors import CheckpointError, CheckpointMismatch, RunInUse, RunMismatch, RunUnwritable, UsageError
from disttrain.launch.config import RunConfig
from disttrain.launch.door import enter
from disttrain.rundir.directory import RunDirectory
from disttrain.rundir.identity import RunDescription, code_of
from disttrain.rundir.process import is_alive, this_process
from disttrain.testing.fake_clock import FakeClock

SCRIPT = {"script": "train.py", "arguments": (), "script_sha256": "abc"}


def begun(url: str, *, virtual_workers: int = 4, outcome: str | None = None, script: str = "train.py") -> RunDirectory:
    """A run directory with one attempt by this process."""
    directory = RunDirectory(url)
    attempt = directory.begin(fresh=True)
    directory.resume_point()
    directory.describe(RunDescription(script, (), virtual_workers, 0, 1, attempt.number, "abc", "same"))
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


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in; gives the path of a run in it."""
    monkeypatch.chdir(tmp_path)
    return lambda name: str(tmp_path / "runs" / name)


def test_without_a_run_directory_the_rules_are_the_same(here):
    first = enter(RunConfig(), **SCRIPT)
    assert first.claimed and first.directory.run_dir == here("train")
    begun("runs/train", outcome="interrupted")
    again = enter(RunConfig(), **SCRIPT)
    assert again.directory.run_dir == here("train") and not again.fresh and not again.claimed
    begun("runs/train", outcome="finished")
    assert enter(RunConfig(), **SCRIPT).finished
    with pytest.raises(RunMismatch, match="5 workers are too many"):
        enter(RunConfig(workers=5), **SCRIPT)


def test_to_begin_anew_without_a_run_directory_is_to_begin_beside(here):
    begun("runs/train", outcome="finished")
    entry = enter(RunConfig(restart=True), **SCRIPT)
    assert entry.fresh and entry.directory.run_dir == here("train-2")
    begun("runs/train-2", outcome="interrupted")
    assert enter(RunConfig(), **SCRIPT).directory.run_dir == here("train-2")


def test_other_arguments_are_another_run(here):
    begun("runs/train", outcome="finished")
    assert enter(RunConfig(), **{**SCRIPT, "arguments": ("--lr", "1")}).directory.run_dir == here("train-2")
    assert enter(RunConfig(), **SCRIPT).finished


def test_beside_a_live_run_a_launch_gets_a_directory_of_its_own_and_says_so(here):
    begun("runs/train")
    entry = enter(RunConfig(), **SCRIPT)
    assert entry.directory.run_dir == here("train-2") and entry.claimed
    assert "train is in use by the driver with pid" in entry.notes[0]


def test_from_python_each_session_has_a_directory_of_its_own(here):
    begun("runs/session", outcome="interrupted", script="")
    assert enter(RunConfig(), script="", arguments=(), script_sha256="").directory.run_dir == here("session-2")


def test_launches_at_once_claim_different_directories(here):
    program = (
        "import sys\nfrom disttrain.launch.config import RunConfig\nfrom disttrain.launch.door import enter\n"
        "sys.stdin.readline()\n"  # so that all are ready before the first goes in
        "print(enter(RunConfig(), script='train.py', arguments=(), script_sha256='abc').directory.run_dir)\n"
    )
    start = [sys.executable, "-c", program]
    launches = [subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for launched in launches:
        launched.stdin.write("go\n")
        launched.stdin.flush()
    places = [launched.communicate()[0].strip() for launched in launches]
    assert sorted(places) == sorted(here(name) for name in ("train", "train-2", "train-3", "train-4"))


def test_a_driver_that_was_overtaken_at_the_door_gives_way(url):
    entry = enter(RunConfig(run_dir=url), **SCRIPT)
    begun(url)
    with pytest.raises(RunInUse, match="another driver has just begun attempt 1"):
        entry.directory.begin(fresh=entry.fresh, after=entry.after)
    assert [attempt.number for attempt in entry.directory.attempts()] == [1]


def test_a_relative_place_is_the_same_in_every_folder(here, tmp_path, monkeypatch):
    entry = enter(RunConfig(run_dir="run"), **SCRIPT)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert entry.directory.run_dir == str(tmp_path / "run")
    entry.directory.begin(fresh=True)
    assert (tmp_path / "run" / "attempts").is_dir()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"script_sha256": "other", "script_code": "same"}, "comments or layout changed, no code"),
        ({"script_sha256": "other", "script_code": "other"}, "train.py is not the text that began this run"),
        ({"arguments": ("--epochs", "9")}, "its arguments were none, and are now --epochs 9"),
    ],
)
@pytest.mark.parametrize("outcome", ["interrupted", "finished"])
def test_what_may_change_is_said(url, change, says, outcome):
    begun(url, outcome=outcome)
    entry = enter(RunConfig(run_dir=url), **{**SCRIPT, "script_code": "same", **change})
    assert says in entry.notes[0] and entry.finished == (outcome == "finished")


def test_code_is_the_same_whatever_the_comments_and_the_layout():
    text = b"x = [1,\n  2]  # two\n\nif x:\n    y = 'a # b'\n"
    assert code_of(text) == code_of(b"# one\nx = [1, 2]\nif x:\n  y = 'a # b'\n")
    assert code_of(text) != code_of(text.replace(b"a # b", b"a")) and code_of(text) != code_of(text.replace(b"    y", b"y"))


# -- who is alive ---------------------------------------------------------------------------------------------------------------------


def test_the_driver_is_known_by_its_boot_its_pids_and_its_start_and_not_by_a_pid():
    own = this_process()
    assert is_alive(own) is True
    assert is_alive({**own, "start_ticks": own["start_ticks"] - 1}) is False  # the pid was given out again
    for other in ("boot", "pid_namespace", "host"):
        assert is_alive({**own, other: "another"}) is None


def test_a_stepped_wall_clock_kills_nobody(url):
    clock = FakeClock()
    directory = RunDirectory(url, clock=clock)
    directory.begin(fresh=True)
    clock.set_wall(clock.wall_s() - 3600.0)
    with pytest.raises(RunInUse):
        RunDirectory(url, clock=clock).refuse_if_live(directory.attempts())


def test_a_driver_among_other_pids_is_known_by_its_beats(url):
    """Two containers with one host name: the pid of the other's driver is another process here, or none."""
    clock, renewed = FakeClock(), iter(range(100))
    directory = begun(url)
    attempts = [replace(attempt, info={**attempt.info, "pid_namespace": "pid:[1]", "pid": 2**22}) for attempt in directory.attempts()]

    def pause(seconds):
        clock.advance(seconds)
        directory.write_status({"beat": next(renewed)})

    with pytest.raises(RunInUse):
        RunDirectory(url, clock=clock, pause=pause).refuse_if_live(attempts)
    RunDirectory(url, clock=clock, pause=clock.advance).refuse_if_live(attempts)


# -- damage ---------------------------------------------------------------------------------------------------------------------------


def committed(url: str) -> RunDirectory:
    """A run with a checkpoint, and a finished call."""
    directory = begun(url)
    store, attempt = directory.store, directory.attempt
    folder = save_folder(CommitName(attempt.number, 1, 5), "0" * 16)
    arrays = {"model/w": NamedArray.from_numpy(np.arange(4.0))}
    specs = [array.spec(name) for name, array in arrays.items()]
    with snapshot(arrays, split(specs, 1)[0], Arena()) as shot:
        report = write_shard(store, shard_path(folder, 0, 1), shot)
    commit(store, attempt, 1, 5, [report], specs, {"call": 1, "tick": 5})
    directory.finish_call(0, {"kind": "evaluate", "logs": {}})
    directory.end("interrupted")
    return directory


@pytest.mark.parametrize("damage", [b"", b"null", b"{}", b"[" * 200_000, None, "cut", "flipped", "of old"])
def test_a_damaged_run_json_is_an_error_while_there_is_something_to_lose(url, damage):
    directory = committed(url)
    data = directory.store.read("run.json")
    damaged = {"cut": data[:-9], "flipped": data[:90] + bytes([data[90] ^ 1]) + data[91:], "of old": b'{"script": "train.py"}'}
    if damage is None:
        directory.store.delete("run.json")
    else:
        directory.store.put("run.json", damaged.get(damage, damage))
    with pytest.raises(CheckpointError, match=r"run\.json (is damaged|is missing)(.|\n)*--restart") as refused:
        enter(RunConfig(run_dir=url), **SCRIPT)
    assert refused.value.exit_code == 3
    assert enter(RunConfig(run_dir=url, restart=True), **SCRIPT).fresh


def test_a_run_json_of_a_later_version_is_told_as_that(url):
    directory = committed(url)
    directory.store.put("run.json", seal({"format": "disttrain-run", "version": 2, "something": "new"}))
    with pytest.raises(CheckpointMismatch, match=r"run\.json was written by a newer disttrain(.|\n)*version 2") as refused:
        enter(RunConfig(run_dir=url), **SCRIPT)
    assert refused.value.exit_code == 2


def test_attempts_that_are_gone_are_an_error_while_checkpoints_are_there(url):
    directory = committed(url)
    directory.store.delete_folder("attempts")
    with pytest.raises(CheckpointError, match=r"attempts is empty, though the run has begun(.|\n)*step-000000000005"):
        enter(RunConfig(run_dir=url), **SCRIPT)


def test_the_record_of_the_attempt_that_began_a_run_is_missed_by_name(url):
    directory = committed(url)
    directory.begin(fresh=False)
    directory.end("interrupted")
    directory.store.delete("attempts/00000001.json")
    with pytest.raises(CheckpointError, match=r"attempts/00000001\.json is missing(.|\n)*--restart"):
        enter(RunConfig(run_dir=url), **SCRIPT)


def test_damage_to_what_a_restart_left_behind_hinders_nobody(url):
    directory = committed(url)
    directory.store.put("attempts/00000001.json", b"")
    with pytest.raises(CheckpointError, match=r"attempts/00000001\.json is damaged"):
        enter(RunConfig(run_dir=url), **SCRIPT)
    begun(url, outcome="interrupted")
    assert not enter(RunConfig(run_dir=url), **SCRIPT).fresh


def test_a_damaged_result_of_a_call_is_an_error_that_names_it(url):
    directory = committed(url)
    directory.store.put("calls/000000-a0001.json", b'{"kind": "evaluate"}')
    with pytest.raises(CheckpointError, match=r"calls/000000-a0001\.json is damaged(.|\n)*delete it: the call is then done again"):
        directory.finished_calls()


def test_a_status_that_is_deep_or_cut_is_told_and_not_believed(url):
    directory = committed(url)
    for data in (b"[" * 200_000, b'{"attempt": 1, "sta', b"null"):
        directory.store.put("status.json", data)
        status = directory.status()
        assert status["state"] == "interrupted" and "status.json is damaged" in status["problem"] and status["checkpoints"]


# -- where a run goes on --------------------------------------------------------------------------------------------------------------


def test_the_step_to_go_on_from_can_be_chosen(url):
    committed(url)
    second = RunDirectory(url)
    second.begin(fresh=False)
    with pytest.raises(UsageError, match=r"no checkpoint of step 4(.|\n)*one of 5"):
        second.resume_point(4)
    assert second.resume_point(5).tick == 5


def test_a_result_whose_checkpoint_is_gone_is_lost_once_and_for_all(url):
    directory = committed(url)
    directory.finish_call(1, {"kind": "fit", "commit": "step-000000000005-a0001-s0001"})
    directory.store.delete("checkpoints/commits/step-000000000005-a0001-s0001.json")
    for _ in range(2):
        again = RunDirectory(url)
        again.begin(fresh=False)
        with pytest.raises(CheckpointError, match=r"s0001\.json is missing: the result of fit, call 1 of the script, is lost"):
            again.resume_point()
