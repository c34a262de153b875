"""A node of the cluster on which the path of the run directory is another disk: nothing is trained with it, and nobody else is harmed."""

import os
import subprocess

import pytest
from launching import launch
from shared_ray import SharedRay

OPTIONS = ("--virtual-workers", "4", "--seed", "3", "--checkpoint-every", "3steps")


def can_mount():
    try:
        own = [] if os.geteuid() == 0 else ["--map-root-user"]
        return subprocess.run(["unshare", "--mount", *own, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0
    except OSError:
        return False


pytestmark = [
    pytest.mark.ray,
    pytest.mark.faults,
    pytest.mark.leaves_behind("processes"),
    pytest.mark.skipif(not can_mount(), reason="needs mount namespaces"),
]


def test_a_host_with_another_disk_is_refused_as_a_newcomer_and_at_the_start(alone, tmp_path):
    kept, marks = tmp_path / "kept", tmp_path / "marks"
    kept.mkdir(), marks.mkdir()
    with SharedRay(cpus=1) as ray:
        waits = ("--sabotage", "gate:8:any", "--marks", str(marks))
        job = launch(kept, "--workers", "1", "--max-workers", "2", *OPTIONS, arguments=waits, address=ray.address)
        job.wait_for(lambda s: s["kind"] == "fit" and s["phase"] == "running" and s["workers"])
        ray.add_host_with_another_disk(kept, cpus=1)
        job.wait_for(lambda s: job.events("newcomer failed"))
        (marks / "gate-8").touch()
        done = job.wait()
        assert done.code == 0 and done.report == alone, done.out
        assert f"could not join: {job.run_dir} on " in done.out and "is not the run directory of the driver on" in done.out

        other = launch(kept / "other", "--workers", "2", *OPTIONS, address=ray.address).wait()
        assert other.code == 2, other.out
        assert "RunNotShared" in other.out and "s3://bucket/run" in other.out and "Traceback" not in other.out
        assert not list((kept / "other" / "run").glob("checkpoints/commits/*"))
