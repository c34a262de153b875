"""How a launch ends: the script's error once and in its own lines, and afterwards no process and no folder of a Ray started here."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from launching import HANGS_AFTER_S, Launch, environment, launch

from disttrain.rundir.directory import RunDirectory

pytestmark = [pytest.mark.ray, pytest.mark.leaves_behind("processes")]  # the shared Ray keeps idle processes

SCRIPT = """
import os
import sys
import time

import numpy as np
import torch

import disttrain as dt
from disttrain import layers


HOLD, seen = os.path.abspath("hold"), []


def hold():
    if dt.layers.context.current().training:
        seen.append(os.getpid())
    while seen.count(os.getpid()) > 4 and os.path.exists(HOLD):  # once this process has done a few steps
        time.sleep(0.02)


class Half(layers.Layer):
    def call(self, x):
        {layer}
        return x / 2


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, number):
        {data}
        return torch.ones(2), torch.ones(1)


class Watching(dt.Callback):
    def on_epoch_end(self, epoch, logs=None):
        {callback}
        pass


model = dt.Sequential([dt.Input((2,)), Half(), layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(Numbers(), batch_size=4, epochs={epochs}, verbose=0, callbacks=[Watching()])
{after}
"""


def script(folder: Path, epochs: int = 2, **parts: str) -> Path:
    """The script with the given lines put in."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "train.py"
    path.write_text(SCRIPT.format(epochs=epochs, **{"layer": "", "data": "", "callback": "", "after": "", **parts}))
    return path


RAISE = "raise ArithmeticError('a mistake of the script')"


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("layer", f"if dt.layers.context.current().training: {RAISE}"),
        ("data", f"if number == 9: {RAISE}"),
    ],
)
def test_an_error_of_the_script_is_told_once_and_is_not_tried_again(place, line, tmp_path, ray_address):
    told_once(launch(tmp_path, "--workers", "2", script=script(tmp_path, **{place: line}), address=ray_address))


def told_once(job: Launch) -> None:
    """The run ends, and with it the error of the script."""
    done = job.wait()
    assert done.code == 1, done.out
    assert done.out.count("Traceback (most recent call last)") == 1, done.out
    assert done.out.count("ArithmeticError: a mistake of the script") == 1
    assert RAISE in done.out.split("Traceback")[1] and str(job.log.with_name("train.py")) in done.out
    assert len(job.events("formed")) == 1
    assert job.status()["state"] == "failed"


def test_a_layer_that_ends_its_process_is_told_with_its_line(tmp_path, ray_address):
    path = script(tmp_path, layer="if dt.layers.context.current().training: sys.exit(3)")
    done = launch(tmp_path, "--workers", "1", script=path, address=ray_address).wait()
    assert done.code == 1, done.out
    assert "sys.exit(3)" in done.out and str(path) in done.out and "SystemExit: 3" in done.out


def test_a_run_outlives_who_reads_what_it_prints(tmp_path, ray_address):
    path = script(tmp_path, epochs=6, layer="time.sleep(0.02)", callback="print('an epoch', flush=True)")
    reads, writes = os.pipe()
    job = launch(tmp_path, "--workers", "1", script=path, address=ray_address, stdout=writes)
    os.close(writes)
    assert os.read(reads, 1)
    os.close(reads)  # as `| head -1` does
    assert job.wait().code == 0
    assert job.status()["state"] == "finished"


SHIPS = """
import ctypes

import torch

import disttrain as dt
from disttrain import layers


class Stuck(torch.utils.data.Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, number):
        return torch.ones(2), torch.ones(1)

    def __getstate__(self):
        c, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)
        print("shipping", flush=True)
        c.pthread_mutex_lock(lock)
        c.pthread_mutex_lock(lock)  # no signal gets a thread out of here; as none gets it out of copying many gigabytes


model = dt.Sequential([dt.Input((2,)), layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(Stuck(), batch_size=4, verbose=0)
"""


