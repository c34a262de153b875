"""One Ray for the whole session of tests; each launch joins it as it would join a cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from shared_ray import SharedRay

if TYPE_CHECKING:
    from heard import Heard


@pytest.fixture(scope="session")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Ray with room for six workers."""
    with SharedRay(cpus=8) as ray:
        yield ray.address


@pytest.fixture(scope="module")
def joined_ray(ray_address: str) -> Iterator[None]:
    """This process as a driver on the shared Ray."""
    import ray

    ray.init(address=ray_address, namespace="conformance", log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture
def on_ray(joined_ray: None) -> Iterator[Heard]:
    """A cluster on it."""
    from heard import Heard

    from disttrain.clusters.ray.cluster import RayCluster

    cluster = RayCluster(cpus_per_worker=1)
    yield Heard(cluster)
    cluster.close()
