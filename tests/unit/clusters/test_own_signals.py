"""A library that takes signals past Python loses them again."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
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


def test_a_process_that_is_begun_meanwhile_outlives_the_terminal():
    with own_signals():
        begun = subprocess.Popen(["sleep", "600"])
    try:
        begun.send_signal(signal.SIGHUP)
        os.kill(begun.pid, 0)
        held_back = [line for line in Path(f"/proc/{begun.pid}/status").read_text().splitlines() if line.startswith("SigBlk")]
        assert int(held_back[0].split()[1], 16) >> (signal.SIGHUP - 1) & 1 and begun.poll() is None
    finally:
        begun.kill()
        begun.wait()


def test_it_is_taken_back_while_the_block_still_waits():
    end = time.monotonic() + 30.0
    with own_signals():
        take(signal.SIGTERM)
        while module._get(signal.SIGTERM) and time.monotonic() < end:
            time.sleep(0.005)
        assert not module._get(signal.SIGTERM)
