"""A GPU that is left out is held by a process that is no worker, on a Ray of its own that believes in GPUs which are not there."""

from __future__ import annotations

import ctypes
import os
import stat
from pathlib import Path

import pytest
from heard import Heard

from disttrain.clusters.ray.cluster import RayCluster
from disttrain.clusters.ray.instance import RayInstance, RayOptions
from disttrain.orchestrator.events import StartFailed

pytestmark = [pytest.mark.ray, pytest.mark.leaves_behind("threads", "processes", "environment")]


def driver_is_here() -> bool:
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


@pytest.mark.skipif(driver_is_here(), reason="this machine's driver answers before a command of that name does")
def test_a_gpu_that_is_left_out_is_held_and_the_next_worker_lies_on_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho '0, GPU-a, NVIDIA H200, 143771'\necho '1, GPU-b, NVIDIA H200, 143771'\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    ray = RayInstance(RayOptions(cpus=2, gpus=2))
    ray.start()
    try:
        cluster = RayCluster(cpus_per_worker=1, gpus_per_worker=1, own=True)
        try:
            heard = Heard(cluster)
            cluster.avoid_gpus(("GPU-a",))
            held, other = heard.start(), heard.start()
            failed = heard.wait(lambda report: isinstance(report, StartFailed))
            assert failed.reason == "it came to lie on GPU-a, which is left out, and holds that from now on"
            worker = other if failed.worker == held else held
            assert heard.visible_gpus(worker) == "'1'"
        finally:
            cluster.close()
    finally:
        ray.stop()
