"""Running a script: what a person is told after Ctrl-C goes on with the run."""

from __future__ import annotations

import shlex
import threading
from functools import partial
from typing import Any

import pytest

from disttrain.cli import main
from disttrain.errors import DataError
from disttrain.launch import script as script_module
from disttrain.launch.cluster_start import ClusterStart, is_starting
from disttrain.launch.config import RunConfig
from disttrain.launch.script import launch, resume_command
from disttrain.launch.timings import Timings
from disttrain.testing.fake_cluster import FakeCluster, Started


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


def test_going_back_to_a_step_is_not_repeated_by_the_advice():
    for given in ("--step 40", "--step=40"):
        command = f"disttrain launch train.py {given} --workers 2"
        assert resume_command(command, "runs/train") == "disttrain launch train.py --workers 2 --run-dir runs/train"


def test_a_script_that_is_no_python_is_told_in_its_own_lines_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "syntax.py").write_text("def f(:\n")
    with pytest.raises(SystemExit) as ended:
        main(["launch", "syntax.py"])
    told = capsys.readouterr().err
    assert ended.value.code == 1 and told.splitlines()[-1].startswith("SyntaxError")
    assert 'File "syntax.py", line 1' in told and "disttrain" not in told
    assert not (tmp_path / "runs").exists()


def test_a_script_that_fails_before_its_first_call_leaves_no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = partial(ClusterStart, make=lambda config, timings: Started(FakeCluster()))
    monkeypatch.setattr(script_module, "ClusterStart", start)
    (tmp_path / "bad.py").write_text("raise ValueError('mine')\n")
    with pytest.raises(ValueError, match="mine"):
        launch(RunConfig(), "bad.py")
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize("error", [RuntimeError("a session that cannot be made"), KeyboardInterrupt()], ids=["an error", "Ctrl-C"])
def test_what_fails_between_the_start_and_the_session_ends_what_was_started(error, tmp_path, monkeypatch):
    class Watched(Started):
        stopped = 0

        def stop(self) -> None:
            Watched.stopped += 1

    class Kept(ClusterStart):
        def __init__(self, config: RunConfig, timings: Timings, **more: Any) -> None:
            super().__init__(config, timings, lambda config, timings: Watched(FakeCluster()))
            kept.append(self)

    def fails(*_: object, **__: object) -> None:
        kept[0].cluster(lambda: False)  # it has started
        raise error

    kept: list[Kept] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(script_module, "ClusterStart", Kept)
    monkeypatch.setattr("disttrain.launch.session.Session.__init__", fails)
    (tmp_path / "train.py").write_text("")
    with pytest.raises(type(error)):
        launch(RunConfig(), "train.py")
    assert Watched.stopped == 1


def test_an_error_of_the_script_waits_for_no_cluster_that_is_still_starting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    never, starts = threading.Event(), []

    def begun(config: RunConfig, timings: Timings, **more: Any) -> ClusterStart:
        starts.append(ClusterStart(config, timings, lambda *_: (never.wait(), Started(FakeCluster()))[1]))
        return starts[-1]

    monkeypatch.setattr(script_module, "ClusterStart", begun)
    (tmp_path / "unequal.py").write_text(
        "import numpy as np\nimport disttrain as dt\nmodel = dt.Sequential([dt.Input((2,)), dt.layers.Dense(1)])\n"
        "model.compile('sgd', 'mse')\nmodel.fit(np.ones((8, 2)), np.ones((7, 1)), verbose=0)\n"
    )
    try:
        with pytest.raises(DataError, match="7"):
            launch(RunConfig(), "unequal.py")
        assert is_starting()
    finally:
        never.set()
        for start in starts:
            start.end()


def test_the_lines_of_the_script_begin_its_traceback(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "typer"  # not to be taken for the library of that name
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(script_module, "ClusterStart", partial(ClusterStart, make=lambda config, timings: Started(FakeCluster())))
    (folder / "bad.py").write_text("def inner():\n    raise ValueError('mine')\n\n\ninner()\n")
    with pytest.raises(SystemExit) as ended:
        main(["launch", "bad.py"])
    told = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1 and [line.strip() for line in told if "File " in line] == [
        'File "bad.py", line 5, in <module>',
        'File "bad.py", line 2, in inner',
    ]


SMALL = """
import sys
import numpy as np
import disttrain as dt
model = dt.Sequential([dt.Input((2,)), dt.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(np.ones((8, 2), "float32"), np.ones((8, 1), "float32"), batch_size=4, verbose=0)
"""


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (SMALL + "sys.exit(0)\n", 0, ("done     runs/train holds the trained model", "again    the same command")),
        (SMALL + "sys.exit('not good enough')\n", 1, ("not good enough",)),
        ("def main(): ...\n", 0, ("train.py has ended without a call of fit, evaluate or predict for this launch",)),
    ],
    ids=["sys.exit(0)", "sys.exit(words)", "nothing is called"],
)
def test_however_a_script_ends_what_was_made_is_told(text, code, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(script_module, "ClusterStart", partial(ClusterStart, make=lambda config, timings: Started(FakeCluster())))
    (tmp_path / "train.py").write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["launch", "train.py"])
    told = "".join(capsys.readouterr())
    assert ended.value.code == code and all(part in told for part in words), told
    assert ("done     " in told) == (code == 0 and text.startswith(SMALL))


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_what_is_no_script_is_refused_before_anything_starts(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("")
    (tmp_path / "lesson.ipynb").write_text("{}")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "main.py").write_text("")
    for script, words in (
        ("lesson.ipynb", ("lesson.ipynb is a notebook", "disttrain.distribute(workers=2)", "nbconvert")),
        ("project", ("project is a folder", "such as project/main.py")),
        ("tarin.py", ("there is no script 'tarin.py'", "such as train.py")),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["launch", script, *options])
        told = capsys.readouterr().err
        assert ended.value.code == 2 and all(part in told for part in words), told
