"""`disttrain status --watch`: a page on a terminal of its own screen, lines in a pipe, JSON for programs; it ends with the run."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from launching import environment
from terminal import Terminal

from disttrain.cli.watching import Watched, line_of
from disttrain.rundir.directory import RunDirectory

WORKER = {"rank": 0, "worker": "w0", "pid": 11, "host": "here", "virtual_ranks": [0]}


class Run:
    """A run whose driver is this test."""

    def __init__(self, place: Path) -> None:
        self.directory = RunDirectory(str(place))
        self.directory.begin(fresh=True)
        self.directory.add_events(['{"time": 1.5, "event": "lost", "worker": "w7"}'])
        self.beat = 0
        self.at(step=1)

    def at(self, step: int, **facts: Any) -> None:
        self.beat += 1
        status = {
            "attempt": 1, "state": "running", "phase": "running", "call": 0, "kind": "fit", "epoch": 1, "epochs": 2, "step": step,
            "step_in_epoch": step, "steps_per_epoch": 20, "generation": 1, "logs": {"loss": 0.5}, "workers": [WORKER], "beat": self.beat,
        }  # fmt: skip
        self.directory.write_status({**status, **facts})


def on_terminal(run: Run, folder: Path) -> Terminal:
    variables = {name: value for name, value in environment().items() if name not in ("COLUMNS", "LINES")}
    return Terminal([sys.executable, "-m", "disttrain", "status", run.directory.run_dir, "--watch"], folder, variables)


def test_the_page_follows_the_run_on_a_screen_of_its_own_and_ends_with_it(tmp_path: Path):
    run = Run(tmp_path / "run")
    with on_terminal(run, tmp_path) as terminal:
        terminal.until(lambda seen: "1/20" in seen.text and "lost  worker w7" in seen.text and "w0" in seen.text)
        run.at(step=13)
        terminal.until(lambda seen: "13/20" in seen.text and "steps/s" in seen.text)
        run.directory.end("finished")
        assert terminal.wait() == 0
    codes = terminal.glass.codes
    assert codes.index("[?1049h") < codes.index("[?1049l") and codes.count("[?1049h") == codes.count("[?1049l") == 1
    assert max(place for place, code in enumerate(codes) if code == "[?25h") > max(p for p, code in enumerate(codes) if code == "[?25l")
    assert "finished" in terminal.text.rpartition("Ctrl-C leaves")[2]  # the last status stays below what stood there before


def test_ctrl_c_leaves_the_page_and_a_clean_terminal_and_the_run_goes_on(tmp_path: Path):
    run = Run(tmp_path / "run")
    with on_terminal(run, tmp_path) as terminal:
        terminal.until(lambda seen: "1/20" in seen.text)
        terminal.type("\x03")
        assert terminal.wait() == 130
    codes = terminal.glass.codes
    assert codes[-1] in ("[?1049l", "[?25h") and "[?1049l" in codes and "[?25h" in codes and "Traceback" not in terminal.text
    assert run.directory.status()["state"] == "running"


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_pipe_gets_lines_until_the_run_has_ended(tmp_path: Path, words: tuple[str, ...]):
    run = Run(tmp_path / "run")
    command = [sys.executable, "-m", "disttrain", "status", run.directory.run_dir, "--watch", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        limit = threading.Timer(600.0, process.kill)
        limit.start()
        assert process.stdout is not None
        first = process.stdout.readline()
        run.at(step=2, epoch=2)
        second = process.stdout.readline()
        run.directory.end("interrupted")
        last = process.stdout.readlines()[-1]
        limit.cancel()
        limit.join()
    assert process.returncode == 0
    if words:
        assert [json.loads(line).get("epoch") for line in (first, second)] == [1, 2] and json.loads(last)["state"] == "interrupted"
    else:
        assert "running  epoch 1/2  step 1  loss 0.5  1 workers" in first and "epoch 2/2" in second and "interrupted" in last


def test_the_pace_is_that_of_the_last_looks_and_silence_is_counted_from_the_last_word():
    watched = Watched()
    assert watched.pace is None
    for now_s, step, beat in ((10.0, 100, 1), (12.0, 150, 2), (14.0, 200, 3), (30.0, 200, 3)):
        watched.look({"step": step, "beat": beat}, now_s)
    assert watched.pace == 5.0 and watched.silent_s(30.0) == 16.0
    watched.look({"step": 20, "beat": 4}, 31.0)  # back to a checkpoint
    assert watched.pace is None and watched.silent_s(31.0) == 0.0


def test_nothing_in_a_line_is_a_control_character():
    line = line_of("r\x1b[31m", {"state": "running", "phase": "p\x07", "logs": {"m\x1b]0;x": 1.0}})
    assert line.isprintable()
