"""A library that takes signals past Python loses them again."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from disttrain.clusters.ray import own_signals as module
from disttrain.clusters.ray.own_signals import own_signals


def take(number: int) -> None:
    """As Ray's C++ does: the kernel calls `abort`, and Python does not know."""
    module._set(number, ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_python_handles_it_handles_still(number):
    heard = []
    before = signal.signal(number, lambda *_: heard.append(1))
    try:
        with own_signals():
            take(number)
        os.kill(os.getpid(), number)
        assert heard == [1]
    finally:
        signal.signal(number, before)


def test_what_ends_a_process_by_default_does_so_still():
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with own_signals():
        take(signal.SIGTERM)
    assert not module._get(signal.SIGTERM)


def test_a_handler_that_is_set_meanwhile_stays():
    heard = []
    with own_signals():
        before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [1]
    finally:
        signal.signal(signal.SIGTERM, before)


def held_back(pid: int) -> set[int]:
    """The signals that a process holds back."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigBlk")]
    return {number for number in (signal.SIGHUP, signal.SIGTERM) if int(line.split()[1], 16) >> (number - 1) & 1}


def test_a_process_that_is_begun_meanwhile_outlives_the_terminal_and_a_word_to_all_of_a_job():
    with own_signals():
        begun = subprocess.Popen(["sleep", "600"])
    try:
        begun.send_signal(signal.SIGHUP)
        begun.send_signal(signal.SIGTERM)
        os.kill(begun.pid, 0)
        assert held_back(begun.pid) == {signal.SIGHUP, signal.SIGTERM} and begun.poll() is None
    finally:
        begun.kill()
        begun.wait()


WORKER = """
import multiprocessing, os, signal, subprocess, sys, threading
from disttrain.clusters.ray.own_signals import let_children_hear

def serve():
    let_children_hear()
    os.kill(os.getpid(), signal.SIGTERM)
    program = subprocess.Popen(["sleep", "600"])
    fork = multiprocessing.get_context("fork").Process(target=threading.Event().wait, args=(600,))
    fork.start()
    for child in (program, fork):
        child.terminate()
    program.wait(300)
    fork.join(300)
    print(program.returncode, fork.exitcode, flush=True)

thread = threading.Thread(target=serve)
thread.start()
thread.join()
"""


def test_what_the_script_starts_in_a_worker_that_hears_no_sigterm_hears_it():
    with own_signals():  # as a raylet of ours is begun, and a worker by it
        worker = subprocess.Popen([sys.executable, "-W", "ignore", "-c", WORKER], stdout=subprocess.PIPE, text=True)
    try:
        told, _ = worker.communicate(timeout=300)
    finally:
        worker.kill()
    assert told.split() == [str(-signal.SIGTERM)] * 2 and worker.returncode == 0


def test_it_is_taken_back_while_the_block_still_waits():
    end = time.monotonic() + 300.0
    with own_signals():
        take(signal.SIGTERM)
        while module._get(signal.SIGTERM) and time.monotonic() < end:
            time.sleep(0.005)
        assert not module._get(signal.SIGTERM)
