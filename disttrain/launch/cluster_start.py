"""Starting a cluster and the workers beside everything else: it takes seconds, and so do the imports of a script. Loads no torch."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from disttrain import orchestrator as o
from disttrain.clock import Clock, SystemClock
from disttrain.errors import InfrastructureError, Interrupted
from disttrain.launch.config import RunConfig
from disttrain.launch.kernels import environment
from disttrain.launch.timings import Timings


class StartedCluster(Protocol):
    """Something that runs a Cluster port (`orchestrator.ports`), and is ended with it."""

    cluster: Any

    def stop(self) -> None:
        """End what was started beside the cluster's own workers."""


class ClusterStart:
    """A cluster with workers on it, from `begin` to `end`.

    Args:
        make: starts or joins the cluster; the default is Ray.
        limits: fields of `RecoveryPolicy` that are not as a launch has them.
        clock: what time it is.

    Attributes:
        state: the orchestrator's, with the workers that were asked for; the first call goes on from there.
    """

    def __init__(
        self, config: RunConfig, timings: Timings, make: Callable[[RunConfig, Timings], StartedCluster] | None = None,
        limits: Mapping[str, Any] | None = None, clock: Clock | None = None,
    ) -> None:  # fmt: skip
        self._clock = clock or SystemClock()
        self._config, self._timings, self._make, self._limits = config, timings, make or OnRay, dict(limits or {})
        self._failed: BaseException | None = None
        self._started: StartedCluster | None = None
        self.state: o.State | None = None
        self._settled, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray", daemon=True)

    def begin(self) -> None:
        """Start in the background."""
        self._thread.start()

    def cluster(self, interrupted: Any) -> Any:
        """The cluster, waited for; `interrupted()` tells whether the user has had enough.

        Raises:
            InfrastructureError: Ray could not be started or joined.
            Interrupted: the user stopped the launch meanwhile.
        """
        with self._timings.span("waiting for Ray"):
            while not self._settled.wait(timeout=0.1):
                if interrupted():
                    raise Interrupted("interrupted before the first step")
        if isinstance(self._failed, InfrastructureError):
            raise self._failed
        if self._failed is not None:
            raise InfrastructureError(f"Ray could not be started: {self._failed}") from self._failed
        assert self._started is not None
        return self._started.cluster

    def end(self) -> None:
        """End the workers, and Ray if it was started here."""
        if self._thread.ident is None:
            return
        self._settled.wait()
        if self._started is not None:
            self._started.cluster.close()
            self._started.stop()
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        """Start, then stay: Linux ends Ray's processes with the *thread* that started them (PR_SET_PDEATHSIG), not with the process."""
        self._start()
        self._settled.set()
        self._over.wait()

    def _start(self) -> None:
        config = self._config
        try:
            started = self._started = self._make(config, self._timings)
            most = (config.max_workers or config.workers) + config.spares
            policy = policy_of(config, max(config.virtual_workers or 0, most), **self._limits)
            decision = o.first_call(policy, at_s=self._clock.monotonic_s())
            self.state = decision.state
            for effect in decision.effects:
                if isinstance(effect, o.StartWorker):
                    started.cluster.start_worker(effect.worker)
        except BaseException as error:  # handed to whoever waits for the cluster
            self._failed = error


class OnRay:
    """Workers on a Ray, started here or joined."""

    def __init__(self, config: RunConfig, timings: Timings) -> None:
        with timings.span("importing Ray"):
            from disttrain.clusters.ray.cluster import RayCluster  # late: on a thread, while the driver loads torch
            from disttrain.clusters.ray.instance import RayInstance, RayOptions
        most = (config.max_workers or config.workers) + config.spares
        options = RayOptions(address=config.address, cpus=most * config.cpus_per_worker, gpus=math.ceil(most * config.gpus_per_worker))
        self._instance = RayInstance(options)
        with timings.span("starting or joining Ray"):
            self._instance.start()
        try:
            # one that was started here hands its environment on
            own = environment(config.kernels) if config.address is not None else {}
            self.cluster: Any = RayCluster(config.cpus_per_worker, config.gpus_per_worker, environment=own)
        except BaseException:
            self._instance.stop()
            raise

    def stop(self) -> None:
        """Leave Ray, or end it if it was started here."""
        self._instance.stop()


def policy_of(config: RunConfig, virtual_workers: int, **limits: Any) -> o.RecoveryPolicy:
    """The orchestrator's sizes and limits for a launch; `limits` replace some."""
    asked: dict[str, Any] = {
        "workers": config.workers,
        "virtual_workers": virtual_workers,
        "min_workers": config.min_workers,
        "max_workers": config.max_workers,
        "spares": config.spares,
        "hang_timeout_s": config.hang_timeout_s,
        "silence_limit_s": 15.0,  # beats come every second, whatever the step takes
    }
    return o.RecoveryPolicy(**asked | limits)
