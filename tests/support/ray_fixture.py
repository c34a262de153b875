"""One Ray for the whole session of tests; each launch joins it as it would join a cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from shared_ray import SharedRay


@pytest.fixture(scope="session")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Ray with room for six workers."""
    with SharedRay(cpus=8) as ray:
        yield ray.address
