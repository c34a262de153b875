"""What commands say of runs: a table of them, what they printed, how far a finished one came; and the example of each help, run."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import typer
from finished_run import train

from disttrain import cli
from disttrain.cli.app import app
from disttrain.rundir.directory import RunDirectory

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with runs/train, finished, and runs/other, which was begun and failed."""
    folder = tmp_path_factory.mktemp("made")
    train(str(folder / "runs" / "train"), workers=2, script="train.py")
    other = RunDirectory(str(folder / "runs" / "other"))
    other.begin(fresh=True)
    other.end("failed")
    (folder / "runs" / "no run").mkdir()
    (folder / "train.py").write_text("")
    return folder


@pytest.fixture
def here(made, monkeypatch) -> Path:
    monkeypatch.chdir(made)
    monkeypatch.setenv("COLUMNS", "200")
    return made


def test_runs_are_listed_with_state_epoch_step_and_best_loss(here, capsys):
    assert run("runs", "runs", "--json") == 0
    other, trained = json.loads(capsys.readouterr().out)
    assert (other["run"], other["state"], other["epoch"]) == ("runs/other", "failed", None)
    assert (trained["state"], trained["epoch"], trained["epochs"], trained["step"], trained["metric"]) == ("finished", 2, 2, 4, "loss")
    assert trained["best"] > 0 and trained["size_bytes"] > 1000 and 0 <= trained["age_s"] < 3600
    assert run("runs") == 0
    told = capsys.readouterr().out
    assert "runs/train" in told and "2/2" in told and "no run" not in told


def test_a_run_that_cannot_be_read_is_listed_with_its_reason(tmp_path, capsys):
    train(str(tmp_path / "a"))
    (record,) = (tmp_path / "a" / "calls").iterdir()
    (attempt, *_) = sorted((tmp_path / "a" / "attempts").iterdir())
    attempt.write_bytes(b"damaged")
    capsys.readouterr()
    assert record.exists() and run("runs", str(tmp_path), "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["state"] == "damaged" and attempt.name in found["problem"]


def test_a_folder_without_runs_is_wrong_use(tmp_path, capsys):
    assert run("runs", str(tmp_path / "nothing")) == 2
    assert "holds no run" in capsys.readouterr().err


def test_the_status_of_a_finished_run_has_epoch_step_and_metrics(here, capsys):
    assert run("status", "runs/train", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["epoch"], found["epochs"], found["step"]) == ("finished", 2, 2, 4) and found["logs"]["loss"] > 0
    assert run("status", "runs/train") == 0
    assert "epoch 2/2  step 4\nloss " in capsys.readouterr().out


def test_what_was_printed_is_shown_after_the_run_with_its_name_and_rank(here, capsys):
    assert run("logs", "runs/train", "--follow") == 0  # it has ended, so there is nothing to wait for
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in lines] == [
        "script: hello", "w0 rank 0: from [bold]a[/bold] worker",
    ]  # fmt: skip
    assert run("logs", "runs/train", "--worker", "w0", "--json") == 0
    assert json.loads(capsys.readouterr().out)["text"] == "from [bold]a[/bold] worker"


def test_a_worker_of_whom_nothing_is_kept_is_told_with_those_of_whom_there_is(here, capsys):
    assert run("logs", "runs/train", "--worker", "w9") == 2
    assert "expected  script, w0" in capsys.readouterr().err


def test_the_doctor_looks_at_everything_and_leaves_nothing(here, capsys):
    assert run("doctor", "--run-dir", "runs/new", "--json") == 0
    found = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert {"python", "torch", "kernels", "ray", "ports", "shared memory", "open files", "clock", "gpus", "storage"} <= set(found)
    assert found["storage"]["state"] == "ok" and not (here / "runs" / "new").exists()
    assert all(finding["todo"] for finding in found.values() if finding["state"] != "ok")


def test_the_doctor_ends_with_2_where_something_is_wrong_and_says_what_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "file").write_text("")
    assert run("doctor", "--run-dir", str(tmp_path / "file"), "--address", "127.0.0.1:1") == 2
    told = capsys.readouterr().out
    assert "WRONG" in told and "does not answer" in told and "ray start --head" in told


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_example_of_each_help_runs(command, here, capsys, monkeypatch):
    found = re.search(r"^\s*Example: (disttrain .*)$", COMMANDS[command].help or "", re.MULTILINE)
    assert found, f"{command} --help shows no example"
    asked: list[object] = []
    for starts in ("launch.script.launch", "launch.audit.audit", "viewers.server.launch", "viewers.tensorboard.launch"):
        monkeypatch.setattr(f"disttrain.{starts}", lambda *given, **named: asked.append(given) or [])  # their own tests run these
    program, *words = shlex.split(found[1])
    assert program == "disttrain" and words[0] == command
    assert run(*words) == 0
    assert asked or capsys.readouterr().out
