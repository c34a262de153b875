"""A worker on a real Ray that computes other bits than the rest: it stays outside, and the run has the bits of one process."""

from pathlib import Path

import pytest
from launching import launch, python

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "one_wrong_worker.py"
pytestmark = [pytest.mark.ray, pytest.mark.leaves_behind("processes")]  # the shared Ray keeps idle processes


def test_a_worker_that_computes_wrong_is_refused_and_replaced(tmp_path, ray_address):
    alone = python(tmp_path / "alone", "--virtual-workers", "3", script=SCRIPT)
    options = ("--workers", "3", "--seed", "3", "--audit", "20%", "--digest-every", "2")
    folder = tmp_path / "launched"
    run = launch(folder, *options, script=SCRIPT, arguments=("--marks", str(folder / "marks")), address=ray_address)
    done = run.wait()
    assert done.code == 0, done.out
    assert done.report == alone
    (refused,) = run.events("refused")
    assert refused["tensor"].startswith("gradient/") and refused["processor"]
    assert refused["worker"] not in run.events("formed")[-1]["members"]
    assert not run.events("audit failed") and not run.events("replicas differ")
