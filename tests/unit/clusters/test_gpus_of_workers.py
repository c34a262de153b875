"""GPUs on Ray: who sees which, and one that is left out is held by a process that is no worker. Ray believes in GPUs that are not there."""

from __future__ import annotations

import ctypes

import pytest
from heard import Heard, predict_shipment, tell_visible

from disttrain.clusters.ray.instance import RayInstance, RayOptions
from disttrain.orchestrator.events import StartFailed

pytestmark = [pytest.mark.ray, pytest.mark.leaves_behind("threads", "processes", "environment")]


def has_a_driver():
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


def visible(heard, worker):
    heard.run(worker, tell_visible)
    return heard.wait(lambda report: type(report).__name__ == "Failed" and report.worker == worker).traceback


def test_a_worker_on_cpus_sees_no_gpu(on_ray):
    assert "CUDA_VISIBLE_DEVICES=''" in visible(on_ray, on_ray.start())


@pytest.mark.skipif(has_a_driver(), reason="this machine's driver answers before a fake command does")
def test_a_gpu_that_is_left_out_is_held_and_the_next_worker_lies_on_another(tmp_path, monkeypatch):
    from disttrain.clusters.ray.cluster import RayCluster

    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho '0, GPU-a, NVIDIA H200, 143771'\necho '1, GPU-b, NVIDIA H200, 143771'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    ray = RayInstance(RayOptions(cpus=2, gpus=2))
    ray.start()
    try:
        cluster = RayCluster(cpus_per_worker=1, gpus_per_worker=1, own=True)
        heard = Heard(cluster)
        try:
            cluster.avoid_gpus(("GPU-a",))
            held = heard.start()
            failed = heard.wait(lambda report: isinstance(report, StartFailed))
            assert (failed.worker, failed.reason) == (held, "it came to lie on GPU-a, which is left out, and holds that from now on")
            other = heard.start()
            heard.begin(other, predict_shipment())
            assert heard.ready(other).worker == other
            assert "CUDA_VISIBLE_DEVICES='1'" in visible(heard, other)
        finally:
            cluster.close()
    finally:
        ray.stop()