def test_sigterm_is_obeyed_while_data_are_shipped(tmp_path, ray_address):
    path = tmp_path / "train.py"
    path.write_text(SHIPS)
    job = launch(tmp_path, "--workers", "1", script=path, address=ray_address)
    job.wait_for_words("shipping")
    job.process.send_signal(signal.SIGTERM)
    done = job.wait()
    assert done.code == 130 and "Go on with:" in done.out and "Traceback" not in done.out, done.out
    assert RunDirectory(str(job.run_dir)).status()["state"] == "interrupted"


# -- a Ray of its own -------------------------------------------------------------------------------------------------------------------


class Trace:
    """Finds the processes of one command, however they were started, by a variable in their environment."""

    def __init__(self, mark: str) -> None:
        self.mark = mark.encode()
        self.folders: set[Path] = set()

    def processes(self) -> dict[int, str]:
        """Living processes by pid; also notes which Ray folders they use."""
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                if not folder.name.isdigit() or self.mark not in (folder / "environ").read_bytes():
                    continue
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
        self.folders |= {Path(name) for command in found.values() for name in re.findall(r"/tmp/disttrain-ray-[\w-]+", command)}
        return found

    def nothing_is_left(self) -> None:
        assert self.folders, "no Ray was seen at work"
        end = time.monotonic() + HANGS_AFTER_S
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.1)
        assert not left
        assert not [folder for folder in self.folders if folder.exists()]


@pytest.fixture
def trace(monkeypatch) -> Trace:
    mark = f"mark-{uuid.uuid4().hex}"
    monkeypatch.setenv("DISTTRAIN_TEST_MARK", mark)
    return Trace(mark)


def at_work(job: Launch, trace: Trace, workers: int = 1) -> dict:
    """Wait until the workers step; the status."""
    now = job.wait_for(lambda status: status["kind"] == "fit" and status["step"] >= 1 and len(status["workers"]) == workers)
    trace.processes()
    return now


def test_after_success_nothing_is_left_and_the_script_was_run_as_by_python(tmp_path, trace):
    (tmp_path / "helper.py").write_text("import os\n\nDRIVER = os.getpid()\n\n\ndef half(x):\n    return x / 2\n")
    (tmp_path / "hold").touch()
    path = script(
        tmp_path,
        epochs=3,
        layer="hold(); import helper; return helper.half(x)",
        after="import helper\nprint('TOLD', sys.argv[-2:], __name__, helper.__file__, flush=True)",
    )
    job = launch(tmp_path, "--workers", "2", script=path, arguments=("--flag", "a value"))
    now = at_work(job, trace, workers=2)
    running = trace.processes()
    (tmp_path / "hold").unlink()
    assert len({worker["pid"] for worker in now["workers"]} & set(running)) == 2
    assert any("gcs_server" in command for command in running.values())
    idle = ("monitor.py", "dashboard.py")  # of Ray: an autoscaler, a follower of logs, the rest of a dashboard
    assert not [command for command in running.values() if any(program in command for program in idle)]
    done = job.wait()
    assert done.code == 0, done.out
    assert f"TOLD ['--flag', 'a value'] __main__ {tmp_path / 'helper.py'}" in done.out
    trace.nothing_is_left()


def test_after_an_error_of_the_script_in_a_callback_which_is_told_once_nothing_is_left(tmp_path, trace):
    (tmp_path / "hold").touch()
    job = launch(tmp_path, "--workers", "1", script=script(tmp_path, epochs=3, layer="hold()", callback=RAISE))
    at_work(job, trace)
    (tmp_path / "hold").unlink()
    told_once(job)
    trace.nothing_is_left()


