"""What a process leaves in its file when it dies of itself, and what becomes of that for people."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from disttrain.clusters.ray.last_words import LastWords, file_name, read_last_words
from disttrain.clusters.ray.lookout import Findings, ProcessFacts, condition_of, end, oom_kills, start_of
from disttrain.clusters.ray.reasons import LEASE_OVER, reason_of

_PROGRAM = """
import sys
sys.path[:0] = {path!r}
from disttrain.clusters.ray.last_words import Testament
testament = Testament({folder!r})
def my_layer():
    {dies}
my_layer()
"""


def words_of(folder: Path, dies: str) -> LastWords | None:
    """Of a real process that dies in that way."""
    code = _PROGRAM.format(path=[str(Path(__file__).parents[3])], folder=str(folder), dies=dies)
    script = folder / "script.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    process.wait(300)
    return read_last_words(str(folder / file_name(process.pid)))


@pytest.mark.faults
@pytest.mark.parametrize(
    ("dies", "reason"),
    [
        ("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV"),
        ("import os; os.abort()", "killed by SIGABRT"),
        ("import os; os.kill(os.getpid(), 7)", "killed by SIGBUS"),
        ("import os; os.kill(os.getpid(), 8)", "killed by SIGFPE"),
        ("import os; os.kill(os.getpid(), 4)", "killed by SIGILL"),
        ("import os; os._exit(3)", "exit code 3"),
    ],
)
def test_a_process_that_dies_of_itself_says_how_and_in_which_line(tmp_path, dies, reason):
    words = words_of(tmp_path, dies)
    assert words is not None and words.reason == reason
    assert words.where == f"{tmp_path}/script.py:7 in my_layer"


@pytest.mark.faults
def test_who_is_killed_from_outside_says_nothing(tmp_path):
    assert words_of(tmp_path, "import os; os.kill(os.getpid(), 9)") is None


@pytest.mark.faults
@pytest.mark.parametrize("ends", ["os._exit(5)", "os.abort()"])
def test_how_a_forked_child_ends_is_not_told_as_the_workers_end(tmp_path, ends):
    dies = f"import os; child = os.fork(); child or {ends}; os.waitpid(child, 0); os.kill(os.getpid(), 9)"
    assert words_of(tmp_path, dies) is None


def test_without_a_folder_nothing_is_written():
    from disttrain.clusters.ray.last_words import Testament

    Testament(None).write("nowhere to write it")


FACTS = ProcessFacts(1, 1, "node", "path", oom_kills=2)


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("", Findings(LastWords("killed by SIGSEGV", "a.py:3 in call"), 2), ("killed by SIGSEGV at a.py:3 in call", True)),
        ("", Findings(LastWords(LEASE_OVER + "cut off", "lease.py:1 in f"), 2), ("ended itself: cut off", False)),
        ("Worker exits with an exit code 5.", Findings(None, 2), ("exit code 5", True)),
        ("Worker exits with an exit code 1. The process receives a SIGTERM.", Findings(None, 2), ("ended by a SIGTERM", False)),
        ("", Findings(None, 2), ("ended without a word: SIGKILL, or another signal from outside", False)),
    ],
)
def test_reasons_are_short_and_say_whose_fault_it_was(text, found, expected):
    assert reason_of(RuntimeError(text), FACTS, found) == expected


def test_an_end_for_want_of_memory_is_named_as_that():
    reason, crashed = reason_of(RuntimeError("its process ended"), FACTS, Findings(None, 3))
    assert not crashed and "want of memory" in reason and "SIGKILL" in reason
    reason, crashed = reason_of(RuntimeError("killed due to the node running low on memory"), FACTS, Findings(None, 2))
    assert not crashed and "Ray's memory monitor" in reason


def test_a_lost_machine_is_named_as_that():
    reason, crashed = reason_of(RuntimeError("The actor died because its node has died. Node Id: 7"), FACTS, None)
    assert not crashed and reason.startswith("its machine is gone")


def test_a_process_is_alive_stopped_or_gone_and_a_later_one_of_its_number_is_another():
    process = subprocess.Popen(["sleep", "600"])
    facts = ProcessFacts(process.pid, start_of(process.pid), "node", None, oom_kills())
    try:
        assert condition_of(facts) == "alive"
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert condition_of(facts) == "stopped"
        later = ProcessFacts(facts.pid, facts.started + 1, "node", None, None)
        end(later)
        assert condition_of(later) == "gone" and condition_of(facts) == "stopped"
        end(facts)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert condition_of(facts) == "gone"  # a zombie
    finally:
        process.kill()
        process.wait()
    assert condition_of(facts) == "gone" and start_of(facts.pid) == 0
    end(facts)
