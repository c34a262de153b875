"""The fixture that fails a careless test, on careless acts made here."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import leaks
import psutil
import pytest
from leaks import Surroundings, clear_away


def test_a_test_that_cleans_up_leaves_nothing(monkeypatch: pytest.MonkeyPatch):
    before = Surroundings.now()
    thread = threading.Thread(target=lambda: None)
    thread.start()
    subprocess.run([sys.executable, "-c", ""], check=True)
    with monkeypatch.context() as patch:
        patch.setenv("DISTTRAIN_TEST_LEAK", "1")
    assert clear_away(before) == []


def test_a_running_thread_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(leaks, "GRACE_S", 0.0)
    before, stop = Surroundings.now(), threading.Event()
    thread = threading.Thread(target=stop.wait, name="forgotten")
    thread.start()
    try:
        assert clear_away(before) == ["thread 'forgotten' is still running (daemon=False)"]
        assert clear_away(before, ["threads"]) == []
    finally:
        stop.set()
        thread.join()


def test_a_running_process_is_named_and_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(leaks, "GRACE_S", 0.2)
    before = Surroundings.now()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = clear_away(before)
        assert found == [f"process {child.pid} is still running: {sys.executable} -c input()"]
        assert not psutil.pid_exists(child.pid)


def test_a_variable_that_was_set_or_changed_or_deleted_is_named_and_put_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DISTTRAIN_TEST_A", "old")
    monkeypatch.setenv("DISTTRAIN_TEST_B", "old")
    before = Surroundings.now()
    os.environ["DISTTRAIN_TEST_A"] = "new"
    del os.environ["DISTTRAIN_TEST_B"]
    os.environ["DISTTRAIN_TEST_C"] = "new"
    advice = "set it with monkeypatch.setenv"
    assert clear_away(before) == [
        f"environment variable DISTTRAIN_TEST_A is 'new', was 'old': {advice}",
        f"environment variable DISTTRAIN_TEST_B is None, was 'old': {advice}",
        f"environment variable DISTTRAIN_TEST_C is 'new', was None: {advice}",
    ]
    assert clear_away(before) == []


def test_a_misspelt_kind_is_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match="threads, processes, environment"):
        clear_away(Surroundings.now(), ["thread"])


def test_every_test_is_watched(request: pytest.FixtureRequest):
    assert "nothing_left_behind" in request.fixturenames
