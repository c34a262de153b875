"""Being told to stop: real signals, sent to this process or to one of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from disttrain.errors import Interrupted
from disttrain.launch.stopping import StopRequests, stopped_by_signals

LIMIT_S = 600.0


@pytest.fixture
def steps():
    """Requests to stop a run that has steps to save, and what was called."""
    woken: list[int] = []
    requests = StopRequests(lambda: False, lambda: woken.append(1))
    requests.listen()
    yield requests, woken
    requests.put_back()


def told(number: int) -> None:
    """This process receives the signal; Python's handler has run when this returns."""
    signal.raise_signal(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_request_is_counted_and_whoever_waits_is_woken(number, steps):
    requests, woken = steps
    told(number)
    assert (requests.count, woken) == (1, [1])


def test_the_second_stops_the_script_at_once(steps):
    told(signal.SIGTERM)
    with pytest.raises(Interrupted, match="SIGINT"):
        told(signal.SIGINT)


@pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGTERM])
def test_a_terminal_that_goes_says_so_more_than_once_and_counts_once(first, steps):
    requests, _ = steps
    told(first)
    told(signal.SIGHUP)
    assert requests.count == 1


def test_where_there_is_nothing_to_save_the_first_one_stops_the_script():
    requests = StopRequests(lambda: True, lambda: None)
    requests.listen()
    try:
        with pytest.raises(Interrupted):
            told(signal.SIGTERM)
    finally:
        requests.put_back()


def test_a_run_that_is_ending_is_left_to_end(steps):
    requests, _ = steps
    requests.deaf = True
    told(signal.SIGTERM)
    told(signal.SIGTERM)
    assert requests.count == 0


def test_whoever_ignores_a_hangup_goes_on_without_a_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    requests = StopRequests(lambda: True, lambda: None)
    try:
        requests.listen()
        told(signal.SIGHUP)
        assert requests.count == 0
    finally:
        requests.put_back()
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_put_back_as_they_were():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    requests = StopRequests(lambda: False, lambda: None, lambda: None)
    requests.listen()
    requests.put_back()
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_command_that_is_told_to_stop_unwinds_as_after_ctrl_c():
    before = signal.getsignal(signal.SIGTERM)
    ended = []
    with pytest.raises(KeyboardInterrupt), stopped_by_signals():
        try:
            told(signal.SIGTERM)
        finally:
            ended.append(True)
    assert ended and signal.getsignal(signal.SIGTERM) is before


def test_a_script_that_hears_no_signal_is_stopped_from_beside():
    """In C, a lock that is taken twice: no signal gets its thread out of there."""
    program = """
import ctypes, os, signal, sys, threading, time
from disttrain.launch.stopping import StopRequests, end_process

def say_when_stuck():
    main, looks = threading.main_thread().ident, 0
    while looks < 20:  # each time with Python's own lock, so the line's call has let go of it
        looks = looks + 1 if sys._current_frames()[main].f_lineno == LAST else 0
        time.sleep(0.01)
    print("stuck", flush=True)

def stuck():
    print("left", flush=True)
    end_process(130)

requests = StopRequests(lambda: True, lambda: None, stuck)
requests.listen()
c, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)
threading.Thread(target=say_when_stuck, daemon=True).start()
c.pthread_mutex_lock(lock)
c.pthread_mutex_lock(lock)
"""
    program = program.replace("LAST", str(program.count("\n")))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "stuck\n"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=LIMIT_S)
    assert (out, process.returncode) == ("left\n", 130)


def test_a_process_that_the_script_forks_dies_of_a_signal_and_stops_no_run(steps):
    requests, _ = steps
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writes, b"here")
            threading.Event().wait(LIMIT_S)
        finally:
            os._exit(0)
    assert os.read(reads, 4) == b"here"
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    assert requests.count == 0
    os.close(reads)
    os.close(writes)
