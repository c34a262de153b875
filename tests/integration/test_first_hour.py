"""A launch as a newcomer sees it: never silent, what it is at its start, what to do at its end, and what was printed, afterwards."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from launching import environment, launch

pytestmark = [pytest.mark.ray, pytest.mark.leaves_behind("processes")]  # the shared Ray keeps idle processes

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def script(tmp_path) -> Path:
    """README's first."""
    (code,) = re.findall(r"^```python\n(# train\.py\n.*?)^```", README, re.MULTILINE | re.DOTALL)
    path = tmp_path / "train.py"
    path.write_text(code.replace("epochs=3", "epochs=1") + "\nprint('the end of', __name__)\n")
    return path


def test_the_readme_script_says_what_it_awaits_what_it_is_and_what_to_do_then(tmp_path, ray_address, script):
    job = launch(tmp_path, "--workers", "2", script=script, address=ray_address)
    done = job.wait()
    assert done.code == 0, done.out
    words = [
        f"[disttrain] loading disttrain, to launch {script} ...", "[disttrain] run      ",
        f"[disttrain] workers  2 on the Ray cluster at {ray_address}",
        "[disttrain] data     1,800 samples, 18 steps of 100 an epoch, 1 epoch", "[disttrain] from     the start", "the end of __main__",
        "[disttrain] done     ", "[disttrain] export   ", "[disttrain] view     ", "[disttrain] curves   ",
    ]  # fmt: skip
    places = [done.out.find(word) for word in words]
    assert -1 not in places and places == sorted(places), done.out
    shown = [
        subprocess.run(
            [sys.executable, "-m", "disttrain", command, str(job.run_dir)], capture_output=True, text=True, check=True, env=environment()
        ).stdout
        for command in ("logs", "status")
    ]
    assert "script: the end of __main__" in shown[0] and "epoch 1/1  step 18" in shown[1] and "val_accuracy" in shown[1]


def test_where_the_cluster_has_no_room_that_is_said_and_ctrl_c_ends_it(tmp_path, ray_address, script):
    job = launch(tmp_path, "--workers", "2", "--cpus-per-worker", "64", script=script, address=ray_address)
    job.wait_for_words("waiting for workers: 0 of 2 ready; no word from w0, w1 yet (free CPUs")
    job.process.send_signal(signal.SIGINT)
    assert job.wait().code == 130
