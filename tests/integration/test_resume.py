"""The driver dies; the same command goes on, and ends with the bits of a run that nobody disturbed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from launching import environment, launch, python

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.leaves_behind("processes")]

SLOWLY = ("--delay", "0.2")  # six steps an epoch, each long enough to be met in the middle
OPTIONS = ("--workers", "2", "--virtual-workers", "4", "--checkpoint-every", "2steps")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return python(tmp_path_factory.mktemp("alone"), "--virtual-workers", "4")


def ended(pid: int) -> bool:
    """Is no such process left, or only its zombie?"""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_driver_killed_in_mid_epoch_is_resumed_by_the_same_command(alone, tmp_path, ray_address):
    first = launch(tmp_path, *OPTIONS, arguments=SLOWLY, address=ray_address)
    now = first.wait_for(lambda s: 7 <= s["step"] <= 10)
    workers = [worker["pid"] for worker in now["workers"]]
    first.kill()
    end = time.monotonic() + 120
    while not all(map(ended, workers)) and time.monotonic() < end:
        time.sleep(0.1)
    assert all(map(ended, workers)), "workers outlive their driver"
    status = json.loads(disttrain("status", str(first.run_dir), "--json").stdout)
    assert status["state"] == "lost" and status["checkpoints"]
    second = launch(tmp_path, *OPTIONS, arguments=SLOWLY, address=ray_address).wait()
    assert second.code == 0, second.out
    assert "resuming" in second.out
    assert second.report == alone
    again = launch(tmp_path, *OPTIONS, arguments=SLOWLY, address=ray_address).wait()
    assert again.code == 0 and "this run is finished; nothing was changed" in again.out
    assert disttrain("digest", str(first.run_dir)).stdout.strip() == alone["digest"]


def test_a_finished_fit_is_taken_from_the_run_when_the_driver_died_later(alone, tmp_path, ray_address):
    first = launch(tmp_path, *OPTIONS, address=ray_address)
    while not list(first.run_dir.glob("calls/*.json")):
        assert first.process.poll() is None, first.text()
        time.sleep(0.01)
    first.kill()
    second = launch(tmp_path, *OPTIONS, address=ray_address).wait()
    assert second.code == 0, second.out
    assert "was finished before" in second.out
    assert second.report["digest"] == alone["digest"] and second.report["history"] == alone["history"]


def test_ctrl_c_finishes_the_step_commits_and_says_how_to_go_on(alone, tmp_path, ray_address):
    first = launch(tmp_path, "--workers", "2", "--virtual-workers", "4", arguments=SLOWLY, address=ray_address)
    first.wait_for(lambda s: 7 <= s["step"] <= 10)
    first.process.send_signal(signal.SIGINT)
    done = first.wait()
    assert done.code == 130, done.out
    assert "Go on with:" in done.out and "disttrain launch" in done.out and "Traceback" not in done.out
    assert first.events("committed")
    second = launch(tmp_path, "--workers", "3", "--virtual-workers", "4", arguments=SLOWLY, address=ray_address).wait()
    assert second.code == 0, second.out
    assert second.report == alone


def test_a_second_driver_on_a_live_run_is_refused_by_name(tmp_path, ray_address):
    first = launch(tmp_path, *OPTIONS, arguments=SLOWLY, address=ray_address)
    first.wait_for(lambda s: s["kind"] == "fit")
    second = launch(tmp_path, *OPTIONS, address=ray_address).wait()
    assert second.code == 3 and f"pid {first.process.pid} on" in second.out  # once that one has ended, the same command goes on
    first.process.send_signal(signal.SIGINT)
    assert first.wait().code == 130


def disttrain(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "disttrain", *arguments], capture_output=True, text=True, env=environment(), check=False)


assert os.name == "posix"