def test_after_ctrl_c_twice_nothing_is_left(tmp_path, trace):
    path = script(tmp_path, epochs=1000, layer="time.sleep(0.3)")
    job = launch(tmp_path, "--workers", "2", script=path)
    at_work(job, trace, workers=2)
    told = subprocess.run(
        [sys.executable, "-m", "disttrain", "status", str(job.run_dir), "--json"],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    status = json.loads(told.stdout)
    assert (status["state"], status["kind"], status["epochs"]) == ("running", "fit", 1000)
    assert status["steps_per_epoch"] in (4, None)  # None while all wait at the end of an epoch
    assert status["driver"]["pid"] == job.process.pid and status["virtual_workers"] == 2
    assert [worker["virtual_ranks"] for worker in status["workers"]] == [[0], [1]]
    assert {"attempt", "call", "epoch", "step", "step_in_epoch", "generation", "logs", "phase", "checkpoints"} <= set(status)
    job.process.send_signal(signal.SIGINT)
    job.wait_for_words("stopping after this step")
    job.process.send_signal(signal.SIGINT)
    done = job.wait()
    assert done.code == 130, done.out
    assert "Go on with:" in done.out and "Traceback" not in done.out
    trace.nothing_is_left()


def test_sigterm_to_all_of_a_job_lets_a_step_of_five_seconds_end_and_commits_it(tmp_path, trace):
    path = script(tmp_path, epochs=1000, layer="time.sleep(5) if dt.layers.context.current().training else None")
    job = launch(tmp_path, "--workers", "2", "--checkpoint-every", "100000steps", script=path)
    at_work(job, trace, workers=2)
    assert not job.commits()
    for pid in trace.processes():  # as systemd and Slurm do
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    done = job.wait()
    assert done.code == 130, done.out
    assert len(job.commits()) == 1 and job.status()["state"] == "interrupted"
    assert "Go on with:" in done.out and "Traceback" not in done.out and "SIGTERM received" not in done.out
    trace.nothing_is_left()


def test_a_terminal_that_goes_lets_the_step_be_kept(tmp_path, trace):
    path = script(tmp_path, epochs=1000, layer="time.sleep(1) if dt.layers.context.current().training else None")
    person, terminal = os.openpty()
    job = launch(tmp_path, "--workers", "1", "--checkpoint-every", "100000steps", script=path, terminal=terminal)
    os.close(terminal)
    at_work(job, trace)
    assert not job.commits()
    os.close(person)  # the kernel hangs up on all that run there, Ray's processes too
    assert job.wait().code == 130
    assert len(job.commits()) == 1 and job.status()["state"] == "interrupted"
    trace.nothing_is_left()


def test_sigterm_is_obeyed_while_ray_starts(tmp_path, trace):
    job = launch(tmp_path, "--workers", "1", script=script(tmp_path))
    stopped: list[int] = []
    end = time.monotonic() + HANGS_AFTER_S
    while not stopped and time.monotonic() < end:
        stopped = [pid for pid, command in trace.processes().items() if "gcs_server" in command]
    os.kill(stopped[0], signal.SIGSTOP)  # Ray waits for it, for a minute and more
    job.process.send_signal(signal.SIGTERM)
    done = job.wait(limit_s=55.0)  # before Ray itself gives up
    assert done.code == 130 and "Go on with:" in done.out, done.out
    trace.nothing_is_left()


@pytest.mark.parametrize(("program", "words"), [("gcs_server", "Ray's GCS at "), ("raylet/raylet", "the raylet of this machine at ")])
def test_a_part_of_ray_that_dies_ends_the_run_in_words_of_ours(program, words, tmp_path, trace):
    path = script(tmp_path, epochs=1000, layer="time.sleep(0.1)")
    job = launch(tmp_path, "--workers", "1", "--checkpoint-every", "100000steps", script=path)
    at_work(job, trace)
    (pid,) = [pid for pid, command in trace.processes().items() if program in command.split(" ")[0]]
    os.kill(pid, signal.SIGKILL)
    done = job.wait()
    assert done.code == 3, done.out  # Ray itself would end the driver after 60 s, with 1
    assert f"InfrastructureError: {words}" in done.out and "try       the same command again" in done.out
    assert job.status()["state"] == "lost"
    if program == "gcs_server":  # the workers live on, and so there is time to keep what they hold
        assert len(job.commits()) == 1
    trace.nothing_is_left()


def test_plain_python_trains_without_ray(tmp_path):
    path = script(tmp_path, after="print('ray' in sys.modules, flush=True)")
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.split() == ["False"]
