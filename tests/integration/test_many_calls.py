"""Many short calls in one launch: what a call takes of the system, it gives back."""

import pytest
from launching import SCRIPTS, launch

pytestmark = [pytest.mark.ray, pytest.mark.leaves_behind("processes")]


def test_threads_and_open_files_of_workers_and_driver_stay_as_they_are(tmp_path, ray_address):
    job = launch(tmp_path, "--workers", "2", "--seed", "1", script=SCRIPTS / "many_calls.py", address=ray_address)
    done = job.wait(300.0)
    assert done.code == 0, done.out
    assert done.report is not None
    first, *_, last = done.report["seen"]
    assert len(last["workers"]) == 2, done.report
    for pid, before in first["workers"].items():
        after = last["workers"][pid]
        assert after["threads"] <= before["threads"] + 3 and after["files"] <= before["files"] + 3, done.report["seen"]
    assert last["driver"]["threads"] <= first["driver"]["threads"] + 3, done.report["seen"]
    assert last["driver"]["files"] <= first["driver"]["files"] + 6, done.report["seen"]
