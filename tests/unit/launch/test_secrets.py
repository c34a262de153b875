"""Secrets on a script's command line: the script is given them, nobody else sees them, and a renewed one is the same run."""

from __future__ import annotations

import json
import shlex
from functools import partial
from pathlib import Path

import pytest

from disttrain.launch import script as script_module
from disttrain.launch.cluster_start import ClusterStart
from disttrain.launch.config import RunConfig
from disttrain.launch.script import launch, resume_command
from disttrain.redaction import forget, remember
from disttrain.rundir.directory import RunDirectory
from disttrain.testing.fake_cluster import FakeCluster, Started

SECRET, RENEWED = "hunter2-of-the-first-time", "hunter3-of-the-second-time"
SCRIPT = """
import pathlib, sys
import numpy as np
import disttrain as dt
dt.clear_session()
pathlib.Path("given").write_text(" ".join(sys.argv[1:]))
model = dt.Sequential([dt.Input((3,)), dt.layers.Dense(2)])
model.compile("sgd", "mse")
model.fit(np.ones((4, 3), np.float32), np.ones((4, 2), np.float32), batch_size=2, verbose=0)
if pathlib.Path("break").exists():
    raise RuntimeError("denied for " + sys.argv[2])
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(SCRIPT)
    monkeypatch.setattr(script_module, "ClusterStart", partial(ClusterStart, make=lambda config, timings: Started(FakeCluster())))
    yield tmp_path
    forget()


def train(secret: str, **options) -> None:
    given = ("--api-key", secret, "--lr", "0.1")
    launch(RunConfig(**options), "train.py", given, command=shlex.join(["disttrain", "launch", "train.py", "--", *given]))


def holding(folder: Path, secret: str) -> list[str]:
    return [str(file) for file in folder.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]


def test_the_script_is_given_the_secret_and_no_file_of_the_run_holds_it(folder):
    train(SECRET)
    assert Path("given").read_text() == f"--api-key {SECRET} --lr 0.1"
    assert holding(folder / "runs", SECRET) == []
    assert '"arguments":["--api-key","***","--lr","0.1"]' in (folder / "runs" / "train" / "run.json").read_text()


def test_a_renewed_secret_goes_on_with_the_same_run(folder, capsys):
    Path("break").touch()
    with pytest.raises(RuntimeError):
        train(SECRET)
    Path("break").unlink()
    train(RENEWED)
    assert Path("given").read_text() == f"--api-key {RENEWED} --lr 0.1"
    assert [path.name for path in (folder / "runs").iterdir()] == ["train"]
    said = capsys.readouterr().out
    assert "fit number 1 was finished before" in said and "arguments were" not in said


def test_another_argument_is_another_run_beside_it(folder):
    train(SECRET)
    launch(RunConfig(), "train.py", ("--api-key", SECRET, "--lr", "0.2"))
    assert sorted(path.name for path in (folder / "runs").iterdir()) == ["train", "train-2"]


def test_a_run_that_an_earlier_version_described_with_its_secret_is_gone_on_with(folder, monkeypatch):
    monkeypatch.setattr(script_module, "hidden_arguments", tuple)
    train(SECRET)
    monkeypatch.undo()
    directory = RunDirectory(str(folder / "runs" / "train"))
    description = directory.description(directory.attempts())
    assert description is not None and description.arguments == ("--api-key", "***", "--lr", "0.1")


def test_the_line_that_goes_on_hides_the_secret_and_the_password_of_the_run_directory():
    command = shlex.join(
        ["disttrain", "launch", "train.py", "--run-dir", "sftp://ann:pw@host/run", "--", "--api-key", SECRET, "--token=x y"]
    )
    line = resume_command(command, "sftp://ann:pw@host/run")
    assert shlex.split(line)[3:] == ["--run-dir", "sftp://ann:***@host/run", "--", "--api-key", "***", "--token=***"]


def test_status_and_timeline_hide_what_was_given(tmp_path):
    remember(["--password", SECRET])
    directory = RunDirectory(str(tmp_path / "run"))
    directory.write_status({"state": "running", "words": f"refused: {SECRET}"})
    assert json.loads((tmp_path / "run" / "status.json").read_text())["words"] == "refused: ***"
