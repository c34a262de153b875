"""Scripts that use Ray themselves, and scripts that stop in a debugger, under a launch as under plain Python."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time

import pytest
from launching import environment, launch

pytestmark = [pytest.mark.ray, pytest.mark.leaves_behind("processes")]  # the shared Ray keeps idle processes

MODEL = """
import numpy as np
import disttrain as dt

x, y = np.ones((16, 2), "float32"), np.ones((16, 1), "float32")
model = dt.Sequential([dt.Input((2,)), dt.layers.Dense(1)])
model.compile("sgd", "mse")
"""

USES_RAY = (
    """
import faulthandler, os, signal, sys
before = sys.excepthook, os.environ.get("PYTHONBREAKPOINT"), sys.path[0]
import ray
import torch
import disttrain as dt

@ray.remote
def double(number):
    return 2 * number

ops = dt.ops

def my_loss(y, p):  # names torch and ops: torch.ops is a module that no pickler knows
    return ops.mean(torch.abs(y - p), axis=-1)

print("BEFORE", ray.get([double.remote(number) for number in range(3)]), flush=True)
ray.init(num_cpus=64)
"""
    + MODEL
    + """
model.compile("sgd", my_loss)
model.fit(x, y, batch_size=8, epochs=1, verbose=0)
print("BETWEEN", ray.get([double.remote(number) for number in range(3)]), flush=True)
ray.shutdown()
print("AFTER", model.evaluate(x, y, verbose=0) >= 0, ray.get(double.remote(4)), flush=True)
print("KEPT", (sys.excepthook, os.environ.get("PYTHONBREAKPOINT"), sys.path[0]) == before, faulthandler.is_enabled(), flush=True)
"""
)


def test_a_script_that_uses_ray_before_between_and_after_its_fits_shares_the_ray_of_the_launch(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(USES_RAY)
    done = launch(tmp_path, "--workers", "2", script=path).wait()
    assert done.code == 0, done.out
    for line in ("BEFORE [0, 2, 4]", "BETWEEN [0, 2, 4]", "AFTER True 8", "KEPT True False"):
        assert line in done.out, done.out
    assert f"{path}:" in done.out and "num_cpus changes nothing" in done.out and "ray.shutdown() does nothing here" in done.out


BEGINS_RAY = (
    """
import ray

ray.init(num_cpus=2, include_dashboard=False)
"""
    + MODEL
    + """
try:
    with dt.distribute(workers=3):
        model.fit(x, y, batch_size=8, verbose=0)
except dt.errors.UsageError as error:
    print("REFUSED", error)
with dt.distribute(workers=2):
    model.fit(x, y, batch_size=8, verbose=0)
print("STILL", ray.is_initialized())
ray.shutdown()
"""
)


def test_from_python_a_ray_that_the_script_began_is_the_runs_and_stays_the_scripts(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(BEGINS_RAY)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, cwd=tmp_path, env=environment())
    assert done.returncode == 0 and "STILL True" in done.stdout, done.stdout + done.stderr
    assert "REFUSED the Ray that ray.init has started offers 2 CPUs" in done.stdout


DEBUGGED = (
    MODEL
    + """
class Stops(dt.Callback):
    def on_epoch_end(self, epoch, logs=None):
        breakpoint()
        print("AFTER", epoch, flush=True)

model.fit(x, y, batch_size=8, epochs=2, verbose=1, callbacks=[Stops()])
"""
)


def test_breakpoint_in_a_callback_asks_at_the_terminal(tmp_path, ray_address):
    path = tmp_path / "train.py"
    path.write_text(DEBUGGED)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "disttrain", "launch", str(path), "--workers", "1", "--address", ray_address]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env={**environment(), "TERM": "dumb"})
    os.close(theirs)
    shown = _until(ours, "(Pdb) ")
    os.write(ours, b"p 'epoch', epoch + 100\n")
    shown += _until(ours, "(Pdb) ")
    os.write(ours, b"c\n")
    shown += _until(ours, "(Pdb) ")
    os.write(ours, b"c\n")
    shown += _until(ours, None)
    assert process.wait(300) == 0, shown
    assert "('epoch', 100)" in shown and "AFTER 0" in shown and "AFTER 1" in shown


def test_breakpoint_without_a_terminal_ends_as_under_plain_python_and_says_why(tmp_path, ray_address):
    path = tmp_path / "train.py"
    path.write_text(DEBUGGED)
    command = [sys.executable, "-m", "disttrain", "launch", str(path), "--workers", "1", "--address", ray_address]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=tmp_path, env=environment())
    bare = [sys.executable, str(path)]
    plain = subprocess.run(bare, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=tmp_path, env=environment())
    assert done.returncode == plain.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1] == plain.stderr.splitlines()[-1] == "bdb.BdbQuit"
    assert f"{path}:" in done.stderr and "breakpoint() asked at a standard input that is no terminal" in done.stderr


STOPS_IN_A_WORKER = (
    MODEL
    + """
class Stops(dt.layers.Layer):
    def call(self, x):
        if dt.layers.context.current().training:
            breakpoint()
        return x

model = dt.Sequential([dt.Input((2,)), Stops(), dt.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(x, y, batch_size=8, verbose=0)
"""
)


def test_breakpoint_in_a_worker_is_an_error_with_its_line(tmp_path, ray_address):
    path = tmp_path / "train.py"
    path.write_text(STOPS_IN_A_WORKER)
    done = launch(tmp_path, "--workers", "1", script=path, address=ray_address).wait()
    assert done.code != 0 and "in a worker, which has no terminal" in done.out and "train.py:" in done.out, done.out


def _until(terminal: int, words: str | None, limit_s: float = 600.0) -> str:
    """What is shown until these words, or until the end."""
    shown, end = "", time.monotonic() + limit_s
    while words is None or words not in shown:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the other side is gone
            part = b""
        if not part:
            assert words is None, shown
            return shown
        shown += part.decode(errors="replace")
        assert time.monotonic() < end, shown
    return shown
