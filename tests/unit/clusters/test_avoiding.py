"""A machine that is avoided gets no worker from Ray."""

from __future__ import annotations

import socket

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.leaves_behind("threads", "processes", "environment")]


def test_an_actor_is_not_placed_on_a_machine_that_is_avoided(joined_ray):
    import ray

    from disttrain.clusters.ray.compat import elsewhere

    class Actor:
        def here(self):
            return True

    remote = ray.remote(num_cpus=1)(Actor)
    here = elsewhere({socket.gethostname()})
    assert elsewhere(set()) == {} and elsewhere({"another-machine"}) == {} and here
    avoiding = remote.options(**here).remote()
    others = [remote.remote() for _ in range(2)]  # asked for later
    ray.get([other.here.remote() for other in others])
    ready, waiting = ray.wait([avoiding.here.remote()], timeout=0)
    assert not ready and waiting
    for actor in (avoiding, *others):
        ray.kill(actor)
