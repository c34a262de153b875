"""The command: what it asks of the launch, and what its exit code says."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from full_disk import can_mount, on_a_full_disk

from disttrain import cli, errors
from disttrain.cli.failures import report_failure
from disttrain.launch import script as script_module
from disttrain.rundir.directory import RunDirectory


def run(*arguments: str) -> int:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return int(ended.value.code or 0)


@pytest.fixture
def asked(monkeypatch):
    """What `launch` was asked for; nothing is started."""
    calls = []
    monkeypatch.setattr(script_module, "launch", lambda config, script, arguments, **rest: calls.append((config, script, arguments)))
    return calls


def test_options_become_the_config_and_what_follows_the_dashes_goes_to_the_script(asked):
    code = run(
        "launch", "train.py", "--workers", "3", "--virtual-workers", "8", "--min-workers", "2", "--max-workers", "4", "--spares", "1",
        "--run-dir", "memory://x", "--checkpoint-every", "30s", "--seed", "5", "--restart", "--", "--epochs", "2", "data.csv",
    )  # fmt: skip
    ((config, script, arguments),) = asked
    assert code == 0 and script == "train.py" and arguments == ("--epochs", "2", "data.csv")
    assert (config.workers, config.virtual_workers, config.min_workers, config.max_workers, config.spares) == (3, 8, 2, 4, 1)
    assert (config.run_dir, config.checkpoint_interval.seconds, config.seed, config.restart, config.take_over) == (
        "memory://x",
        30.0,
        5,
        True,
        False,
    )


def test_without_options_one_worker_saves_at_the_end_of_each_epoch(asked):
    assert run("launch", "train.py") == 0
    config = asked[0][0]
    assert (config.workers, config.virtual_workers, config.run_dir, config.checkpoint_interval.epoch, config.address) == (
        1,
        None,
        None,
        True,
        None,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--workers", "2", "--min-workers", "3"), "--min-workers 3 is more than --workers 2"),
        (("--workers", "4", "--virtual-workers", "2"), "2 virtual workers for 4 workers"),
        (("--checkpoint-every", "often"), "--checkpoint-every 'often'"),
        (("--run-dir", "s4://bucket/run"), "unknown kind of storage 's4'"),
        (("--wrokers", "2"), "--wrokers"),
        (("--workers", "two"), "'--workers'"),
    ],
)
def test_wrong_use_is_told_in_a_few_words_and_exits_with_2(arguments, words, capsys, asked):
    assert run("launch", "train.py", *arguments) == 2
    told = capsys.readouterr().err
    assert words in told and "Traceback" not in told
    assert not asked


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DataError("words"), 2),
        (errors.NotEnoughWorkers("words"), 3),
        (errors.CheckpointCorrupt("words"), 3),
        (errors.PoisonBatch("words"), 1),
        (errors.Interrupted("words"), 130),
        (KeyboardInterrupt(), 130),
        (SystemExit(7), 1),
        (SystemExit(3), 1),
        (SystemExit(0), 0),
        (SystemExit("words"), 1),
        (SystemExit(None), 0),
        (ZeroDivisionError("words"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_becomes_an_exit_code_and_its_words_are_printed_once(error, code, capsys):
    assert report_failure(error) == code
    told = capsys.readouterr().err
    assert told.count("words") == (0 if code in (0, 130) or error.args[0] != "words" else 1)


def test_a_script_that_ends_itself_with_a_number_is_told_of_with_its_line(tmp_path, monkeypatch, capsys):
    script = tmp_path / "train.py"
    script.write_text("import sys\n\nsys.exit(5)\n")

    def runs(*_: object, **__: object) -> None:
        runpy.run_path(str(script), run_name="__main__")

    monkeypatch.setattr(script_module, "launch", runs)
    assert run("launch", str(script)) == 1
    assert capsys.readouterr().err == f"the script ended itself with sys.exit(5) at {script}:3\n"


def test_the_traceback_of_a_worker_is_printed_in_place_of_the_drivers(capsys):
    error = ValueError("here")
    error.worker_traceback = "Traceback (most recent call last):\n  on the worker\nValueError: there\n"
    assert report_failure(error) == 1
    assert capsys.readouterr().err == error.worker_traceback


def test_status_is_json_or_a_table(tmp_path, capsys):
    directory = RunDirectory(str(tmp_path / "run"))
    directory.begin(fresh=True)
    directory.end("finished")
    assert run("status", directory.run_dir, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["attempt"], found["workers"], found["checkpoints"]) == ("finished", 1, [], [])
    assert run("status", directory.run_dir) == 0
    assert "finished" in capsys.readouterr().out


def test_status_and_digest_of_an_empty_folder_say_what_was_expected(tmp_path, capsys):
    for command in ("status", "digest"):
        assert run(command, str(tmp_path)) == 2
        told = capsys.readouterr().err
        assert str(tmp_path) in told and "expected" in told and "Traceback" not in told


def test_version_and_help_end_well(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("disttrain ")
    assert run("launch", "--help") == 0
    assert "--virtual-workers" in capsys.readouterr().out


def test_the_command_loads_neither_torch_nor_ray_to_refuse_or_to_show():
    program = "import sys, disttrain.cli.app, disttrain.launch.script, disttrain.rundir.directory; print({'torch', 'ray'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# -- looking ----------------------------------------------------------------------------------------------------------------------------


def test_view_hands_its_options_to_the_viewer(monkeypatch):
    seen = []
    monkeypatch.setattr("disttrain.viewers.server.launch", lambda *arguments, **named: seen.append((arguments, named)))
    assert run("view", "runs/a", "--inputs", "pictures", "--classes", "cat, dog", "--port", "0", "--top", "3") == 0
    as_trained = {"rescale": None, "mean": None, "std": None, "centre_drawings": None}
    assert seen == [
        (("runs/a", ["cat", "dog"], 3, "pictures", 0), {"host": "127.0.0.1", **as_trained, "block": True, "open_browser": False})
    ]


@pytest.mark.parametrize("command", ["view", "tensorboard"])
def test_looking_at_what_is_not_there_is_an_error_of_use(command, tmp_path, capsys):
    assert run(command, str(tmp_path / "nothing")) == 2
    assert "nothing" in capsys.readouterr().err


def test_a_port_in_use_is_named_with_the_next(tmp_path, capsys):
    import socket

    import disttrain as dt
    from disttrain import layers

    path = tmp_path / "model.keras"
    dt.Sequential([dt.Input((2,)), layers.Dense(1)]).save(path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run("view", str(path), "--port", str(port), "--inputs", str(tmp_path)) == 2
    assert f"port {port}" in capsys.readouterr().err


def test_the_viewer_ends_in_order_when_it_is_told_to(tmp_path):
    import disttrain as dt
    from disttrain import layers

    path = tmp_path / "model.keras"
    dt.Sequential([dt.Input((2,)), layers.Dense(1)]).save(path)
    command = [sys.executable, "-m", "disttrain", "view", str(path), "--port", "0", "--inputs", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and "activation viewer: http" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "") and "stopped" in out


@pytest.mark.skipif(not can_mount(), reason="this user may not mount a disk of its own")
def test_a_launch_onto_a_full_disk_is_worth_another_try(tmp_path):
    (tmp_path / "train.py").write_text("")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [sys.executable, "-m", "disttrain", "launch", "train.py", "--run-dir", str(disk / "run")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = on_a_full_disk(disk, command, environment)
    assert done.returncode == 3, done.stderr
    assert "StorageUnavailable: " in done.stderr and "cannot be written: the disk is full." in done.stderr
