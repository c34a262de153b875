"""GPUs on Ray: a worker on CPUs is shown none."""

from __future__ import annotations

import pytest
from heard import Heard

pytestmark = [pytest.mark.ray, pytest.mark.leaves_behind("threads", "processes", "environment")]


def test_a_worker_on_cpus_sees_no_gpu(on_ray: Heard):
    assert on_ray.visible_gpus(on_ray.start()) == "''"
