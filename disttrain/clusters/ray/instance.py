"""A Ray to run on: one started here and taken down with everything of it, or a running cluster that is only joined."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version

from disttrain.clock import Clock, SystemClock
from disttrain.clusters.ray import manners, tokens
from disttrain.clusters.ray.manners import Environment
from disttrain.clusters.ray.room import refuse_without_room
from disttrain.clusters.ray.sweeper import Sweeper
from disttrain.errors import DisttrainError, InfrastructureError, UsageError

# Workers import these while Ray is still starting, beside the script's own imports.
_PRELOADED = ["torch", "disttrain.clusters.ray.actor", "disttrain.elastic.member"]

# Ray reads these as it is imported, and hands them to its processes.
# The last: without a GCS, Ray ends its processes after a minute. We notice before, and a step may take longer than that.
_VARIABLES = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
}
_ANSWER_S, _CONNECT_S, _AGAIN_S = 30.0, 5.0, 0.5  # to an address; one try; between two


@dataclass(frozen=True, kw_only=True, slots=True)
class RayOptions:
    """What to ask of Ray.

    Args:
        address: None starts one on this machine; "auto" or "host:port" joins a running cluster.
        cpus, gpus: what workers take, and a Ray started here offers.
        all_gpus: so many it offers, where that is more: one that fails is left out then, where another lies idle.
    """

    address: str | None = None
    cpus: int = 1
    gpus: int = 0
    all_gpus: int = 0


class RayInstance:
    """Ray, from `start` to `stop`. A Ray that was started here leaves no process and no folder, however this process ends.

    Attributes:
        own: it was started here, for this.
    """

    def __init__(self, options: RayOptions) -> None:
        self._options = options
        self._sweeper: Sweeper | None = None
        self._environment = Environment()
        self.notes: list[str] = []  # what whoever trains here should know of this Ray
        self._of_the_script = False
        self.own = False

    def start(self) -> None:
        """Start or join. Whatever interrupts it, nothing is left.

        Raises:
            InfrastructureError: no Ray answers at the address, or none could be started here.
            UsageError: the script has chosen another Ray before, or one without room; or it asks for a token that is not here.
        """
        self._environment = Environment()
        try:
            self._start()
            self._environment.started()
        except BaseException as error:
            self._environment.started()
            with suppress(Exception):  # the first error is the one to tell
                self.stop()
            if isinstance(error, DisttrainError) or not isinstance(error, Exception):  # Ctrl-C, or the end of the process
                raise
            where = f"at {self._options.address}" if self._options.address else "on this machine"
            raise InfrastructureError(  # Ray raises many kinds here
                f"no Ray {where}: {error}\n  expected  a running cluster of Ray {_version()} and Python of the same version\n"
                "  try       ray status; or leave --address out to start Ray here"
            ) from error

    def _start(self) -> None:
        for name, value in _VARIABLES.items():
            os.environ.setdefault(name, value)
        from disttrain.clusters.ray import compat  # late: it brings Ray

        manners.after_import()
        chosen = compat.connected_to()
        if chosen is not None:
            self._of_the_script = True
            _check_choice(self._options, chosen, compat.room_here())
            return
        compat.hush()
        if self._options.address is not None:
            place = compat.resolved(self._options.address)
            if place is not None:
                wait_for_answer(place)
            variables, note = tokens.of_another(place, compat.without_tokens())
            self.notes += [note] if note else []
            tokens.put(variables)
            compat.reread_token()
            compat.init_joined(self._options.address)
            return
        # the sweeper first: it knows the name before there is anything to leave behind
        place = "/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir()
        folder = os.path.join(place, f"disttrain-ray-{os.getpid()}-{secrets.token_hex(4)}")
        refuse_without_room(place)
        self._sweeper = Sweeper(folder)
        os.mkdir(folder, 0o700)
        tokens.put(tokens.of_our_own(folder))
        compat.reread_token()
        if (version := compat.without_tokens()) is not None:
            self.notes.append(tokens.without(version))
        # Ray opens its own folder to everybody, so that one lies inside; the name is short since sockets in it may have 107 characters
        compat.init_new(f"{folder}/r", cpus=self._options.cpus, gpus=max(self._options.gpus, self._options.all_gpus), preloaded=_PRELOADED)
        self.own = True

    def stop(self, *, broken: bool = False) -> None:
        """Leave the cluster; end a Ray that was started here; one that the script had begun before stays. May be called twice.

        Args:
            broken: it answers to nothing any more.
        """
        from disttrain.clusters.ray import compat  # late: reads the environment as it loads

        with _calm():
            try:
                if not broken and not self._of_the_script:
                    compat.leave()
            finally:
                if self._sweeper is not None:
                    self._sweeper.end()
                    self._sweeper = None
                self._environment.put_back()
                if not self._of_the_script:
                    compat.reread_token()


def wait_for_answer(address: str, limit_s: float = _ANSWER_S, clock: Clock | None = None) -> None:
    """Until somebody listens at HOST:PORT: one that is just being started may take a moment, and Ray itself would ask for minutes.

    Raises:
        InfrastructureError: nobody does.
    """
    host, _, port = address.rpartition(":")
    clock = clock or SystemClock()
    end = clock.monotonic_s() + limit_s
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
            return
        except OSError as error:
            if clock.monotonic_s() >= end:
                raise InfrastructureError(
                    f"no Ray at {address}: {error}.\n"
                    f"  expected  the port of a running head, as ray start --head says it, reachable from {socket.gethostname()}\n"
                    f"  try       disttrain doctor --address {address}; or leave --address out to start Ray here"
                ) from error
        threading.Event().wait(_AGAIN_S)


def _check_choice(options: RayOptions, chosen: str, room: tuple[float, float] | None) -> None:
    """Raise UsageError where the Ray that the script has chosen before, at `chosen`, cannot be the run's."""
    if options.address not in (None, "auto", chosen):
        raise UsageError(
            f"this process is a driver of the Ray at {chosen} already, and the run was to join {options.address}.\n"
            "  expected  one Ray for the script and its workers\n"
            "  try       ray.shutdown() before, or no address for the run"
        )
    if room is not None and (room[0] < options.cpus or room[1] < options.gpus):
        raise UsageError(
            f"the Ray that ray.init has started offers {room[0]:g} CPUs and {room[1]:g} GPUs; "
            f"the workers need {options.cpus} and {options.gpus}.\n"
            "  expected  room for all of them\n"
            f"  try       ray.init(num_cpus={options.cpus}, num_gpus={options.gpus}), or no ray.init before: the run starts a Ray that fits"
        )


def _version() -> str:

    return version("ray")


class _calm:
    """Ignore Ctrl-C inside the block: a half-done shutdown leaves processes behind."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, signal.SIG_IGN) if threading.current_thread() is threading.main_thread() else None

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
