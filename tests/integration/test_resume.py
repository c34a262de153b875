"""Ctrl-C, then a driver that dies; the same command goes on each time, and ends with the bits of a run that nobody disturbed."""

import json
import signal
import subprocess
import sys
import time

import pytest
from launching import HANGS_AFTER_S, Launch, ended, environment, launch

from disttrain.checkpoint import CommitName

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.leaves_behind("processes")]

OPTIONS = ("--virtual-workers", "4", "--checkpoint-every", "2steps")
# Six steps an epoch; after 9 and after 15, each in the middle of one, the next update waits for a file of this name.
HELD = ("--sabotage", "gate:9:any,gate:15:any")


def test_ctrl_c_keeps_the_step_and_a_killed_driver_is_resumed_by_the_same_command(alone, tmp_path, ray_address):
    marks = tmp_path / "marks"

    def start(workers: int) -> Launch:
        return launch(tmp_path, "--workers", str(workers), *OPTIONS, arguments=(*HELD, "--marks", str(marks)), address=ray_address)

    first = start(2)
    first.wait_for(lambda s: (marks / "held-9").exists())
    second = start(2).wait()
    assert second.code == 3 and f"pid {first.process.pid} on" in second.out  # once that one has ended, the same command goes on
    first.process.send_signal(signal.SIGINT)
    first.wait_for_words("stopping after this step")
    (marks / "gate-9").touch()
    done = first.wait()
    assert done.code == 130, done.out
    assert "Go on with:" in done.out and "disttrain launch" in done.out and "Traceback" not in done.out
    # the wish travels with the sums of a step, and those of the step that was held had been made
    assert max(CommitName.parse(name).step for name in first.commits()) in (10, 11)

    third = start(3)
    now = third.wait_for(lambda s: s["workers"] and (marks / "held-15").exists())
    workers = [worker["pid"] for worker in now["workers"]]
    third.kill()
    end = time.monotonic() + HANGS_AFTER_S
    while not all(map(ended, workers)) and time.monotonic() < end:
        time.sleep(0.1)
    assert workers and all(map(ended, workers)), "workers outlive their driver"
    (marks / "gate-15").touch()
    status = json.loads(disttrain("status", str(third.run_dir), "--json").stdout)
    assert status["state"] == "lost" and status["checkpoints"]

    last = start(2).wait()
    assert last.code == 0, last.out
    assert "resuming" in last.out
    assert last.report == alone
    again = start(2).wait()
    assert again.code == 0 and "this run is finished; nothing was changed" in again.out
    assert disttrain("digest", str(third.run_dir)).stdout.strip() == alone["digest"]


def disttrain(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "disttrain", *arguments], capture_output=True, text=True, env=environment(), check=False)
