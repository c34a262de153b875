"""GPUs on Ray: a worker on CPUs is shown none."""

from __future__ import annotations

import pytest
from heard import Heard, tell_visible_gpus

from disttrain.elastic.messages import Failed

pytestmark = [pytest.mark.ray, pytest.mark.leaves_behind("threads", "processes", "environment")]


def seen_by(heard: Heard, worker: str) -> str:
    """What the worker's process is shown of GPUs."""
    heard.run(worker, tell_visible_gpus)
    told: str = heard.wait(lambda report: isinstance(report, Failed) and report.worker == worker).traceback
    return told.rpartition("CUDA_VISIBLE_DEVICES=")[2].strip()


def test_a_worker_on_cpus_sees_no_gpu(on_ray: Heard):
    assert seen_by(on_ray, on_ray.start()) == "''"
