"""A Ray to run on: one started here and taken down with everything of it, or a running cluster that is only joined."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
from dataclasses import dataclass
from typing import Any

import psutil

from disttrain.errors import InfrastructureError

# Workers import these while Ray is still starting, beside the script's own imports.
_PRELOADED = ["torch", "disttrain.clusters.ray.actor", "disttrain.elastic.member"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RayOptions:
    """What to ask of Ray.

    Args:
        address: None starts one on this machine; "auto" or "host:port" joins a running cluster.
        cpus, gpus: what a Ray started here shall offer.
    """

    address: str | None = None
    cpus: int = 1
    gpus: int = 0


class RayInstance:
    """Ray, from `start` to `stop`. `stop` leaves no process and no session folder of a Ray that was started here."""

    def __init__(self, options: RayOptions) -> None:
        self._options = options
        self._folder: str | None = None
        self._processes: list[psutil.Process] = []

    def start(self) -> None:
        """Start or join.

        Raises:
            InfrastructureError: no Ray answers at the address, or none could be started here.
        """
        # A token that somebody's earlier ray.init left in the home folder must not lock this Ray's own workers out.
        if self._options.address is None:
            os.environ["RAY_AUTH_MODE"] = "disabled"
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray  # late: reads the environment as it loads

        _silence(ray)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
        try:
            if self._options.address is not None:
                ray.init(address=self._options.address, namespace="disttrain", **quiet)
                return
            self._folder = tempfile.mkdtemp(prefix="disttrain-ray-", dir="/tmp" if os.path.isdir("/tmp") else None)
            ray.init(
                address="local",
                namespace="disttrain",
                num_cpus=self._options.cpus,
                num_gpus=self._options.gpus or None,
                include_dashboard=False,
                _temp_dir=self._folder,
                _system_config={
                    "preload_python_modules": _PRELOADED,
                    # Ray's own limits take 14 to 64 s to see a dead or frozen node
                    "health_check_initial_delay_ms": 1000,
                    "health_check_period_ms": 1000,
                    "health_check_timeout_ms": 3000,
                    "health_check_failure_threshold": 3,
                },
                **quiet,
            )
            self._processes = psutil.Process().children(recursive=True)
        except Exception as error:  # Ray raises many kinds here
            where = f"at {self._options.address}" if self._options.address else "on this machine"
            self.stop()
            raise InfrastructureError(
                f"no Ray {where}: {error}\n  expected  a running cluster of Ray {ray.__version__} and Python of the same version\n"
                "  try       ray status; or leave --address out to start Ray here"
            ) from error

    def stop(self) -> None:
        """Leave the cluster; end a Ray that was started here. May be called twice."""
        import ray  # late: reads the environment as it loads

        if self._options.address is None and ray.is_initialized():
            mine = {process.pid: process for process in [*self._processes, *_ray_children()]}
            self._processes = list(mine.values())
        with _calm():
            ray.shutdown()
        _end(self._processes)
        self._processes = []
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _silence(ray: Any) -> None:
    """Keep Ray's paragraphs about killed workers off the terminal, which has the run's own line about each.

    `log_to_driver=False` does not reach them: a thread of the driver prints them with this function, and nothing else then does.
    """
    if hasattr(ray._private.worker, "print_to_stdstream"):
        ray._private.worker.print_to_stdstream = lambda *_, **__: None


def _ray_children() -> list[psutil.Process]:
    """Processes of this driver's own Ray."""
    try:
        children = psutil.Process().children(recursive=True)
    except psutil.Error:
        return []
    return [child for child in children if _is_ray(child)]


def _is_ray(process: psutil.Process) -> bool:
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return "ray::" in command or "/ray/" in command or "raylet" in command or "gcs_server" in command


def _end(processes: list[psutil.Process]) -> None:
    """Wait a moment for the processes to end by themselves, then end them; a stopped one too."""
    alive = psutil.wait_procs(processes, timeout=2.0)[1]
    for process in alive:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.Error:
            continue
    psutil.wait_procs(alive, timeout=2.0)


class _calm:
    """Ignore Ctrl-C inside the block: a half-done shutdown leaves processes behind."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, signal.SIG_IGN) if threading.current_thread() is threading.main_thread() else None

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
