"""What is awaited is told from the first moment on, again while it lasts, and never in the way of what others print."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

from disttrain import awaited as module
from disttrain.awaited import Awaited, Descriptor, awaiting, told_by
from disttrain.testing.fake_clock import FakeClock

ROOT = Path(__file__).resolve().parents[2]


class Screen:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


def made(*, terminal: bool) -> tuple[Awaited, Screen, FakeClock]:
    clock, screen = FakeClock(), Screen()
    return Awaited(screen, terminal=terminal, clock=clock), screen, clock


def look(awaited: Awaited, clock: FakeClock, seconds: float) -> None:
    for _ in range(round(seconds / 0.1)):
        clock.advance(0.1)
        awaited.look()


def test_in_a_pipe_each_wait_is_told_once_and_again_while_it_lasts():
    awaited, screen, clock = made(terminal=False)
    key = awaited.add("starting Ray")
    look(awaited, clock, 3.0)
    assert screen.text == "[disttrain] starting Ray ...\n[disttrain] starting Ray (2 s)\n"
    awaited.remove(key)
    look(awaited, clock, 10.0)
    assert screen.text.count("\n") == 2


def test_in_a_pipe_a_line_that_somebody_has_begun_is_ended_first():
    awaited, screen, clock = made(terminal=False)
    with awaited.aside(b"without an end"):
        screen.write("without an end")
    awaited.add("ending the run")
    look(awaited, clock, 3.0)
    assert screen.text == "without an end\n[disttrain] ending the run ...\n[disttrain] ending the run (2 s)\n"


def test_what_is_awaited_has_the_letters_that_the_stream_has():
    read, write = os.pipe()
    for encoding in ("utf-8", "ascii"):
        Descriptor(write, encoding).write("trän")
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == "trän".encode() + b"tr?n"


def test_no_gap_between_two_words_is_longer_than_three_seconds():
    awaited, screen, clock = made(terminal=False)
    awaited.add("waiting for workers")
    spoken = []
    for tick in range(600):
        before = screen.text
        look(awaited, clock, 0.1)
        if screen.text != before:
            spoken.append(tick / 10)
    assert max(later - earlier for earlier, later in pairwise(spoken)) <= 3.0 and spoken[0] <= 0.4


def test_what_is_over_at_once_is_not_told():
    awaited, screen, clock = made(terminal=False)
    key = awaited.add("looking")
    look(awaited, clock, 0.2)
    awaited.remove(key)
    look(awaited, clock, 1.0)
    assert screen.text == ""


def test_the_innermost_waits_of_all_threads_stand_in_one_line_and_a_word_that_changes_is_asked_for():
    awaited, screen, clock = made(terminal=False)
    ready = 0
    awaited.add("loading torch")

    def elsewhere() -> None:
        awaited.add("all workers")
        awaited.add(lambda: f"{ready} of 2 ready")

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    look(awaited, clock, 0.4)
    ready = 1
    look(awaited, clock, 0.4)
    assert screen.text == "[disttrain] loading torch, 0 of 2 ready ...\n[disttrain] loading torch, 1 of 2 ready ...\n"


def test_on_a_terminal_the_line_makes_room_for_what_is_printed_and_comes_back():
    awaited, screen, clock = made(terminal=True)
    awaited.add("loading torch")
    look(awaited, clock, 0.4)
    assert screen.text.startswith("\r\x1b[K") and "loading torch" in screen.text and "\n" not in screen.text
    screen.text = ""
    with awaited.aside(b"a line\n"):
        screen.write("a line\n")
    look(awaited, clock, 0.1)
    assert screen.text.startswith("\r\x1b[Ka line\n\r\x1b[K") and "loading torch" in screen.text


def test_a_question_at_the_terminal_is_left_standing_and_a_bar_is_not_in_the_way():
    awaited, screen, clock = made(terminal=True)
    awaited.add("train.py is running")
    with awaited.aside(b"how many? "):
        pass
    look(awaited, clock, 5.0)
    assert screen.text == ""
    with awaited.aside(b"\r\x1b[K 3/10 ----"):
        pass
    look(awaited, clock, 0.1)
    assert "train.py is running" in screen.text


def test_a_line_longer_than_the_terminal_is_cut_since_one_that_wraps_cannot_be_taken_back():
    clock, screen = FakeClock(), Screen()
    awaited = Awaited(screen, terminal=True, columns=lambda: 20, clock=clock)
    awaited.add("waiting for a great many workers")
    look(awaited, clock, 0.3)
    look(awaited, clock, 0.1)
    assert len(screen.text.removeprefix("\r\x1b[K")) == 19 and screen.text.endswith("~")


def test_a_word_that_cannot_be_had_costs_nothing():
    awaited, screen, clock = made(terminal=False)
    awaited.add(lambda: 1 // 0)  # type: ignore[arg-type, return-value]
    look(awaited, clock, 1.0)
    assert screen.text == ""


def test_the_first_word_of_a_launch_comes_before_the_libraries():
    program = (
        "import sys, importlib.abc\n"
        "class Look(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name in ('typer', 'fsspec', 'torch', 'ray'): print('import', name, flush=True); sys.exit(0)\n"
        "sys.meta_path.insert(0, Look())\n"
        "from disttrain.cli import main\n"
        "main(['launch', 'train.py'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    first, second, *_ = done.stdout.splitlines()
    assert first == "[disttrain] loading disttrain, to launch train.py ..." and second.startswith("import ")


def test_help_says_nothing_beside():
    done = subprocess.run(
        [sys.executable, "-m", "disttrain", "launch", "--help"], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "loading" not in done.stdout


def test_on_a_terminal_nothing_of_the_line_is_left_when_the_command_ends(tmp_path):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "disttrain", "launch", str(tmp_path / "missing.py")]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        seen = b""
        end = time.monotonic() + 300
        while time.monotonic() < end:
            try:
                part = os.read(ours, 4096)
            except OSError:  # Linux's word for the end of a terminal
                break
            if not part:
                break
            seen += part
        assert process.wait(300) == 2
    os.close(ours)
    text = seen.decode()
    assert "loading disttrain, to launch missing.py" not in text.rpartition("\x1b[K")[2]
    assert "loading disttrain" in text and "there is no script" in text.rpartition("\x1b[K")[2]


def test_a_script_that_distributes_is_told_in_whole_lines_unless_a_command_tells_already():
    told: list[str] = []
    heard = threading.Event()

    def say(line: str) -> None:
        told.append(line)
        heard.set()

    with told_by(say), told_by(lambda line: told.append("twice")), awaiting("waiting for workers: 0 of 2 ready"):
        assert heard.wait(300)
    assert set(told) == {"[disttrain] waiting for workers: 0 of 2 ready ..."} and module._told is None
