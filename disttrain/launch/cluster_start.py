"""Starting a cluster and the workers beside everything else: it takes seconds, and so do the imports of a script. Loads no torch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Protocol

from disttrain import orchestrator as o
from disttrain.awaited import awaiting
from disttrain.clock import Clock, SystemClock
from disttrain.clusters.ray.meeting import one_ray
from disttrain.devices.asked import Asked, Choice, check_transport, choose_on_cluster, needed
from disttrain.devices.drivers import torch_cuda, torch_version
from disttrain.errors import DisttrainError, InfrastructureError, Interrupted
from disttrain.launch.config import RunConfig
from disttrain.launch.kernels import environment
from disttrain.launch.timings import Timings

_THREAD = "ray"
_ON_CPUS = Asked("cpu"), Choice()
_A_MOMENT_S = 0.5
_CLUSTER_AWAY_S = 40.0  # a cluster's GCS may be started anew; Ray itself ends its drivers after 60 s without one


def is_starting() -> bool:
    """Is a cluster still being started on its thread, or has one broken that looks for its parts for minutes?"""
    return any(thread.name == _THREAD and thread.is_alive() for thread in threading.enumerate())


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
        compute: what was asked to compute on, and the choice, see `launch.possible`; CPUs unless told.

    Attributes:
        notes: what whoever trains there should know of the cluster.
        choice: where workers compute; None until a cluster that is joined has said what it has.
        state: the orchestrator's, with the workers that were asked for; the first call goes on from there.
    """

    def __init__(
        self, config: RunConfig, timings: Timings, make: Callable[[RunConfig, Timings], StartedCluster] | None = None,
        limits: Mapping[str, Any] | None = None, clock: Clock | None = None, compute: tuple[Asked, Choice | None] = _ON_CPUS,
    ) -> None:  # fmt: skip
        self._clock = clock or SystemClock()
        self.choice, self._on_ray = compute[1], make is None
        self._config, self._timings, self._limits = config, timings, dict(limits or {})
        self._make = make or (lambda config, timings: OnRay(config, timings, compute))
        self._failed: BaseException | None = None
        self._started: StartedCluster | None = None
        self.state: o.State | None = None
        self.notes: list[str] = []
        self._settled, self._over = threading.Event(), threading.Event()
        self._meeting = ExitStack()
        self._thread = threading.Thread(target=self._run, name=_THREAD, daemon=True)

    def begin(self) -> None:
        """Start in the background. What the script asks of Ray from now on, it asks of this one."""
        if self._on_ray:
            self._meeting.enter_context(one_ray(lambda: self.cluster(lambda: False), _tell))
        self._thread.start()

    def cluster(self, interrupted: Any) -> Any:
        """The cluster, waited for; `interrupted()` tells whether the user has had enough.

        Raises:
            InfrastructureError: Ray could not be started or joined.
            UsageError: what was asked for cannot be had, or the cluster asks for a token that is not here.
            Interrupted: the user stopped the launch meanwhile.
        """
        with self._timings.span("waiting for Ray"), awaiting(lambda: None):  # its own thread says how far it is
            while not self._settled.wait(timeout=0.1):
                if interrupted():
                    raise Interrupted("interrupted before the first step")
        if isinstance(self._failed, DisttrainError):
            raise self._failed
        if self._failed is not None:
            raise InfrastructureError(f"Ray could not be started: {self._failed}") from self._failed
        assert self._started is not None
        return self._started.cluster

    @property
    def compute(self) -> Choice:
        """Where workers compute; known once the cluster is there."""
        assert self.choice is not None
        return self.choice

    @property
    def trouble(self) -> str | None:
        """What the cluster itself has lost, in words: soon nothing can be done on it any more. None while all is well."""
        return None if self._started is None else getattr(self._started.cluster, "trouble", None)

    def end(self, *, at_once: bool = False) -> None:
        """End the workers, and Ray if it was started here.

        Args:
            at_once: this process ends now: a Ray that is still starting, which nothing interrupts, is left to the sweeper.
        """
        with awaiting("ending the workers" if self._config.address is not None else "ending the workers and their Ray"):
            self._end(at_once)

    def _end(self, at_once: bool) -> None:
        if self._thread.ident is None or (at_once and not self._settled.wait(_A_MOMENT_S)):
            return
        self._settled.wait()
        if self._started is not None:
            broken = self.trouble is not None
            self._started.cluster.close()
            self._started.stop()
            self._meeting.close()
            if broken:
                return  # Ray's own threads go on looking for it, and so the thread stays that says so
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
            self.choice = getattr(started, "choice", self.choice) or Choice()
            self.notes = [*self.choice.notes, *getattr(started, "notes", [])]
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

    def __init__(self, config: RunConfig, timings: Timings, compute: tuple[Asked, Choice | None]) -> None:
        asked, choice = compute
        with timings.span("importing Ray"), awaiting("loading Ray"):
            from disttrain.clusters.ray.cluster import RayCluster  # late: on a thread, while the driver loads torch
            from disttrain.clusters.ray.compat import cluster_gpus
            from disttrain.clusters.ray.instance import RayInstance, RayOptions
            from disttrain.clusters.ray.own_signals import own_signals
        most = (config.max_workers or config.workers) + config.spares
        share, offered = (0.0, 0) if choice is None else (choice.gpus_per_worker, choice.offered)
        cpus = most * config.cpus_per_worker
        options = RayOptions(address=config.address, cpus=cpus, gpus=needed(most, share), all_gpus=offered)
        self._instance = RayInstance(options)
        where = "starting Ray on this machine" if config.address is None else f"joining the Ray cluster at {config.address}"
        with timings.span("starting or joining Ray"), own_signals(), awaiting(where):
            self._instance.start()
        try:
            self.choice = choice or choose_on_cluster(asked, *cluster_gpus(), torch_cuda(), torch_version())
            check_transport(config.transport, self.choice, asked.workers)
            away_s = 0.0 if config.address is None else _CLUSTER_AWAY_S
            # one that was started here hands its environment on
            variables = environment(config.kernels) if config.address is not None else {}
            self.cluster: Any = RayCluster(
                config.cpus_per_worker, self.choice.gpus_per_worker, own=self._instance.own, gcs_away_s=away_s, environment=variables
            )
        except BaseException:
            self._instance.stop()
            raise
        self.notes = self._instance.notes

    def stop(self) -> None:
        """Leave Ray, or end it if it was started here."""
        self._instance.stop(broken=self.cluster.trouble is not None)


def policy_of(config: RunConfig, virtual_workers: int, **limits: Any) -> o.RecoveryPolicy:
    """The orchestrator's sizes and limits for a launch; `limits` replace some."""
    asked: dict[str, Any] = {
        "workers": config.workers,
        "virtual_workers": virtual_workers,
        "min_workers": config.min_workers,
        "max_workers": config.max_workers,
        "spares": config.spares,
        "hang_timeout_s": config.hang_timeout_s,
        "redo_step": bool(config.audit or config.digest_every),
        "silence_limit_s": 15.0,  # beats come every second, whatever the step takes
    }
    return o.RecoveryPolicy(**asked | limits)


def _tell(text: str) -> None:
    from disttrain.callbacks.progress_bar import note  # late: brings torch

    note(f"[disttrain] {text}")
