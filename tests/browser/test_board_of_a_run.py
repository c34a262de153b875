"""`disttrain tensorboard RUN_DIR` on a run that lost a worker: the curves have no gap, and the loss of the worker is one of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import Any
from urllib.parse import quote

import pytest
from launching import SCRIPTS, environment, heed_ctrl_c, launch

pytestmark = [pytest.mark.ray, pytest.mark.browser, pytest.mark.leaves_behind("processes", "threads")]

EPOCHS = 6


@pytest.fixture(scope="module")
def run(tmp_path_factory, ray_address) -> Any:
    """A run of three workers, one of which was killed in the second epoch."""
    folder = tmp_path_factory.mktemp("lost")
    marks = folder / "marks"
    marks.mkdir()
    started = launch(
        folder, "--workers", "3", "--virtual-workers", "3", script=SCRIPTS / "watched.py",
        arguments=("--board", "--marks", str(marks), "--epochs", str(EPOCHS)), address=ray_address,
    )  # fmt: skip
    try:
        for epoch in range(EPOCHS):
            if epoch == 2:
                workers = started.wait_for(lambda status: status["epoch"] == 3 and len(status["workers"]) == 3)["workers"]
                os.kill(workers[1]["pid"], signal.SIGKILL)
            (marks / f"epoch-{epoch}").touch()
            if epoch == 1:
                started.wait_for(lambda status: status["epoch"] == 3)
        done = started.wait()
    finally:
        if started.process.poll() is None:
            started.kill()
    assert done.code == 0, done.out
    assert started.events("recovered")
    return started


@pytest.fixture(scope="module")
def url(run) -> Any:
    """Where `disttrain tensorboard` says that it serves the run."""
    command = [sys.executable, "-m", "disttrain", "tensorboard", str(run.run_dir), "--port", "0"]
    out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    served = subprocess.Popen(command, env=environment(), preexec_fn=heed_ctrl_c, **out)
    assert served.stdout is not None
    said = ""
    for line in served.stdout:
        said += line
        found = re.search(r"http://\S+", line)
        if found:
            break
    else:
        raise AssertionError(said)
    yield found[0]
    served.send_signal(signal.SIGINT)
    assert served.wait(300) == 0
    served.stdout.close()


def curve(run: Any, folder: str, tag: str) -> list[tuple[int, float]]:
    """A curve as TensorBoard's own reader finds it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    accumulator = EventAccumulator(str(run.run_dir / "tensorboard" / folder), size_guidance={"tensors": 0, "scalars": 0})
    accumulator.Reload()
    if tag in accumulator.Tags()["scalars"]:
        return [(event.step, event.value) for event in accumulator.Scalars(tag)]
    return [(event.step, float(make_ndarray(event.tensor_proto))) for event in accumulator.Tensors(tag)]


@pytest.mark.filterwarnings("ignore")  # tensorboard's reader warns of its own dependencies
def test_the_curves_tell_of_the_loss_and_have_no_gap(run):
    recoveries = curve(run, "run", "run/recoveries")
    assert recoveries[0][1] == 0.0 and recoveries[-1][1] >= 1.0
    assert curve(run, "run", "run/recovery_seconds")[-1][1] > 0.0
    assert min(value for _, value in curve(run, "run", "run/workers_alive")) >= 2
    assert [step for step, _ in curve(run, "train", "epoch_loss")] == list(range(EPOCHS))
    steps = [step for step, _ in curve(run, "train", "batch_loss")]
    assert steps == list(range(steps[0], steps[0] + 10 * EPOCHS))


def test_tensorboard_shows_them(url, watched):
    page = watched.page
    tags = ("epoch_loss", "run/recoveries", "run/workers_alive")
    pattern = "^(epoch_loss|run/(recoveries|workers_alive))$"
    page.goto(
        f"{url}?darkMode=false#scalars&_smoothingWeight=0&_ignoreYOutliers=false&tagFilter={quote(pattern, safe='')}",
        wait_until="domcontentloaded",
    )
    for tag in tags:
        page.get_by_text(f"tag: {tag}").first.wait_for(state="attached")
    page.wait_for_timeout(1500)  # for the picture only: the lines are drawn by and by
    watched.screenshot("tensorboard-lost-worker", clip={"x": 0, "y": 0, "width": 1440, "height": 480})
