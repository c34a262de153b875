"""Running a script: what a person is told after Ctrl-C goes on with the run."""

from __future__ import annotations

import shlex

import pytest

from disttrain.launch.script import resume_command


@pytest.mark.parametrize(
    ("given", "advised"),
    [
        ("train.py --workers 2", "train.py --workers 2 --run-dir runs/train"),
        ("train.py --restart", "train.py --run-dir runs/train"),
        ("--take-over train.py --run-dir s3://b/run", "train.py --run-dir s3://b/run"),
        ("train.py --restart --run-dir=/data/run", "train.py --run-dir=/data/run"),
        ("train.py -- --restart --run-dir x", "train.py --run-dir runs/train -- --restart --run-dir x"),
        ("'my script.py' --restart -- 'a b' '$HOME' --", "'my script.py' --run-dir runs/train -- 'a b' '$HOME' --"),
    ],
)
def test_the_advice_after_ctrl_c_goes_on_and_neither_begins_anew_nor_takes_over(given, advised):
    command = shlex.join(["disttrain", "launch", *shlex.split(given)])
    assert resume_command(command, "runs/train") == f"disttrain launch {advised}"


def test_a_directory_with_a_space_in_it_is_quoted_as_a_shell_needs():
    command = resume_command("disttrain launch train.py", "runs/my script")
    assert shlex.split(command) == ["disttrain", "launch", "train.py", "--run-dir", "runs/my script"]


def test_from_python_there_is_no_command_to_repeat():
    assert resume_command("", "runs/train") == "the same command"
